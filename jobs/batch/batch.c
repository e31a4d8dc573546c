#include "jobs/batch/batch.h"

#include "base/clock.h"
#include "base/digest_count.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "jobs/batch/batch_answer.h"
#include "jobs/batch/batch_files.h"
#include "jobs/batch/batch_task.h"
#include "jobs/interrupt.h"
#include "jobs/job.h"
#include "jobs/model_store.h"
#include "jobs/progress.h"
#include "jobs/run_figures.h"
#include "jobs/version.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Requests in the engine at a time; their answers may end in any order. */
enum { TASKS_MAX = 1024 };

/* A finished answer waits at most this long for the disk. */
static const double COMMIT_S = 0.5;

struct batch {
    const struct cm_batch_options *options;
    struct cm_error *error;
    char model_path[CM_MODEL_PATH_BYTES];
    char model_digest[CM_SHA256_HEX_BYTES];
    struct cm_engine *engine;
    struct cm_engine_info model;
    const struct cm_tokenizer *tokenizer;
    struct cm_batch_requests *requests;
    struct cm_batch_files files; /* the ledger and the two output files */
    struct cm_hash *hash;
    struct cm_digest_count *ids; /* custom_ids met */
    struct cm_progress *progress;

    struct cm_batch_task *tasks[TASKS_MAX];
    uint16_t free_slots[TASKS_MAX];
    size_t free_count;
    size_t current; /* slot of a task that is not wholly submitted; TASKS_MAX: none */
    bool ended;     /* the file was read to its end */
    uint64_t lines_count;
    uint64_t reused_count;
    uint64_t ok_count;
    uint64_t failed_count;
    double committed_s;
};

/* --- Rows --- */

/* All that the answer depends on, and the request's name. The lines of two broken requests may be
 * the same, so those count their place too. */
static void make_key(struct batch *batch, const struct cm_batch_request *request, bool is_good,
                     char key[CM_ROW_KEY_HEX_BYTES], uint64_t seed[2])
{
    uint8_t digest[CM_SHA256_BYTES];
    cm_hash_restart(batch->hash);
    cm_hash_text(batch->hash, "copymill batch 1");
    cm_hash_text(batch->hash, batch->model_digest);
    cm_hash_text(batch->hash, batch->model.variant);
    cm_hash_u64(batch->hash, request->tokens_max == 0 ? batch->options->max_tokens : 0);
    cm_hash_u64(batch->hash, batch->model.context_tokens);
    cm_hash_field(batch->hash, request->text);
    cm_hash_u64(batch->hash, is_good ? 0 : request->line);
    cm_hash_digest(batch->hash, digest);
    cm_hex(digest, CM_ROW_KEY_BYTES, key);
    memcpy(seed, digest + CM_ROW_KEY_BYTES, 2 * sizeof seed[0]);
    if (request->has_seed) {
        seed[0] = (uint64_t)request->seed;
        seed[1] = 0;
    }
}

static struct cm_copy_row empty_row(const struct batch *batch, const char *key)
{
    struct cm_copy_row row = {
        .item_id = "",
        .segment_id = "",
        .scenario = "batch",
        .channel = "",
        .language = "",
        .text = "",
        .fields = "",
        .flags = "",
        .finish_reason = "",
        .model = batch->model.name,
        .error = "",
        .judgement = "",
    };
    memcpy(row.key, key, sizeof row.key);
    return row;
}

static enum cm_status put_failed(struct batch *batch, uint64_t position, const char *key,
                                 const char *custom_id, const char *code, const char *message)
{
    struct cm_copy_row row = empty_row(batch, key);
    struct cm_ledger_place place = { .position = position };
    row.status = CM_ROW_FAILED;
    row.item_id = custom_id;
    row.flags = code;
    row.error = message;
    batch->failed_count++;
    return cm_ledger_put(batch->files.ledger, &place, &row, batch->error);
}

static enum cm_status put_answer(struct batch *batch, const struct cm_batch_task *task)
{
    struct cm_copy_row row = empty_row(batch, task->key);
    struct cm_ledger_place place = { .position = task->position };
    char *body =
        cm_batch_answer_body(task, batch->model.name, batch->model.variant, (int64_t)time(NULL));
    if (body == NULL) {
        return cm_error_set(batch->error, CM_OUT_OF_MEMORY, "out of memory for an answer");
    }
    row.status = CM_ROW_OK;
    row.item_id = task->custom_id;
    row.text = task->choices[0].text;
    row.fields = body;
    row.score = 1.0;
    row.finish_reason = cm_finish_reason_name(task->choices[0].finish_reason);
    row.attempt = row.tries = 1;
    row.seed = task->seed[0];
    for (size_t i = 0; i < task->prompts_count; i++) {
        row.prompt_tokens += task->prompts[i].count;
    }
    for (uint32_t i = 0; i < task->choices_count; i++) {
        row.output_tokens += task->choices[i].output_tokens;
    }
    batch->ok_count++;
    enum cm_status status = cm_ledger_put(batch->files.ledger, &place, &row, batch->error);
    cm_free(body);
    return status;
}

