/* `copymill explain`: everything that led to a text. */
#ifndef CM_JOBS_REPORT_EXPLAIN_COMMAND_H
#define CM_JOBS_REPORT_EXPLAIN_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_explain_command(int argc, char **argv);

#endif
