/* A real job, timed: the whole of `copymill run` into a folder that is removed again. */
#ifndef CM_JOBS_BENCH_CATALOG_H
#define CM_JOBS_BENCH_CATALOG_H

#include "jobs/bench.h"
#include "jobs/run.h"

/* Runs the job `repeat` times, each time from its beginning. `options` are those of the job without
 * its output. CM_EXIT_OK or CM_EXIT_PARTIAL: `passes` and `model` are filled. */
enum cm_exit cm_bench_catalog(const struct cm_run_options *options, uint32_t repeat,
                              struct cm_bench_pass *passes, struct cm_engine_info *model);

#endif
