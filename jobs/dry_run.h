/* --dry-run: reads and checks everything, estimates tokens, memory and time, writes nothing. */
#ifndef CM_JOBS_DRY_RUN_H
#define CM_JOBS_DRY_RUN_H

#include "jobs/job.h"

/* Prints the estimates on stdout. CM_EXIT_INTERRUPTED after Ctrl-C. */
enum cm_exit cm_dry_run(struct cm_job *job);

#endif
