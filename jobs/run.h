/* The main job: catalog x segments -> copy, through the ledger, into --out. */
#ifndef CM_JOBS_RUN_H
#define CM_JOBS_RUN_H

#include "base/status.h"
#include "jobs/run_options.h"

/* What a finished run did, for `bench` and the closing summary. */
struct cm_run_summary {
    uint64_t rows_planned;
    uint64_t rows_ok;
    uint64_t rows_flagged;
    uint64_t rows_failed;
    uint64_t rows_reused;
    double wall_s; /* of the engine loop */
    struct cm_engine_counters engine;
    struct cm_engine_info model;
};

/* Runs the job and returns the exit status; messages go to the log. `summary` may be NULL. */
enum cm_exit cm_run(const struct cm_run_options *options, struct cm_run_summary *summary);

#endif
