/* The engine's stage and the frame of the others. */
#include "jobs/pipeline.h"

#include "base/clock.h"
#include "base/memory.h"
#include "jobs/interrupt.h"
#include "jobs/pipeline_state.h"

#include <math.h>
#include <string.h>

/* The rows inside the engine. A request's id is its slot here. */
struct window {
    struct cm_pipeline *pipeline;
    struct cm_row_task *slots[CM_PIPELINE_WINDOW_MAX];
    uint16_t free_slots[CM_PIPELINE_WINDOW_MAX];
    size_t free_count;
    size_t judged_count;      /* finished, verdict not in yet */
    struct cm_row_task *next; /* taken from the source, not yet in the engine */
};

uint32_t cm_pipeline_best_of(const struct cm_run_options *options)
{
    return options->sampling.temperature > 0 ? options->best_of : 1;
}

uint32_t cm_pipeline_attempts(const struct cm_run_options *options)
{
    uint32_t best_of = cm_pipeline_best_of(options);
    bool more = options->sampling.temperature > 0 && options->attempts > best_of;
    return more ? options->attempts : best_of;
}

void cm_pipeline_fail(struct cm_pipeline *pipeline, const struct cm_error *error)
{
    pthread_mutex_lock(&pipeline->lock);
    if (pipeline->error.status == CM_OK) {
        pipeline->error = *error;
    }
    pthread_mutex_unlock(&pipeline->lock);
    atomic_store(&pipeline->stop, true);
}

/* --- The window --- */

static struct window *window_open(struct cm_pipeline *pipeline)
{
    struct window *window = cm_alloc(1, sizeof *window);
    if (window != NULL) {
        window->pipeline = pipeline;
        window->free_count = CM_PIPELINE_WINDOW_MAX;
        for (size_t i = 0; i < CM_PIPELINE_WINDOW_MAX; i++) {
            window->free_slots[i] = (uint16_t)(CM_PIPELINE_WINDOW_MAX - 1 - i);
        }
    }
    return window;
}

static void window_close(struct window *window)
{
    if (window == NULL) {
        return;
    }
    for (size_t i = 0; i < CM_PIPELINE_WINDOW_MAX; i++) {
        cm_row_task_free(window->slots[i]);
    }
    cm_row_task_free(window->next);
    cm_free(window);
}

static bool window_is_empty(const struct window *window)
{
    return window->free_count == CM_PIPELINE_WINDOW_MAX;
}

static void leave_window(struct window *window, size_t slot)
{
    cm_engine_release(window->pipeline->parts.engine, slot);
    cm_row_task_free(window->slots[slot]);
    window->slots[slot] = NULL;
    window->free_slots[window->free_count++] = (uint16_t)slot;
}

/* --- Into the engine --- */

/* A row that the engine does not take becomes a failed row; the sink takes it from there. */
static void refuse(struct window *window, const struct cm_error *error)
{
    struct cm_row_task *task = window->next;
    window->next = NULL;
    cm_row_task_fail(task, window->pipeline->parts.options->catalog_path, error->message);
    if (cm_queue_push(window->pipeline->finished, task) != CM_OK) {
        cm_row_task_free(task);
    }
}

static void apply_controls(const struct window *window, const struct cm_row_task *task,
                           struct cm_request *request)
{
    bool is_strict = task->attempt > cm_pipeline_best_of(window->pipeline->parts.options);
    cm_controls_apply(window->pipeline->parts.controls, task->language, is_strict, task->fact_lock,
                      request);
}

