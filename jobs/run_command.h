/* `copymill run`: from the command line to cm_run. */
#ifndef CM_JOBS_RUN_COMMAND_H
#define CM_JOBS_RUN_COMMAND_H

#include "jobs/run_options.h"

/* argv[0] is "run". */
enum cm_exit cm_run_command(int argc, char **argv);

#endif
