/* `copymill prepare`: raw tables in, clean ones out. */
#ifndef CM_JOBS_PREPARE_PREPARE_COMMAND_H
#define CM_JOBS_PREPARE_PREPARE_COMMAND_H

#include "jobs/run.h"

/* argv[0] is the command's name. */
enum cm_exit cm_prepare_command(int argc, char **argv);

#endif
