/* Last stage: texts are judged, good ones and failures stored, the rest sent back for another
 * attempt. Counts become visible when the rows they count are durable. */
#include "jobs/pipeline_state.h"

#include "base/clock.h"
#include "base/memory.h"
#include "jobs/row_judge.h"
#include "jobs/row_sources.h"

#include <stdio.h>
#include <string.h>

enum {
    BATCH_ROWS_MAX = 512,
    BATCH_AGE_MAX_MS = 200,
};

struct sink {
    struct cm_pipeline *pipeline;
    struct cm_row_judge *row_judge;
    struct cm_row_sources *sources;
    uint64_t batch_rows[CM_ROW_STATUS_COUNT]; /* stored, not yet committed */
    uint64_t batch_reused;
    uint64_t batch_count;
    uint64_t batch_began_ns;
    bool broken; /* the ledger failed: nothing more is stored */
};

/* --- Storing --- */

static void fail_sink(struct sink *sink, const struct cm_error *error)
{
    sink->broken = true;
    cm_pipeline_fail(sink->pipeline, error);
}

static void commit(struct sink *sink)
{
    struct cm_error error = { 0 };
    if (sink->broken || sink->batch_count == 0) {
        return;
    }
    if (cm_ledger_commit(sink->pipeline->parts.ledger, &error) != CM_OK) {
        fail_sink(sink, &error);
        return;
    }
    pthread_mutex_lock(&sink->pipeline->lock);
    for (size_t i = 0; i < CM_ROW_STATUS_COUNT; i++) {
        sink->pipeline->counts.rows[i] += sink->batch_rows[i];
        sink->batch_rows[i] = 0;
    }
    sink->pipeline->counts.rows_reused += sink->batch_reused;
    pthread_mutex_unlock(&sink->pipeline->lock);
    sink->batch_reused = 0;
    sink->batch_count = 0;
}

static void count(struct sink *sink, enum cm_row_status status)
{
    if (sink->batch_count == 0) {
        sink->batch_began_ns = cm_clock_ns();
    }
    sink->batch_rows[status]++;
    sink->batch_count++;
    if (sink->batch_count == BATCH_ROWS_MAX ||
        cm_clock_ns() - sink->batch_began_ns >= BATCH_AGE_MAX_MS * UINT64_C(1000000)) {
        commit(sink);
    }
}

static struct cm_copy_row describe(const struct sink *sink, const struct cm_row_task *task)
{
    const struct cm_run_options *options = sink->pipeline->parts.options;
    struct cm_copy_row row = {
        .item_id = task->item->item.fields[CM_ITEM_ID],
        .segment_id = task->segment->id,
        .scenario = options->scenario,
        .channel = options->channel,
        .language = task->language,
        .text = "",
        .fields = task->fields != NULL ? task->fields : "",
        .flags = "",
        .finish_reason = "",
        .prompt_tokens = task->prompt_tokens,
        .cached_tokens = task->cached_tokens,
        .seed = options->seed,
        .model = sink->pipeline->parts.model_name,
        .error = "",
        .judgement = "",
    };
    memcpy(row.key, task->key.hex, sizeof row.key);
    return row;
}

static void store(struct sink *sink, struct cm_row_task *task, const struct cm_copy_row *row)
{
    struct cm_error error = { 0 };
    if (sink->broken) {
        return;
    }
    if (cm_row_sources_store(sink->sources, task, &error) != CM_OK ||
        cm_ledger_put(sink->pipeline->parts.ledger, &task->place, row, &error) != CM_OK) {
        fail_sink(sink, &error);
        return;
    }
    count(sink, row->status);
}

static void store_failure(struct sink *sink, struct cm_row_task *task)
{
    struct cm_copy_row row = describe(sink, task);
    row.status = CM_ROW_FAILED;
    row.error = task->problem != NULL ? task->problem : "out of memory";
    row.cached_tokens = 0;
    row.prompt_tokens = 0;
    store(sink, task, &row);
}

static void store_reused(struct sink *sink, struct cm_row_task *task)
{
    struct cm_error error = { 0 };
    if (sink->broken) {
        return;
    }
    enum cm_status status =
        task->stored_sources ? CM_OK : cm_row_sources_store(sink->sources, task, &error);
    if (status != CM_OK ||
        cm_ledger_reuse(sink->pipeline->parts.ledger, &task->place, task->stored_row_id,
                        task->stored_update, task->cached_tokens, &error) != CM_OK) {
        fail_sink(sink, &error);
        return;
    }
    sink->batch_reused++;
    count(sink, task->stored_status);
}

