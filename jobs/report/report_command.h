/* `copymill report`: a job as one HTML file. */
#ifndef CM_JOBS_REPORT_REPORT_COMMAND_H
#define CM_JOBS_REPORT_REPORT_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_report_command(int argc, char **argv);

#endif
