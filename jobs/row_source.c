/* First stage: rows of the plan, looked up in the ledger, rendered when they need a text. */
#include "jobs/pipeline_state.h"

#include "base/memory.h"
#include "jobs/interrupt.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Whether a run with today's --attempts and --min-score would end with this very row. */
static bool is_reusable(const struct cm_ledger_found *found, const struct cm_run_options *options)
{
    uint32_t attempts = cm_pipeline_attempts(options);
    uint32_t best_of = cm_pipeline_best_of(options);
    double min_score = options->min_score;
    if (found->status != CM_ROW_OK && found->status != CM_ROW_FLAGGED) {
        return false; /* failed rows get another chance */
    }
    bool is_low = found->score < min_score;
    if (is_low != (found->score < found->gate_score)) {
        return false; /* it would be flagged otherwise */
    }
    if (is_low) {
        return found->tries == attempts;
    }
    if (best_of > 1) {
        return found->tries >= best_of; /* --best-of is part of the key */
    }
    /* The attempts before the kept one were under the threshold of their run, so they are under a
     * higher one too. */
    bool is_first_good = found->attempt == found->tries && found->gate_score <= min_score;
    return found->attempt == 1 || (is_first_good && found->tries <= attempts);
}

/* One lock serves all rows of the item with the same facts. */
static enum cm_status lock_facts(struct cm_pipeline *pipeline, struct cm_row_task *task)
{
    struct cm_constraint **lock = &task->item->fact_locks[task->facts_index];
    enum cm_status status = CM_OK;
    if (*lock == NULL) {
        struct cm_fact_sources sources = { &task->item->item, task->segment, task->question };
        status = cm_controls_lock_facts(pipeline->parts.controls, &sources, lock);
    }
    task->fact_lock = *lock;
    return status;
}

/* The prompt and how long the text may be. */
static void render_task(struct cm_pipeline *pipeline, struct cm_row_task *task)
{
    const struct cm_run_options *options = pipeline->parts.options;
    const char *catalog_path = options->catalog_path;
    const struct cm_item *item = &task->item->item;
    if (item->damaged) {
        cm_row_task_fail(task, catalog_path, item->problem);
        return;
    }
    struct cm_error error = { 0 };
    struct cm_planned_prompt prompt;
    if (cm_plan_prompt(pipeline->parts.plan, &prompt, &error) != CM_OK) {
        cm_row_task_fail(task, catalog_path, error.message);
        return;
    }
    task->cached_tokens = prompt.cached_tokens;
    if (task->kind == CM_TASK_REUSE) {
        return;
    }
    task->output_tokens_max = options->max_tokens;
    if (options->max_length > 0) {
        if (prompt.count >= options->max_length) {
            char reason[160];
            snprintf(reason, sizeof reason,
                     "the prompt of %zu tokens leaves no room for a text in --max-length %" PRIu32
                     "; raise it, or shorten the item",
                     prompt.count, options->max_length);
            cm_row_task_fail(task, catalog_path, reason);
            return;
        }
        uint32_t room = options->max_length - (uint32_t)prompt.count;
        if (room < task->output_tokens_max) {
            task->output_tokens_max = room;
        }
    }
    task->prompt = cm_alloc(prompt.count, sizeof *task->prompt);
    if (task->prompt == NULL || lock_facts(pipeline, task) != CM_OK) {
        cm_row_task_fail(task, catalog_path, "out of memory");
        return;
    }
    memcpy(task->prompt, prompt.ids, prompt.count * sizeof *prompt.ids);
    task->prompt_tokens = (uint32_t)prompt.count;
}

static enum cm_status look_up(struct cm_pipeline *pipeline, struct cm_row_task *task,
                              struct cm_error *error)
{
    const struct cm_run_options *options = pipeline->parts.options;
    struct cm_ledger_found found;
    if (pipeline->parts.ledger_is_empty) {
        return CM_OK;
    }
    enum cm_status status = cm_ledger_find(pipeline->parts.ledger, task->key.hex, &found, error);
    if (status == CM_OK && is_reusable(&found, options)) {
        task->kind = CM_TASK_REUSE;
        task->stored_row_id = found.row_id;
        task->stored_status = found.status;
        task->stored_update = found.neighbours != task->place.neighbours;
        task->stored_sources = found.has_sources;
    }
    return status == CM_NOT_FOUND ? CM_OK : status;
}

/* Consumes the task. CM_END: the pipeline is being stopped. */
static enum cm_status pass_on(struct cm_pipeline *pipeline, struct cm_row_task *task)
{
    bool for_engine = task->kind == CM_TASK_GENERATE;
    enum cm_status status = cm_queue_push(for_engine ? pipeline->ready : pipeline->finished, task);
    if (status != CM_OK) {
        cm_row_task_free(task);
    }
    return status;
}

static enum cm_status next_task(struct cm_pipeline *pipeline, struct cm_error *error)
{
    struct cm_planned_row row;
    enum cm_status status = cm_plan_next(pipeline->parts.plan, &row, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_row_task *task = cm_row_task_create(&row);
    if (task == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    task->place.gate_score = pipeline->parts.options->min_score;
    status = look_up(pipeline, task, error);
    if (status != CM_OK) {
        cm_row_task_free(task);
        return status;
    }
    if (task->kind != CM_TASK_REUSE || task->stored_update) {
        render_task(pipeline, task);
    }
    return pass_on(pipeline, task);
}

void *cm_row_source_main(void *context)
{
    struct cm_pipeline *pipeline = context;
    struct cm_error error = { 0 };
    uint64_t rows_count = 0;
    enum cm_status status = CM_OK;
    while (status == CM_OK && !atomic_load(&pipeline->stop) && !cm_interrupt_requested()) {
        status = next_task(pipeline, &error);
        rows_count += status == CM_OK;
    }
    if (status != CM_OK && status != CM_END) {
        cm_pipeline_fail(pipeline, &error);
    }
    pthread_mutex_lock(&pipeline->lock);
    pipeline->counts.rows_planned = rows_count;
    if (status == CM_END) {
        pipeline->rows_total = rows_count;
        pipeline->plan_is_read = true;
    }
    pthread_mutex_unlock(&pipeline->lock);
    cm_queue_finish(pipeline->ready);
    return NULL;
}