/* --- Requests into the engine --- */

static void free_slot(struct batch *batch, size_t slot)
{
    cm_batch_task_free(batch->tasks[slot]);
    batch->tasks[slot] = NULL;
    batch->free_slots[batch->free_count++] = (uint16_t)slot;
}

/* Whether the id was met before in this file. */
static enum cm_status is_repeated(struct batch *batch, const struct cm_batch_request *request,
                                  bool *repeated)
{
    uint8_t digest[CM_SHA256_BYTES];
    uint32_t nth = 0;
    cm_hash_restart(batch->hash);
    cm_hash_field(batch->hash, request->custom_id);
    cm_hash_digest(batch->hash, digest);
    enum cm_status status = cm_digest_count_add(batch->ids, digest, &nth);
    *repeated = nth > 0;
    return status == CM_OK ? CM_OK : cm_error_set(batch->error, status, "out of memory");
}

static enum cm_status refuse(struct batch *batch, const struct cm_batch_request *request,
                             const char *code, const char *message)
{
    char key[CM_ROW_KEY_HEX_BYTES];
    uint64_t seed[2];
    char *id = cm_strndup(request->custom_id.length > 0 ? request->custom_id.data : "",
                          request->custom_id.length);
    char text[400];
    if (id == NULL) {
        return cm_error_set(batch->error, CM_OUT_OF_MEMORY, "out of memory");
    }
    make_key(batch, request, false, key, seed);
    snprintf(text, sizeof text, "line %" PRIu64 ": %s", request->line, message);
    enum cm_status status = put_failed(batch, batch->lines_count++, key, id, code, text);
    cm_free(id);
    return status;
}

/* How long an answer may be: what was asked for, or what fits. */
static bool fits(const struct batch *batch, struct cm_batch_task *task, struct cm_error *problem)
{
    uint32_t context = batch->model.context_tokens;
    for (size_t i = 0; i < task->prompts_count; i++) {
        uint32_t count = task->prompts[i].count;
        uint32_t wanted = task->tokens_max == 0 ? 1 : task->tokens_max;
        if (count >= context || wanted > context - count) {
            cm_error_set(problem, CM_LIMIT,
                         "the prompt has %" PRIu32 " tokens and %" PRIu32
                         " are asked for; the model's context is %" PRIu32 " tokens",
                         count, wanted, context);
            return false;
        }
    }
    return true;
}

static uint32_t output_max(const struct batch *batch, const struct cm_batch_task *task,
                           uint32_t prompt_tokens)
{
    uint32_t room = batch->model.context_tokens - prompt_tokens;
    uint32_t usual = batch->options->max_tokens < room ? batch->options->max_tokens : room;
    return task->tokens_max == 0 ? usual : task->tokens_max;
}

/* A good request: found in the ledger, or a task for the engine. */
static enum cm_status admit(struct batch *batch, const struct cm_batch_request *request)
{
    struct cm_batch_task *task = NULL;
    struct cm_error problem = { 0 };
    struct cm_ledger_found found;
    char key[CM_ROW_KEY_HEX_BYTES];
    uint64_t seed[2];
    make_key(batch, request, true, key, seed);
    enum cm_status status = cm_ledger_find(batch->files.ledger, key, &found, batch->error);
    if (status == CM_OK && found.status == CM_ROW_OK) {
        struct cm_ledger_place place = { .position = batch->lines_count++ };
        batch->reused_count++;
        batch->ok_count++;
        return cm_ledger_reuse(batch->files.ledger, &place, found.row_id, false, 0, batch->error);
    }
    if (status != CM_OK && status != CM_NOT_FOUND) {
        return status;
    }
    status = cm_batch_task_create(request, batch->tokenizer, &task, &problem);
    if (status == CM_OUT_OF_MEMORY) {
        *batch->error = problem;
        return status;
    }
    if (status != CM_OK) {
        return refuse(batch, request, "invalid_value", problem.message);
    }
    if (!fits(batch, task, &problem)) {
        cm_batch_task_free(task);
        return refuse(batch, request, "context_length_exceeded", problem.message);
    }
    memcpy(task->key, key, sizeof key);
    memcpy(task->seed, seed, sizeof seed);
    task->position = batch->lines_count++;
    batch->current = batch->free_slots[--batch->free_count];
    batch->tasks[batch->current] = task;
    return CM_OK;
}

