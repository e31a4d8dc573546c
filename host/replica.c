#include "host/replica.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "host/cpu_groups.h"
#include "host/page_plan.h"
#include "host/ranks.h"
#include "host/scheduler.h"
#include "host/sequence_logits.h"
#include "loaders/model_file.h"

#include <pthread.h>
#include <stdio.h>

/* Models of fewer channels are narrow (profiling/README.md, "Accuracy"). */
enum { NARROW_EMBD = 768 };

/* A CUDA device needs twice as many rows, in two waves, to be busy while the host plans. */
static const uint32_t default_batch[] = {
    [CM_DEVICE_CPU] = CM_GROUP_TEXTS, [CM_DEVICE_CUDA] = 256
};
static const uint32_t prefill_rows[] = {
    [CM_DEVICE_CPU] = CM_PREFILL_ROWS, [CM_DEVICE_CUDA] = CM_PREFILL_ROWS_CUDA
};
static const uint32_t spare_pages[] = { [CM_DEVICE_CPU] = 0, [CM_DEVICE_CUDA] = CM_SPARE_PAGES };
static const uint32_t replica_waves[] = { [CM_DEVICE_CPU] = 1, [CM_DEVICE_CUDA] = 2 };

struct cm_replica {
    const struct cm_model_config *config;
    const struct cm_tokenizer *tokenizer;
    struct cm_ranks *ranks;
    struct cm_rank *leader; /* the first of them */
    struct cm_kv_pages *pages;
    struct cm_scheduler *scheduler;
    uint32_t waves_count;
    uint32_t turn; /* the wave whose results are taken next */
    struct cm_engine_info info;
    pthread_mutex_t lock; /* guards the scheduler; not held while the device computes */

    struct cm_engine_counters counters;
    uint64_t padding_rows; /* through the matrices for nobody */
    double taken_s;        /* when the results of the last step were there */
};

/* --- Opening --- */

static void describe_rank(const struct cm_rank *rank, struct cm_engine_info *info)
{
    const struct cm_weights *weights = rank->weights;
    info->threads += cm_backend_threads(rank->backend);
    info->weights_bytes += weights->packed_bytes;
    info->tables_bytes += weights->tables_bytes;
    for (uint32_t i = 0; i < weights->n_layers; i++) {
        const struct cm_matrix *const matrices[] = {
            weights->layers[i].qkv,
            weights->layers[i].attention_out,
            weights->layers[i].gate_up,
            weights->layers[i].down,
        };
        for (size_t j = 0; j < sizeof matrices / sizeof matrices[0]; j++) {
            info->multiply_adds_per_token +=
                (double)cm_matrix_n_in(matrices[j]) * cm_matrix_n_out(matrices[j]);
        }
    }
    info->head_multiply_adds_per_token +=
        (double)cm_matrix_n_in(weights->head) * cm_matrix_n_out(weights->head);
}

static void describe_model(struct cm_replica *replica)
{
    const struct cm_model_config *config = replica->config;
    const struct cm_rank *leader = replica->leader;
    struct cm_engine_info *info = &replica->info;
    snprintf(info->name, sizeof info->name, "%s", config->name);
    snprintf(info->family, sizeof info->family, "%s", leader->weights->spec->family);
    snprintf(info->variant, sizeof info->variant, "%s", cm_backend_variant(leader->backend));
    info->n_vocab = config->n_vocab;
    info->n_layers = config->n_layers;
    info->n_positions = config->n_positions;
    info->devices = cm_ranks_count(replica->ranks);
    info->replicas = 1;
    info->parameters_count = leader->weights->parameters_count;
    for (uint32_t i = 0; i < info->devices; i++) {
        describe_rank(cm_ranks_at(replica->ranks, i), info);
    }
}

