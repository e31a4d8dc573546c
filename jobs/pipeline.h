/* The stages of a run, each in its own thread with a bounded queue to the next:
 *
 *     row_source: plan, look up, render  ->  pipeline: engine  ->  row_sink: judge, store
 *                     |                           ^                     |
 *                     | reused and failed rows    └───── verdicts ──────┤
 *                     └─────────────────────────────────────────────────┘
 *
 * The engine runs on the calling thread. A row's pages stay in the engine until its verdict is in:
 * done with, or again. */
#ifndef CM_JOBS_PIPELINE_H
#define CM_JOBS_PIPELINE_H

#include "base/status.h"
#include "host/engine.h"
#include "jobs/content/judge.h"
#include "jobs/controls.h"
#include "jobs/ledger.h"
#include "jobs/metrics.h"
#include "jobs/plan.h"
#include "jobs/progress.h"
#include "jobs/run_options.h"

struct cm_pipeline_parts {
    const struct cm_run_options *options;
    struct cm_plan *plan;
    const struct cm_controls *controls;
    struct cm_engine *engine;
    const struct cm_channel *channel;
    struct cm_judge *judge;
    struct cm_ledger *ledger;
    size_t segments_count;
    const struct cm_questions *questions; /* NULL: none */
    bool ledger_is_empty;                 /* nothing to look up */
    struct cm_progress *progress;         /* NULL: none */
    struct cm_metrics *metrics;           /* NULL: none */
    const char *model_name;
};

struct cm_pipeline_counts {
    uint64_t rows_planned;
    uint64_t rows_reused;
    uint64_t rows[CM_ROW_STATUS_COUNT]; /* durable, reused ones too */
    double wall_s;                      /* of the engine loop */
};

/* CM_OK: every row is in the ledger. CM_INTERRUPTED: the user stopped it. Anything else: the first
 * error that ended it. What was finished until then is in the ledger in every case. */
enum cm_status cm_pipeline_run(const struct cm_pipeline_parts *parts,
                               struct cm_pipeline_counts *counts,
                               struct cm_error *error) CM_MUST_CHECK;

/* Texts written of every row, and written at most while none is good enough. A greedy text comes
 * out the same each time, so there is only one. */
uint32_t cm_pipeline_best_of(const struct cm_run_options *options);
uint32_t cm_pipeline_attempts(const struct cm_run_options *options);

#endif
