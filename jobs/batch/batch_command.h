/* `copymill batch`: OpenAI Batch files, answered on this machine. */
#ifndef CM_JOBS_BATCH_BATCH_COMMAND_H
#define CM_JOBS_BATCH_BATCH_COMMAND_H

#include "jobs/run_options.h"

/* argv[0] is the command's name. */
enum cm_exit cm_batch_command(int argc, char **argv);

#endif