static enum cm_status open_model(struct cm_replica *replica, struct cm_model_file *file,
                                 const struct cm_device_choice *devices,
                                 const struct cm_replica *owner,
                                 const struct cm_engine_options *options, uint32_t rows_max,
                                 struct cm_error *error)
{
    const struct cm_ranks_options ranks_options = {
        .devices = devices,
        .weights = owner != NULL ? owner->leader->weights : NULL,
        .count = options->tp > 1 ? options->tp : 1,
        .precision = cm_device_precision_for(devices[0].kind, options->precision, file),
        .kv_int8 = options->kv == CM_ENGINE_KV_INT8,
        .narrow_model = cm_model_file_config(file)->n_embd < NARROW_EMBD,
        .threads = options->threads,
        .rows_max = rows_max,
        .timeout_s = options->device_timeout_s,
        .model_path = options->model_path,
    };
    enum cm_status status = cm_ranks_open(file, &ranks_options, &replica->ranks, error);
    if (status == CM_OK) {
        replica->leader = cm_ranks_at(replica->ranks, 0);
        if (ranks_options.kv_int8 && owner == NULL && replica->leader->weights->has_key_bias) {
            cm_log(CM_LOG_WARNING,
                   "--kv-cache int8: keys of this model have biases, which may be too far from all "
                   "else for 8 bits; leave the option out where its copy suffers");
        }
    }
    return status;
}

static struct cm_kv_shape kv_shape(const struct cm_rank *rank)
{
    const struct cm_model_config *config = &rank->weights->part.config;
    return (struct cm_kv_shape){ config->n_layers, config->n_kv_heads, config->head_dim };
}

/* All ranks have the same pages, so the one with the least memory decides. */
static enum cm_status open_pages(struct cm_replica *replica, enum cm_device device,
                                 const struct cm_engine_options *options, struct cm_error *error)
{
    struct cm_engine_info *info = &replica->info;
    info->in_host_memory = device == CM_DEVICE_CPU;
    uint32_t ranks_count = cm_ranks_count(replica->ranks);
    const struct cm_kv_shape shape = kv_shape(replica->leader);
    uint64_t memory_bytes = UINT64_MAX;
    for (uint32_t i = 0; i < ranks_count; i++) {
        uint64_t bytes = cm_backend_memory_bytes(cm_ranks_at(replica->ranks, i)->backend);
        memory_bytes = bytes < memory_bytes ? bytes : memory_bytes;
    }
    info->context_tokens = replica->config->n_positions;
    if (options->context_tokens > 0 && options->context_tokens < info->context_tokens) {
        info->context_tokens = options->context_tokens;
    }
    const struct cm_page_plan plan = {
        .options = options,
        .device = device,
        .memory_bytes = memory_bytes,
        .page_bytes = cm_kv_page_bytes(replica->leader->backend, &shape),
    };
    enum cm_status status = cm_page_plan_describe(&plan, info, error);
    info->kv_bytes *= ranks_count;
    info->kv_token_bytes *= ranks_count;
    if (status == CM_OK && cm_kv_pages_open(info->kv_pages_count, &replica->pages) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the table of pages");
    }
    return status;
}

/* What each rank needs for its steps. */
struct steps_task {
    uint32_t pages_count;
    uint32_t waves_count;
    struct cm_wave_options wave;
};

static enum cm_status open_rank(struct cm_rank *rank, void *context, struct cm_error *error)
{
    const struct steps_task *task = context;
    const struct cm_kv_shape shape = kv_shape(rank);
    enum cm_status status =
        cm_kv_pool_create(rank->backend, &shape, task->pages_count, &rank->pool, error);
    if (status == CM_OK) {
        status = cm_forward_open(rank->backend, rank->weights, rank->pool, task->wave.rows_max,
                                 &rank->forward, error);
    }
    struct cm_wave_options wave = task->wave;
    wave.follows = rank->index > 0;
    for (uint32_t i = 0; i < task->waves_count && status == CM_OK; i++) {
        wave.index = i;
        status = cm_wave_open(rank->backend, &wave, &rank->waves[i], error);
    }
    return status;
}

/* Devices that compute together have one step at a time: what candidates leave undecided is sampled
 * again from the same activations. */