static enum cm_status submit_next(struct window *window, struct cm_error *error)
{
    struct cm_row_task *task = window->next;
    if (window->free_count == 0) {
        return CM_FULL;
    }
    size_t slot = window->free_slots[window->free_count - 1];
    struct cm_request request = {
        .id = slot,
        .unit = (uintptr_t)task->item,
        .prompt = task->prompt,
        .prompt_tokens = task->prompt_tokens,
        .output_tokens_max = task->output_tokens_max,
        .seed = { task->key.seed[0], task->key.seed[1] },
        .attempt = task->attempt,
        .sampling = window->pipeline->parts.options->sampling,
    };
    apply_controls(window, task, &request);
    enum cm_status status = cm_engine_submit(window->pipeline->parts.engine, &request, error);
    switch (status) {
    case CM_OK:
        window->free_count--;
        window->slots[slot] = task;
        window->next = NULL;
        cm_free(task->prompt); /* the engine has its own copy */
        task->prompt = NULL;
        return CM_OK;
    case CM_LIMIT:
    case CM_INVALID_ARGUMENT:
    case CM_OUT_OF_MEMORY:
        refuse(window, error);
        return CM_OK;
    default:
        return status;
    }
}

/* Fills the engine with what is ready. CM_END: nothing is left to come. */
static enum cm_status submit_ready(struct window *window, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        if (window->next == NULL) {
            void *task = NULL;
            status = cm_queue_try_pop(window->pipeline->ready, &task);
            window->next = task;
        }
        if (window->next != NULL) {
            status = submit_next(window, error);
        }
    }
    return status == CM_FULL ? CM_OK : status;
}

/* --- Out of the engine --- */

/* Devices failed under the row again and again: it becomes a failed one. */
static void give_up(struct window *window, size_t slot)
{
    struct cm_row_task *task = window->slots[slot];
    cm_row_task_fail(task, window->pipeline->parts.options->catalog_path,
                     "devices failed while it was written, more than once: run the job again to "
                     "try the row on another");
    cm_engine_release(window->pipeline->parts.engine, slot);
    window->slots[slot] = NULL;
    window->free_slots[window->free_count++] = (uint16_t)slot;
    if (cm_queue_push(window->pipeline->finished, task) != CM_OK) {
        cm_row_task_free(task);
    }
}

static void collect(struct window *window)
{
    struct cm_result result;
    while (cm_engine_finished(window->pipeline->parts.engine, &result) == CM_OK) {
        CM_ASSERT(result.id < CM_PIPELINE_WINDOW_MAX && window->slots[result.id] != NULL);
        struct cm_row_task *task = window->slots[result.id];
        if (result.finish_reason == CM_FINISH_LOST) {
            give_up(window, result.id);
            continue;
        }
        task->result = result;
        window->judged_count++;
        CM_ASSERT(cm_queue_push(window->pipeline->finished, task) == CM_OK);
    }
}

/* A text that was not good enough is tried again with a fresh seed and, further from chance each
 * time, a lower temperature and less of what was said before (and without the words that the judge
 * finds grave, see controls.h). The texts of --best-of are wanted for
 * their variety and keep what was asked for. Depends on the attempt alone, so that a row's texts
 * do. */
static struct cm_sampling strengthened(const struct cm_run_options *options, uint32_t attempt)
{
    struct cm_sampling sampling = options->sampling;
    for (uint32_t i = cm_pipeline_best_of(options); i < attempt; i++) {
        sampling.temperature *= 0.8F;
        sampling.repetition_penalty += sampling.repetition_penalty < 1.15F ? 0.05F : 0.0F;
    }
    return sampling;
}

static enum cm_status apply_verdict(struct window *window, struct cm_row_task *task,
                                    struct cm_error *error)
{
    size_t slot = (size_t)task->result.id;
    window->judged_count--;
    if (!task->again) {
        leave_window(window, slot);
        return CM_OK;
    }
    task->attempt++;
    struct cm_request request = { 0 };
    apply_controls(window, task, &request);
    struct cm_retry retry = { .attempt = task->attempt,
                              .sampling =
                                  strengthened(window->pipeline->parts.options, task->attempt) };
    memcpy(retry.constraints, request.constraints, sizeof retry.constraints);
    return cm_engine_retry(window->pipeline->parts.engine, slot, &retry, error);
}