static void store_empty(struct sink *sink, struct cm_row_task *task)
{
    char reason[96];
    snprintf(reason, sizeof reason, "the model wrote nothing in %u %s", task->attempt,
             task->attempt == 1 ? "attempt" : "attempts");
    cm_row_task_fail(task, sink->pipeline->parts.options->catalog_path, reason);
    struct cm_copy_row row = describe(sink, task);
    row.status = CM_ROW_FAILED;
    row.error = task->problem != NULL ? task->problem : reason;
    row.finish_reason = cm_finish_reason_name(task->result.finish_reason);
    row.output_tokens = task->result.output_tokens;
    row.attempt = task->attempt;
    row.tries = task->attempt;
    store(sink, task, &row);
}

static void show_preview(struct sink *sink, const char *text)
{
    pthread_mutex_lock(&sink->pipeline->lock);
    snprintf(sink->pipeline->preview, sizeof sink->pipeline->preview, "%s", text);
    pthread_mutex_unlock(&sink->pipeline->lock);
}

static void store_best(struct sink *sink, struct cm_row_task *task)
{
    const struct cm_task_copy *best = &task->best;
    char flags[CM_FLAGS_BYTES + 16];
    bool is_low = best->score < sink->pipeline->parts.options->min_score;
    snprintf(flags, sizeof flags, "%s%s%s", best->flags,
             is_low && best->flags[0] != '\0' ? "; " : "", is_low ? "low-score" : "");
    struct cm_copy_row row = describe(sink, task);
    row.status = flags[0] == '\0' ? CM_ROW_OK : CM_ROW_FLAGGED;
    row.text = best->text;
    row.score = best->score;
    row.flags = flags;
    row.judgement = best->judgement;
    row.fields = best->fields != NULL ? best->fields : row.fields;
    row.finish_reason = cm_finish_reason_name(best->finish_reason);
    row.output_tokens = best->output_tokens;
    row.attempt = best->attempt;
    row.tries = task->attempt;
    show_preview(sink, best->text);
    store(sink, task, &row);
}

/* --- The stage --- */

static void finish_attempt(struct sink *sink, struct cm_row_task *task)
{
    const struct cm_run_options *options = sink->pipeline->parts.options;
    if (sink->row_judge == NULL || cm_row_judge_attempt(sink->row_judge, task) != CM_OK) {
        cm_row_task_fail(task, options->catalog_path, "out of memory");
        store_failure(sink, task);
        task->again = false;
    } else {
        bool is_good = task->best.text != NULL && task->best.score >= options->min_score;
        task->again = task->attempt < cm_pipeline_best_of(options) ||
                      (!is_good && task->attempt < cm_pipeline_attempts(options));
        if (!task->again && task->best.text != NULL) {
            store_best(sink, task);
        } else if (!task->again) {
            store_empty(sink, task);
        }
    }
    CM_ASSERT(cm_queue_push(sink->pipeline->verdicts, task) == CM_OK);
}

static void handle(struct sink *sink, struct cm_row_task *task)
{
    switch (task->kind) {
    case CM_TASK_GENERATE:
        finish_attempt(sink, task); /* the engine frees it */
        return;
    case CM_TASK_REUSE:
        store_reused(sink, task);
        break;
    case CM_TASK_FAIL:
        store_failure(sink, task);
        break;
    }
    cm_row_task_free(task);
}

/* Without them nothing can be stored, as with a ledger that fails. */
static void open_parts(struct sink *sink)
{
    const struct cm_pipeline_parts *parts = &sink->pipeline->parts;
    enum cm_status status =
        cm_row_sources_open(parts->ledger, parts->segments_count, &sink->sources);
    if (status == CM_OK) {
        status = cm_row_judge_open(parts->options, parts->channel, parts->judge,
                                   cm_engine_tokenizer(parts->engine), &sink->row_judge);
    }
    if (status != CM_OK) {
        struct cm_error error;
        cm_error_set(&error, status, "out of memory");
        fail_sink(sink, &error);
    }
}

void *cm_row_sink_main(void *context)
{
    struct sink sink = { .pipeline = context };
    struct cm_queue *finished = sink.pipeline->finished;
    open_parts(&sink);
    for (;;) {
        void *task = NULL;
        enum cm_status status = cm_queue_try_pop(finished, &task);
        if (status == CM_FULL) {
            if (sink.batch_count > sink.batch_reused) {
                commit(&sink); /* nothing else to do: make the new rows durable */
            }
            status = cm_queue_pop(finished, &task);
        }
        if (status == CM_END) {
            break;
        }
        handle(&sink, task);
    }
    commit(&sink);
    cm_row_sources_close(sink.sources);
    cm_row_judge_close(sink.row_judge);
    return NULL;
}