static enum cm_status read_request(struct batch *batch)
{
    struct cm_batch_request request;
    bool repeated = false;
    enum cm_status status = cm_batch_requests_next(batch->requests, &request, batch->error);
    if (status == CM_END) {
        batch->ended = true;
        return CM_OK;
    }
    if (status == CM_OK && request.custom_id.length > 0) {
        status = is_repeated(batch, &request, &repeated);
    }
    if (status != CM_OK) {
        return status;
    }
    if (repeated) {
        return refuse(batch, &request, "duplicate_custom_id",
                      "the custom_id was used further up; give each request its own");
    }
    return request.code != NULL ? refuse(batch, &request, request.code, request.problem)
                                : admit(batch, &request);
}

/* CM_FULL: the engine takes no more now. */
static enum cm_status submit(struct batch *batch)
{
    struct cm_batch_task *task = batch->tasks[batch->current];
    enum cm_status status = CM_OK;
    while (status == CM_OK && task->submitted < task->choices_count) {
        const struct cm_batch_prompt *prompt =
            &task->prompts[task->submitted / task->choices_per_prompt];
        struct cm_request request = {
            .id = (uint64_t)batch->current * CM_BATCH_CHOICES_MAX + task->submitted,
            .unit = task->position,
            .prompt = prompt->ids,
            .prompt_tokens = prompt->count,
            .output_tokens_max = output_max(batch, task, prompt->count),
            .seed = { task->seed[0], task->seed[1] },
            .attempt = task->submitted % task->choices_per_prompt + 1,
            .sampling = task->sampling,
            .stop_strings = task->stop_list,
            .stop_strings_count = task->stops_count,
        };
        status = cm_engine_submit(batch->engine, &request, batch->error);
        task->submitted += status == CM_OK;
    }
    if (status == CM_LIMIT && task->submitted == 0) {
        /* Within the model's context, but over the memory there is. */
        status = put_failed(batch, task->position, task->key, task->custom_id,
                            "context_length_exceeded", batch->error->message);
        free_slot(batch, batch->current);
        batch->current = TASKS_MAX;
        return status;
    }
    if (status == CM_OK) {
        batch->current = TASKS_MAX;
    }
    return status;
}

static enum cm_status fill_engine(struct batch *batch)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        if (batch->current != TASKS_MAX) {
            status = submit(batch);
        } else if (batch->ended || batch->free_count == 0) {
            return CM_OK;
        } else {
            status = read_request(batch);
        }
    }
    return status == CM_FULL ? CM_OK : status;
}

/* --- Answers out of it --- */

static enum cm_status take_answers(struct batch *batch)
{
    struct cm_result result;
    enum cm_status status = CM_OK;
    while (status == CM_OK && cm_engine_finished(batch->engine, &result) == CM_OK) {
        size_t slot = (size_t)(result.id / CM_BATCH_CHOICES_MAX);
        uint32_t choice = (uint32_t)(result.id % CM_BATCH_CHOICES_MAX);
        struct cm_batch_task *task = batch->tasks[slot];
        task->lost = task->lost || result.finish_reason == CM_FINISH_LOST;
        if (cm_batch_task_take(task, choice, &result, batch->tokenizer) != CM_OK) {
            return cm_error_set(batch->error, CM_OUT_OF_MEMORY, "out of memory for an answer");
        }
        cm_engine_release(batch->engine, result.id);
        if (task->finished == task->choices_count) {
            status =
                task->lost
                    ? put_failed(batch, task->position, task->key, task->custom_id, "server_error",
                                 "devices failed while the answer was written; run the batch "
                                 "again")
                    : put_answer(batch, task);
            free_slot(batch, slot);
        }
    }
    return status;
}

static void show_progress(struct batch *batch)
{
    struct cm_progress_numbers numbers = {
        .rows_total = batch->ended ? batch->lines_count : 0,
        .rows_reused = batch->reused_count,
        .rows_ok = batch->ok_count,
        .rows_failed = batch->failed_count,
    };
    cm_engine_counters(batch->engine, &numbers.engine);
    cm_progress_update(batch->progress, &numbers, NULL);
}

