/* A batch of requests through the engine: read, answered, kept in the ledger, written out. */
#ifndef CM_JOBS_BATCH_BATCH_H
#define CM_JOBS_BATCH_BATCH_H

#include "jobs/batch/batch_options.h"

/* Runs the batch and returns the exit status; messages go to the log. */
enum cm_exit cm_batch_run(const struct cm_batch_options *options);

#endif
