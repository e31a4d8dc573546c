/* What the threads of a pipeline share; for pipeline.c, row_source.c and row_sink.c only. */
#ifndef CM_JOBS_PIPELINE_STATE_H
#define CM_JOBS_PIPELINE_STATE_H

#include "base/queue.h"
#include "jobs/pipeline.h"
#include "jobs/row_task.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    CM_PIPELINE_READY_MAX = 256,     /* rendered rows that wait for the engine */
    CM_PIPELINE_FINISHED_MAX = 1024, /* rows that wait for judgement */
    CM_PIPELINE_WINDOW_MAX = 16384,  /* rows inside the engine; verdicts that wait */
    CM_PREVIEW_BYTES = 512,
};

struct cm_pipeline {
    struct cm_pipeline_parts parts;
    struct cm_queue *ready;    /* source -> engine */
    struct cm_queue *finished; /* source and engine -> sink */
    struct cm_queue *verdicts; /* sink -> engine; never full, because it holds the whole window */

    double began_s;       /* the engine's thread: for samples */
    double next_sample_s; /* since it began */

    atomic_bool stop; /* an error or the user: no new work */

    pthread_mutex_t lock;  /* of what follows */
    struct cm_error error; /* the first; CM_OK: none */
    struct cm_pipeline_counts counts;
    uint64_t rows_total; /* 0 until the catalog is counted or the plan read to its end */
    bool plan_is_read;   /* to its end */
    char preview[CM_PREVIEW_BYTES];
};

/* Keeps the first error and stops the pipeline. */
void cm_pipeline_fail(struct cm_pipeline *pipeline, const struct cm_error *error);

/* Thread bodies; the argument is the pipeline. */
void *cm_row_source_main(void *pipeline);
void *cm_row_sink_main(void *pipeline);
void *cm_row_counter_main(void *pipeline);

#endif
