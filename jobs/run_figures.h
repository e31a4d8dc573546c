/* How a run went, as a JSON object for the ledger: what the report shows of it later. Keys are the
 * names of the fields below, of struct cm_engine_counters and of struct cm_engine_info. */
#ifndef CM_JOBS_RUN_FIGURES_H
#define CM_JOBS_RUN_FIGURES_H

#include "host/engine.h"

struct cm_run_figures {
    const char *outcome; /* "finished", "interrupted" or "stopped" */
    uint64_t rows_planned;
    uint64_t rows_reused;
    double wall_s; /* of the engine loop */
    struct cm_engine_counters engine;
    struct cm_engine_info model;
    const struct cm_engine_limits *limits; /* NULL: not measured */
};

/* NULL: out of memory. The caller frees it. */
char *cm_run_figures_write(const struct cm_run_figures *figures);

#endif