static enum cm_status open_steps(struct cm_replica *replica, enum cm_device device,
                                 const struct cm_engine_options *options, uint32_t rows_max,
                                 struct cm_error *error)
{
    bool together = cm_ranks_count(replica->ranks) > 1;
    replica->waves_count = together || options->waves == 1 ? 1 : replica_waves[device];
    const struct cm_scheduler_options scheduler_options = {
        .batch = replica->info.batch,
        .rows_max = rows_max,
        .waves = replica->waves_count,
        .n_vocab = replica->config->n_vocab,
        .context_tokens = replica->info.context_tokens,
        .tokenizer = replica->tokenizer,
    };
    struct steps_task task = {
        .pages_count = replica->info.kv_pages_count + spare_pages[device],
        .waves_count = replica->waves_count,
        .wave = { .rows_max = rows_max,
                  .records = device == CM_DEVICE_CUDA && !together && !options->eager,
                  .spare_page = replica->info.kv_pages_count,
                  .sampler = { .n_vocab = replica->config->n_vocab,
                               .batch = replica->info.batch + CM_PADDING_ROWS_MAX,
                               .context_tokens = replica->info.context_tokens,
                               .stop_tokens_count =
                                   cm_tokenizer_stops_count(replica->tokenizer) } },
    };
    if (cm_scheduler_open(&scheduler_options, replica->pages, &replica->scheduler) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a batch of %u",
                            replica->info.batch);
    }
    return cm_ranks_run(replica->ranks, open_rank, &task, error);
}

enum cm_status cm_replica_open(struct cm_model_file *file, const struct cm_tokenizer *tokenizer,
                               const struct cm_device_choice *devices,
                               const struct cm_replica *owner,
                               const struct cm_engine_options *options, struct cm_replica **replica,
                               struct cm_error *error)
{
    struct cm_replica *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    pthread_mutex_init(&opened->lock, NULL);
    opened->config = cm_model_file_config(file);
    opened->tokenizer = tokenizer;
    opened->info.batch = options->batch > 0 ? options->batch : default_batch[devices[0].kind];
    opened->info.prefill_rows = prefill_rows[devices[0].kind];
    uint32_t rows_max = opened->info.batch + opened->info.prefill_rows;
    enum cm_status status = open_model(opened, file, devices, owner, options, rows_max, error);
    if (status == CM_OK) {
        status = open_pages(opened, devices[0].kind, options, error);
    }
    if (status == CM_OK) {
        status = open_steps(opened, devices[0].kind, options, rows_max, error);
    }
    if (status != CM_OK) {
        cm_replica_close(opened);
        return status;
    }
    describe_model(opened);
    *replica = opened;
    return CM_OK;
}

void cm_replica_close(struct cm_replica *replica)
{
    if (replica == NULL) {
        return;
    }
    cm_ranks_close(replica->ranks);
    cm_scheduler_close(replica->scheduler);
    cm_kv_pages_close(replica->pages);
    pthread_mutex_destroy(&replica->lock);
    cm_free(replica);
}

void cm_replica_info(const struct cm_replica *replica, struct cm_engine_info *info)
{
    *info = replica->info;
}

/* --- Requests --- */

enum cm_status cm_replica_check(const struct cm_replica *replica, const struct cm_request *request,
                                struct cm_error *error)
{
    return cm_scheduler_check(replica->scheduler, request, error); /* reads nothing that changes */
}

enum cm_status cm_replica_submit(struct cm_replica *replica, const struct cm_request *request,
                                 struct cm_error *error)
{
    pthread_mutex_lock(&replica->lock);
    enum cm_status status = cm_scheduler_submit(replica->scheduler, request, error);
    pthread_mutex_unlock(&replica->lock);
    return status;
}

enum cm_status cm_replica_finished(struct cm_replica *replica, struct cm_result *result)
{
    pthread_mutex_lock(&replica->lock);
    enum cm_status status = cm_scheduler_finished(replica->scheduler, result);
    pthread_mutex_unlock(&replica->lock);
    return status;
}

enum cm_status cm_replica_beam(struct cm_replica *replica, uint64_t id, uint32_t index,
                               struct cm_beam *beam)
{
    pthread_mutex_lock(&replica->lock);
    const struct cm_beam_text *text = cm_scheduler_beam(replica->scheduler, id, index);
    pthread_mutex_unlock(&replica->lock);
    if (text == NULL) {
        return CM_END;
    }
    *beam = (struct cm_beam){ text->branch.output, text->branch.output_tokens, text->score };
    return CM_OK;
}

