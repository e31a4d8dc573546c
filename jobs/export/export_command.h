/* `copymill export`: approved copy in the format of whoever takes it further. */
#ifndef CM_JOBS_EXPORT_EXPORT_COMMAND_H
#define CM_JOBS_EXPORT_EXPORT_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_export_command(int argc, char **argv);

#endif
