/* `copymill selftest`: first contact with a device. */
#ifndef CM_JOBS_SELFTEST_COMMAND_H
#define CM_JOBS_SELFTEST_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_selftest_command(int argc, char **argv);

#endif