static enum cm_status commit_in_time(struct batch *batch)
{
    if (cm_clock_s() - batch->committed_s < COMMIT_S) {
        return CM_OK;
    }
    enum cm_status status = cm_ledger_commit(batch->files.ledger, batch->error);
    batch->committed_s = cm_clock_s();
    if (status == CM_OK) {
        show_progress(batch); /* only what the disk has is reported */
    }
    return status;
}

static enum cm_status answer_all(struct batch *batch)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        if (cm_interrupt_requested()) {
            return CM_INTERRUPTED;
        }
        status = fill_engine(batch);
        if (status == CM_OK) {
            status = cm_engine_step(batch->engine, batch->error);
        }
        bool idle = status == CM_END;
        if (status == CM_OK || idle) {
            status = take_answers(batch);
        }
        if (status == CM_OK) {
            status = commit_in_time(batch);
        }
        bool waits = batch->current != TASKS_MAX || !batch->ended;
        if (status == CM_OK && idle && !waits && batch->free_count == TASKS_MAX) {
            return CM_OK;
        }
    }
    return status;
}

/* --- The whole --- */

static enum cm_status open_engine(struct batch *batch)
{
    const struct cm_batch_options *options = batch->options;
    struct cm_engine_options engine = {
        .model_path = batch->model_path,
        .device = options->device,
        .tp = options->tp,
        .device_timeout_s = options->device_timeout_s,
        .precision = options->precision,
        .kv = options->kv,
        .threads = options->threads,
        .batch = options->batch,
        .memory_bytes = (uint64_t)(options->memory_gib * 0x1p30),
        .context_tokens = options->max_length,
    };
    enum cm_status status =
        cm_model_resolve(options->model, batch->model_path, sizeof batch->model_path, batch->error);
    if (status == CM_OK) {
        status = cm_engine_open(&engine, &batch->engine, batch->error);
    }
    if (status == CM_OK) {
        cm_engine_info(batch->engine, &batch->model);
        batch->tokenizer = cm_engine_tokenizer(batch->engine);
        status = cm_engine_model_digest(batch->engine, batch->model_digest, batch->error);
    }
    return status;
}

static enum cm_status begin(struct batch *batch)
{
    uint8_t digest[CM_SHA256_BYTES];
    char hex[CM_SHA256_HEX_BYTES];
    cm_hash_restart(batch->hash);
    cm_hash_text(batch->hash, "copymill batch 1");
    cm_hash_text(batch->hash, batch->model_digest);
    cm_hash_text(batch->hash, batch->model.variant);
    cm_hash_digest(batch->hash, digest);
    cm_hex(digest, sizeof digest, hex);
    const struct cm_ledger_setting pairs[] = {
        { "version", cm_version() },
        { "command", "batch" },
        { "input", batch->options->input_path },
        { "model", batch->options->model },
        { "model_name", batch->model.name },
        { "model_sha256", batch->model_digest },
        { "variant", batch->model.variant },
    };
    struct cm_ledger_settings settings = { hex, pairs, sizeof pairs / sizeof pairs[0] };
    struct cm_ledger_contents contents;
    enum cm_status status =
        cm_ledger_begin(batch->files.ledger, &settings, &contents, batch->error);
    if (status == CM_OK && contents.rows_same > 0) {
        cm_log(CM_LOG_INFO, "%s holds %" PRIu64 " answers of this model; they are used again",
               batch->files.ledger_path, contents.rows_same);
    }
    return status;
}

static enum cm_status open_all(struct batch *batch)
{
    const struct cm_batch_options *options = batch->options;
    enum cm_status status =
        cm_batch_requests_open(options->input_path, &batch->requests, batch->error);
    if (status == CM_OK) {
        status = cm_batch_files_check(&batch->files, options, batch->error);
    }
    if (status == CM_OK) {
        status = open_engine(batch);
    }
    if (status == CM_OK) {
        status = cm_batch_files_open_ledger(&batch->files, batch->error);
    }
    if (status == CM_OK &&
        (cm_hash_open(&batch->hash) != CM_OK || cm_digest_count_open(&batch->ids) != CM_OK ||
         cm_progress_open(options->progress, &batch->progress) != CM_OK)) {
        status = cm_error_set(batch->error, CM_OUT_OF_MEMORY, "out of memory");
    }
    return status == CM_OK ? begin(batch) : status;
}

