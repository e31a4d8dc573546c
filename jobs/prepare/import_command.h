/* `copymill import`: public data sets into a catalog and pairs of facts and copy. */
#ifndef CM_JOBS_PREPARE_IMPORT_COMMAND_H
#define CM_JOBS_PREPARE_IMPORT_COMMAND_H

#include "jobs/run_options.h"

/* argv[0] is the command's name. */
enum cm_exit cm_import_command(int argc, char **argv);

#endif
