/* `copymill model ...`: looking after models and looking into them. */
#ifndef CM_JOBS_MODEL_COMMAND_H
#define CM_JOBS_MODEL_COMMAND_H

#include "jobs/run_options.h"

/* `argv[0]` is "model", the subcommand and its options follow. Returns the exit status of the
 * process; data goes to stdout, messages to the log. */
enum cm_exit cm_model_command(int argc, char **argv);

#endif