/* Verdicts that are there; with `wait`, at least one. */
static enum cm_status apply_verdicts(struct window *window, bool wait, struct cm_error *error)
{
    void *task = NULL;
    enum cm_status status = CM_OK;
    if (wait && cm_queue_pop(window->pipeline->verdicts, &task) == CM_OK) {
        status = apply_verdict(window, task, error);
    }
    while (status == CM_OK && cm_queue_try_pop(window->pipeline->verdicts, &task) == CM_OK) {
        status = apply_verdict(window, task, error);
    }
    return status;
}

static void update_progress(struct cm_pipeline *pipeline)
{
    struct cm_progress_numbers numbers = { 0 };
    char preview[CM_PREVIEW_BYTES];
    if (pipeline->parts.progress == NULL && pipeline->parts.metrics == NULL) {
        return;
    }
    pthread_mutex_lock(&pipeline->lock);
    numbers.rows_total = pipeline->rows_total;
    numbers.rows_reused = pipeline->counts.rows_reused;
    numbers.rows_ok = pipeline->counts.rows[CM_ROW_OK];
    numbers.rows_flagged = pipeline->counts.rows[CM_ROW_FLAGGED];
    numbers.rows_failed = pipeline->counts.rows[CM_ROW_FAILED];
    memcpy(preview, pipeline->preview, sizeof preview);
    pthread_mutex_unlock(&pipeline->lock);
    cm_engine_counters(pipeline->parts.engine, &numbers.engine);
    if (pipeline->parts.progress != NULL) {
        cm_progress_update(pipeline->parts.progress, &numbers, preview[0] != '\0' ? preview : NULL);
    }
    if (pipeline->parts.metrics != NULL) {
        cm_metrics_update(pipeline->parts.metrics, &numbers);
    }
}

/* A few a second at first, then ever fewer, so that the longest run leaves some thousands. A ledger
 * that cannot take them fails for the sink too, which ends the run. */
static void take_sample(struct cm_pipeline *pipeline)
{
    const double interval_min_s = 0.25;
    const double interval_share = 1.0 / 300;
    double now_s = cm_clock_s() - pipeline->began_s;
    if (now_s < pipeline->next_sample_s) {
        return;
    }
    double interval_s = now_s * interval_share;
    pipeline->next_sample_s = now_s + (interval_s > interval_min_s ? interval_s : interval_min_s);
    struct cm_engine_counters engine;
    cm_engine_counters(pipeline->parts.engine, &engine);
    struct cm_ledger_sample sample = {
        .at_ms = (uint64_t)(now_s * 1000),
        .prefill_tokens = engine.prefill_tokens,
        .shared_tokens = engine.shared_tokens,
        .output_tokens = engine.output_tokens,
        .active = engine.active,
    };
    pthread_mutex_lock(&pipeline->lock);
    sample.rows = pipeline->counts.rows[CM_ROW_OK] + pipeline->counts.rows[CM_ROW_FLAGGED] +
                  pipeline->counts.rows[CM_ROW_FAILED] - pipeline->counts.rows_reused;
    pthread_mutex_unlock(&pipeline->lock);
    struct cm_error ignored;
    if (cm_ledger_put_sample(pipeline->parts.ledger, &sample, &ignored) != CM_OK) {
        pipeline->next_sample_s = INFINITY;
    }
}

/* The engine has nothing to compute: wait for whoever can change that. CM_END: nobody can. */
static enum cm_status wait_for_work(struct window *window, struct cm_error *error)
{
    if (window->judged_count > 0) {
        return apply_verdicts(window, true, error);
    }
    if (!window_is_empty(window) || window->next != NULL) {
        return cm_error_set(error, CM_INTERNAL, "the engine does not go on with its rows");
    }
    void *task = NULL;
    enum cm_status status = cm_queue_pop(window->pipeline->ready, &task);
    window->next = task;
    return status;
}