void cm_replica_release(struct cm_replica *replica, uint64_t id)
{
    pthread_mutex_lock(&replica->lock);
    cm_scheduler_release(replica->scheduler, id);
    pthread_mutex_unlock(&replica->lock);
}

enum cm_status cm_replica_retry(struct cm_replica *replica, uint64_t id,
                                const struct cm_retry *retry, struct cm_error *error)
{
    pthread_mutex_lock(&replica->lock);
    enum cm_status status = cm_scheduler_retry(replica->scheduler, id, retry, error);
    pthread_mutex_unlock(&replica->lock);
    return status;
}

/* --- A step --- */

/* The share of a step's multiply-adds that its prompt tokens take. The head is for rows that want
 * logits alone: all that decode, and the last one of a prompt. */
static double prefill_share(const struct cm_engine_info *info, const struct cm_step_work *work)
{
    uint32_t logits_rows = 0;
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        logits_rows += work->rows[i].want_logits;
    }
    double prefill = work->prefill_rows * info->multiply_adds_per_token +
                     (logits_rows - work->decode_rows) * info->head_multiply_adds_per_token;
    double decode =
        work->decode_rows * (info->multiply_adds_per_token + info->head_multiply_adds_per_token);
    return prefill / (prefill + decode);
}

static void count_step(struct cm_replica *replica, struct cm_wave *wave, double seconds)
{
    const struct cm_step_work *work = cm_wave_work(wave);
    struct cm_engine_counters *counters = &replica->counters;
    double prefill = prefill_share(&replica->info, work);
    counters->steps++;
    counters->prefill_tokens += work->prefill_rows;
    counters->decode_tokens += work->decode_rows;
    counters->prefill_s += seconds * prefill;
    counters->decode_s += seconds * (1 - prefill);
    counters->computed_tokens =
        cm_matrix_rows_count(replica->leader->weights->layers[0].qkv) - replica->padding_rows;
}

/* A wave of all ranks; its work is the leader's. */
struct wave_task {
    uint32_t wave;
    const struct cm_step_work *work;
    const struct cm_step_samples *samples; /* out: the leader's */
};

static enum cm_status describe_wave(struct cm_rank *rank, void *context, struct cm_error *error)
{
    const struct wave_task *task = context;
    return cm_wave_describe(rank->waves[task->wave], error);
}

static enum cm_status launch_wave(struct cm_rank *rank, void *context, struct cm_error *error)
{
    const struct wave_task *task = context;
    const struct cm_step_work *work = task->work;
    (void)error;
    cm_kv_discard(rank->backend, rank->pool, work->discarded, work->discarded_count);
    for (uint32_t i = 0; i < work->copies_count; i++) {
        const struct cm_page_copy *copy = &work->copies[i];
        cm_kv_copy_tokens(rank->backend, rank->pool, (uint32_t)copy->from, (uint32_t)copy->to,
                          copy->tokens);
    }
    if (work->sequences_count > 0) {
        cm_wave_submit(rank->waves[task->wave], rank->forward);
    }
    return CM_OK;
}

static enum cm_status collect_wave(struct cm_rank *rank, void *context, struct cm_error *error)
{
    struct wave_task *task = context;
    const struct cm_step_samples *samples;
    enum cm_status status = cm_wave_wait(rank->waves[task->wave], &samples, error);
    if (rank->index == 0) {
        task->samples = samples;
    }
    return status;
}