static void close_all(struct batch *batch)
{
    for (size_t i = 0; i < TASKS_MAX; i++) {
        cm_batch_task_free(batch->tasks[i]);
    }
    cm_progress_close(batch->progress);
    cm_digest_count_close(batch->ids);
    cm_hash_close(batch->hash);
    cm_batch_files_deinit(&batch->files);
    cm_engine_close(batch->engine);
    cm_batch_requests_close(batch->requests);
}

static enum cm_status end_ledger(struct batch *batch, enum cm_status status, double wall_s)
{
    struct cm_run_figures figures = {
        .outcome = status == CM_OK            ? "finished"
                   : status == CM_INTERRUPTED ? "interrupted"
                                              : "stopped",
        .rows_planned = batch->lines_count,
        .rows_reused = batch->reused_count,
        .wall_s = wall_s,
        .model = batch->model,
    };
    cm_engine_counters(batch->engine, &figures.engine);
    char *text = cm_run_figures_write(&figures);
    if (text == NULL) {
        return cm_error_set(batch->error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status ended = cm_ledger_end_run(batch->files.ledger, text, batch->error);
    cm_free(text);
    return ended;
}

static enum cm_exit conclude(const struct batch *batch, enum cm_status status)
{
    if (status == CM_OK) {
        cm_log(CM_LOG_INFO,
               "%" PRIu64 " requests: %" PRIu64 " answered (%" PRIu64 " from the ledger), %" PRIu64
               " failed%s%s",
               batch->lines_count, batch->ok_count, batch->reused_count, batch->failed_count,
               batch->failed_count > 0 ? ", listed in " : "",
               batch->failed_count > 0 ? batch->files.errors_path : "");
        return batch->failed_count == 0 ? CM_EXIT_OK
               : batch->ok_count == 0   ? CM_EXIT_FAILED
                                        : CM_EXIT_PARTIAL;
    }
    if (status != CM_INTERRUPTED) {
        cm_log(CM_LOG_ERROR, "%s%s", status == CM_DEVICE_FAILED ? "no device is left: " : "",
               batch->error->message);
    }
    cm_log(CM_LOG_INFO, "%s: what is answered is safe in %s; the same command goes on from there",
           status == CM_INTERRUPTED ? "interrupted" : "stopped", batch->files.ledger_path);
    return CM_EXIT_INTERRUPTED;
}

static enum cm_exit run(struct batch *batch)
{
    double started_s = cm_clock_s();
    batch->committed_s = started_s;
    enum cm_status status = answer_all(batch);
    bool has_ended = status == CM_OK || status == CM_INTERRUPTED || status == CM_DEVICE_FAILED;
    enum cm_status kept = has_ended ? end_ledger(batch, status, cm_clock_s() - started_s)
                                    : cm_ledger_commit(batch->files.ledger, NULL);
    status = has_ended && kept != CM_OK ? kept : status;
    if (status == CM_OK && batch->lines_count == 0) {
        cm_log(CM_LOG_ERROR, "%s: holds no request", batch->options->input_path);
        return CM_EXIT_USAGE;
    }
    if (status == CM_OK) {
        struct cm_progress_numbers numbers = {
            .rows_total = batch->lines_count,
            .rows_reused = batch->reused_count,
            .rows_ok = batch->ok_count,
            .rows_failed = batch->failed_count,
        };
        cm_engine_counters(batch->engine, &numbers.engine);
        cm_progress_finish(batch->progress, &numbers);
        status =
            cm_batch_files_write(&batch->files, batch->ok_count, batch->failed_count, batch->error);
    }
    return conclude(batch, status);
}

enum cm_exit cm_batch_run(const struct cm_batch_options *options)
{
    struct cm_error error = { 0 };
    enum cm_exit result;
    struct batch *batch = cm_alloc(1, sizeof *batch);
    if (batch == NULL) {
        cm_log(CM_LOG_ERROR, "out of memory");
        return CM_EXIT_FAILED;
    }
    batch->options = options;
    batch->error = &error;
    batch->current = TASKS_MAX;
    for (size_t i = 0; i < TASKS_MAX; i++) {
        batch->free_slots[batch->free_count++] = (uint16_t)(TASKS_MAX - 1 - i);
    }
    cm_interrupt_install();
    enum cm_status status = open_all(batch);
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
        result = status == CM_IO ? CM_EXIT_FAILED : cm_job_exit_of(status);
    } else {
        result = run(batch);
    }
    close_all(batch);
    cm_free(batch);
    cm_interrupt_remove();
    return result;
}