/* CM_END: every row went through. CM_INTERRUPTED: the user or another stage stopped it. */
static enum cm_status engine_loop(struct window *window, struct cm_error *error)
{
    struct cm_pipeline *pipeline = window->pipeline;
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        if (atomic_load(&pipeline->stop) || cm_interrupt_requested()) {
            return CM_INTERRUPTED;
        }
        status = apply_verdicts(window, false, error);
        if (status == CM_OK) {
            status = submit_ready(window, error);
        }
        if (status == CM_OK || status == CM_END) {
            status = cm_engine_step(pipeline->parts.engine, error);
        }
        if (status == CM_OK || status == CM_END) {
            collect(window);
        }
        if (status == CM_END) {
            status = wait_for_work(window, error);
        }
        update_progress(pipeline);
        take_sample(pipeline);
    }
    return status;
}

/* --- The frame --- */

static enum cm_status open_queues(struct cm_pipeline *pipeline)
{
    enum cm_status status = cm_queue_open(CM_PIPELINE_READY_MAX, &pipeline->ready);
    if (status == CM_OK) {
        status = cm_queue_open(CM_PIPELINE_FINISHED_MAX, &pipeline->finished);
    }
    if (status == CM_OK) {
        status = cm_queue_open(CM_PIPELINE_WINDOW_MAX, &pipeline->verdicts);
    }
    return status;
}

static void close_queues(struct cm_pipeline *pipeline)
{
    void *task = NULL;
    while (pipeline->ready != NULL && cm_queue_try_pop(pipeline->ready, &task) == CM_OK) {
        cm_row_task_free(task);
    }
    cm_queue_close(pipeline->ready);
    cm_queue_close(pipeline->finished);
    cm_queue_close(pipeline->verdicts); /* its tasks are in the window */
}

/* Runs the engine between a source and a sink and waits for both to end. */
static enum cm_status run_stages(struct window *window, struct cm_error *error)
{
    struct cm_pipeline *pipeline = window->pipeline;
    pthread_t source;
    pthread_t sink;
    pthread_t counter;
    if (pthread_create(&sink, NULL, cm_row_sink_main, pipeline) != 0) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "cannot start a thread");
    }
    enum cm_status status;
    if (pthread_create(&source, NULL, cm_row_source_main, pipeline) != 0) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "cannot start a thread");
    } else {
        /* The display does without a total where no thread can be had to count. */
        bool counting = pthread_create(&counter, NULL, cm_row_counter_main, pipeline) == 0;
        pipeline->began_s = cm_clock_s();
        status = engine_loop(window, error);
        pipeline->counts.wall_s = cm_clock_s() - pipeline->began_s;
        atomic_store(&pipeline->stop, true); /* for the counter too, which nobody waits for now */
        cm_queue_finish(pipeline->ready);
        pthread_join(source, NULL);
        if (counting) {
            pthread_join(counter, NULL);
        }
    }
    cm_queue_finish(pipeline->finished);
    pthread_join(sink, NULL);
    return status;
}

enum cm_status cm_pipeline_run(const struct cm_pipeline_parts *parts,
                               struct cm_pipeline_counts *counts, struct cm_error *error)
{
    struct cm_pipeline pipeline = { .parts = *parts, .next_sample_s = 0.25 };
    pthread_mutex_init(&pipeline.lock, NULL);
    atomic_init(&pipeline.stop, false);
    struct window *window = window_open(&pipeline);
    enum cm_status status = window != NULL ? open_queues(&pipeline) : CM_OUT_OF_MEMORY;
    if (status == CM_OK) {
        status = run_stages(window, error);
    } else {
        cm_error_set(error, status, "out of memory");
    }
    /* An error in another stage is what stopped the loop, or came while the last rows were stored.
     */
    if ((status == CM_END || status == CM_INTERRUPTED) && pipeline.error.status != CM_OK) {
        *error = pipeline.error;
        status = error->status;
    } else if (status == CM_END) {
        status = pipeline.plan_is_read ? CM_OK : CM_INTERRUPTED;
    }
    *counts = pipeline.counts;
    close_queues(&pipeline);
    window_close(window);
    pthread_mutex_destroy(&pipeline.lock);
    return status;
}
