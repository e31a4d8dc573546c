/* `copymill review`: the page where people read, approve, reject and edit a job's copy. */
#ifndef CM_JOBS_REVIEW_REVIEW_COMMAND_H
#define CM_JOBS_REVIEW_REVIEW_COMMAND_H

#include "jobs/run_options.h"

enum cm_exit cm_review_command(int argc, char **argv);

#endif