/* Plans the wave's next step and hands it to the devices. CM_END: nothing is left in any wave. */
static enum cm_status launch(struct cm_replica *replica, uint32_t index, struct cm_error *error)
{
    struct cm_step_work *work = cm_wave_work(replica->leader->waves[index]);
    struct wave_task task = { .wave = index, .work = work };
    cm_backend_range_begin(replica->leader->backend, "plan");
    pthread_mutex_lock(&replica->lock);
    enum cm_status status = cm_scheduler_plan(replica->scheduler, index, work);
    pthread_mutex_unlock(&replica->lock);
    cm_backend_range_end(replica->leader->backend);
    if (status != CM_OK) {
        return status;
    }
    for (uint32_t i = 1; i < cm_ranks_count(replica->ranks); i++) {
        cm_wave_follow(cm_ranks_at(replica->ranks, i)->waves[index], work);
    }
    if (work->sequences_count > 0) {
        status = cm_ranks_run(replica->ranks, describe_wave, &task, error);
    }
    if (status == CM_OK) {
        status = cm_ranks_run(replica->ranks, launch_wave, &task, error);
    }
    if (status == CM_OK && work->sequences_count > 0) {
        replica->padding_rows += cm_wave_padding_rows(replica->leader->waves[index]);
    }
    return status;
}

/* Takes the results of the wave's step. */
static enum cm_status collect(struct cm_replica *replica, uint32_t index, struct cm_error *error)
{
    struct cm_wave *wave = replica->leader->waves[index];
    struct wave_task task = { .wave = index };
    enum cm_status status = cm_ranks_run(replica->ranks, collect_wave, &task, error);
    if (status != CM_OK) {
        return status;
    }
    /* The device began with it when it was done with the one before. */
    double begin_s = cm_wave_submitted_s(wave);
    begin_s = begin_s > replica->taken_s ? begin_s : replica->taken_s;
    replica->taken_s = cm_clock_s();
    cm_backend_range_begin(replica->leader->backend, "complete");
    pthread_mutex_lock(&replica->lock);
    cm_scheduler_complete(replica->scheduler, cm_wave_work(wave), task.samples);
    count_step(replica, wave, replica->taken_s - begin_s);
    pthread_mutex_unlock(&replica->lock);
    cm_backend_range_end(replica->leader->backend);
    return CM_OK;
}

enum cm_status cm_replica_step(struct cm_replica *replica, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    bool stepped = false;
    for (uint32_t i = 0; i < replica->waves_count && status == CM_OK && !stepped; i++) {
        uint32_t index = replica->turn;
        struct cm_wave *wave = replica->leader->waves[index];
        replica->turn = (index + 1) % replica->waves_count;
        if (cm_wave_in_flight(wave)) {
            status = collect(replica, index, error);
            stepped = true;
        }
        if (status == CM_OK) {
            status = launch(replica, index, error);
            stepped = stepped || cm_wave_in_flight(wave);
        }
        if (status == CM_OK && replica->waves_count == 1) {
            status = collect(replica, index, error); /* there is nothing to do meanwhile */
        }
    }
    return status == CM_END && stepped ? CM_OK : status;
}

void cm_replica_counters(struct cm_replica *replica, struct cm_engine_counters *counters)
{
    pthread_mutex_lock(&replica->lock);
    *counters = replica->counters;
    cm_scheduler_counters(replica->scheduler, counters);
    pthread_mutex_unlock(&replica->lock);
}

void cm_replica_measure_limits(struct cm_replica *replica, uint32_t threads, bool bandwidth,
                               struct cm_engine_limits *limits)
{
    struct cm_machine_limits measured;
    struct cm_backend *backend = replica->leader->backend;
    struct cm_backend *whole = NULL;
    struct cm_error error;
    const struct cm_backend_options whole_options = {
        .precision = cm_backend_precision(backend),
        .threads = threads,
        .rows_max = 1,
    };
    if (replica->info.in_host_memory && threads > replica->info.threads &&
        cm_backend_open(&whole_options, &whole, &error) == CM_OK) {
        backend = whole;
    }
    cm_backend_measure_limits(backend, bandwidth, &measured);
    cm_backend_close(whole);
    *limits = cm_engine_limits_of(&measured);
}

enum cm_status cm_replica_logits(struct cm_replica *replica, const int32_t *tokens,
                                 uint32_t tokens_count, uint32_t chunk_tokens,
                                 uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    const struct cm_logits_parts parts = {
        .ranks = replica->ranks,
        .pages = replica->pages,
        .n_vocab = replica->config->n_vocab,
        .context_tokens = replica->info.context_tokens,
    };
    return cm_sequence_logits(&parts, tokens, tokens_count, chunk_tokens, shared_tokens, logits,
                              error);
}
