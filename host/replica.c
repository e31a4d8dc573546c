#include "host/replica.h"

#include "base/clock.h"
#include "base/memory.h"
#include "host/forward.h"
#include "host/sampler.h"
#include "host/scheduler.h"
#include "loaders/model_file.h"

#include <pthread.h>
#include <stdio.h>

enum {
    DEFAULT_BATCH = 64,
    BATCH_MAX = 8192,
    DEFAULT_SEQUENCE_TOKENS = 1024, /* KV planned per sequence in flight when no limit is given */
};

/* Part of the memory that KV pages may take when no limit is given: of the machine's, which has
 * other uses, and of what is free on a CUDA device, whose activations are still to come. */
static const double default_memory_share[] = { [CM_DEVICE_CPU] = 0.4, [CM_DEVICE_CUDA] = 0.8 };

struct cm_replica {
    const struct cm_model_config *config;
    const struct cm_tokenizer *tokenizer;
    struct cm_backend *backend;
    struct cm_weights *weights;
    struct cm_kv_pool *pool;
    struct cm_kv_pages *pages;
    struct cm_step_plan *plan;
    struct cm_forward *forward;
    struct cm_scheduler *scheduler;
    struct cm_engine_info info;
    pthread_mutex_t lock; /* guards the scheduler; not held while the device computes */

    struct cm_sampler *sampler;
    struct cm_engine_counters counters;
};

/* --- Opening --- */

/* What keeps the accuracy that the file has: int8 with a scale per group holds block-quantised
 * weights exactly or nearly so; plain ones need bf16. */
static enum cm_precision precision_of_file(const struct cm_model_file *file)
{
    uint64_t quantised_bytes = 0;
    uint64_t plain_bytes = 0;
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        const struct cm_tensor *tensor = cm_model_file_tensor(file, i);
        bool quantised = cm_dtype_info(tensor->dtype)->block_elements > 1;
        *(quantised ? &quantised_bytes : &plain_bytes) += tensor->bytes;
    }
    return quantised_bytes > plain_bytes ? CM_PRECISION_INT8 : CM_PRECISION_BF16;
}

static enum cm_precision choose_precision(enum cm_engine_precision precision, enum cm_device device,
                                          const struct cm_model_file *file)
{
    switch (precision) {
    case CM_ENGINE_EXACT:
        return CM_PRECISION_EXACT;
    case CM_ENGINE_BF16:
        return CM_PRECISION_BF16;
    case CM_ENGINE_INT8:
        return CM_PRECISION_INT8;
    case CM_ENGINE_AUTO:
        break;
    }
    return device == CM_DEVICE_CUDA ? CM_PRECISION_BF16 : precision_of_file(file);
}

/* How many pages the pool gets: what the batch needs, within the memory allowed, and never less
 * than one request of the whole context needs where the caller named that context. */
static enum cm_status plan_pages(const struct cm_engine_options *options,
                                 struct cm_backend *backend, enum cm_device device,
                                 uint64_t page_bytes, struct cm_engine_info *info,
                                 struct cm_error *error)
{
    uint64_t memory_bytes =
        options->memory_bytes > 0
            ? options->memory_bytes
            : (uint64_t)(default_memory_share[device] * (double)cm_backend_memory_bytes(backend));
    uint64_t sequence_tokens = options->context_tokens > 0 ? info->context_tokens
                               : info->context_tokens < DEFAULT_SEQUENCE_TOKENS
                                   ? info->context_tokens
                                   : DEFAULT_SEQUENCE_TOKENS;
    uint64_t sequence_pages = (sequence_tokens + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    uint64_t wanted =
        sequence_pages * ((uint64_t)info->batch + 1); /* one more: prompts kept for later */
    uint64_t allowed = memory_bytes / page_bytes;
    uint64_t pages_count = wanted < allowed ? wanted : allowed;
    if (pages_count < sequence_pages) {
        return cm_error_set(
            error, CM_OUT_OF_MEMORY,
            "%.1f MiB for the KV cache hold %llu tokens; one text of %llu tokens needs %.1f MiB. "
            "Raise --memory or shorten prompts and --max-tokens",
            (double)memory_bytes / 0x1p20, (unsigned long long)(allowed * CM_PAGE_TOKENS),
            (unsigned long long)sequence_tokens, (double)(sequence_pages * page_bytes) / 0x1p20);
    }
    if (pages_count > INT32_MAX) {
        pages_count = INT32_MAX;
    }
    info->kv_pages_count = (uint32_t)pages_count;
    info->kv_bytes = pages_count * page_bytes;
    info->kv_token_bytes = page_bytes / CM_PAGE_TOKENS;
    return CM_OK;
}

static void describe_model(struct cm_replica *replica)
{
    const struct cm_model_config *config = replica->config;
    const struct cm_weights *weights = replica->weights;
    struct cm_engine_info *info = &replica->info;
    snprintf(info->name, sizeof info->name, "%s", config->name);
    snprintf(info->family, sizeof info->family, "%s", weights->spec->family);
    snprintf(info->variant, sizeof info->variant, "%s", cm_backend_variant(replica->backend));
    info->n_vocab = config->n_vocab;
    info->n_layers = config->n_layers;
    info->n_positions = config->n_positions;
    info->threads = cm_backend_threads(replica->backend);
    info->parameters_count = weights->parameters_count;
    info->weights_bytes = weights->packed_bytes;
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
    info->head_multiply_adds_per_token =
        (double)cm_matrix_n_in(weights->head) * cm_matrix_n_out(weights->head);
}

static enum cm_status open_model(struct cm_replica *replica, struct cm_model_file *file,
                                 struct cm_device_choice device,
                                 const struct cm_engine_options *options, uint32_t rows_max,
                                 struct cm_error *error)
{
    const struct cm_backend_options backend_options = {
        .precision = choose_precision(options->precision, device.kind, file),
        .threads = options->threads,
        .rows_max = rows_max,
        .device = device.kind,
        .device_index = device.index,
    };
    enum cm_status status = cm_backend_open(&backend_options, &replica->backend, error);
    if (status != CM_OK) {
        return status;
    }
    status = cm_weights_open(replica->backend, file, 1, 0, &replica->weights, error);
    return status == CM_OK ? CM_OK : cm_error_prefix(error, "%s", options->model_path);
}

static enum cm_status open_memory(struct cm_replica *replica, enum cm_device device,
                                  const struct cm_engine_options *options, uint32_t rows_max,
                                  struct cm_error *error)
{
    const struct cm_model_config *config = replica->config;
    struct cm_engine_info *info = &replica->info;
    const struct cm_kv_shape shape = { config->n_layers, config->n_kv_heads, config->head_dim };
    info->context_tokens = config->n_positions;
    if (options->context_tokens > 0 && options->context_tokens < config->n_positions) {
        info->context_tokens = options->context_tokens;
    }
    enum cm_status status = plan_pages(options, replica->backend, device,
                                       cm_kv_page_bytes(replica->backend, &shape), info, error);
    if (status == CM_OK) {
        status = cm_kv_pool_create(replica->backend, &shape, info->kv_pages_count, &replica->pool,
                                   error);
    }
    if (status != CM_OK) {
        return status;
    }
    status = cm_kv_pages_open(info->kv_pages_count, &replica->pages);
    if (status == CM_OK) {
        status = cm_step_plan_open(rows_max, info->context_tokens, &replica->plan);
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory for the tables of a step");
    }
    return cm_forward_open(replica->backend, replica->weights, config, replica->pool, replica->plan,
                           &replica->forward, error);
}

static enum cm_status open_scheduler(struct cm_replica *replica, uint32_t rows_max,
                                     struct cm_error *error)
{
    const struct cm_scheduler_options options = {
        .batch = replica->info.batch,
        .rows_max = rows_max,
        .n_vocab = replica->config->n_vocab,
        .context_tokens = replica->info.context_tokens,
        .tokenizer = replica->tokenizer,
    };
    if (cm_sampler_open(replica->backend, replica->config->n_vocab, replica->info.batch,
                        &replica->sampler) != CM_OK ||
        cm_scheduler_open(&options, replica->pages, &replica->scheduler) != CM_OK) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a batch of %u",
                            options.batch);
    }
    return CM_OK;
}

enum cm_status cm_replica_open(struct cm_model_file *file, const struct cm_tokenizer *tokenizer,
                               struct cm_device_choice device,
                               const struct cm_engine_options *options, struct cm_replica **replica,
                               struct cm_error *error)
{
    if (options->batch > BATCH_MAX) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "a batch of %u is over the maximum of %d",
                            options->batch, BATCH_MAX);
    }
    struct cm_replica *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    pthread_mutex_init(&opened->lock, NULL);
    opened->config = cm_model_file_config(file);
    opened->tokenizer = tokenizer;
    opened->info.batch = options->batch > 0 ? options->batch : DEFAULT_BATCH;
    uint32_t rows_max = opened->info.batch + CM_PREFILL_ROWS;
    enum cm_status status = open_model(opened, file, device, options, rows_max, error);
    if (status == CM_OK) {
        status = open_memory(opened, device.kind, options, rows_max, error);
    }
    if (status == CM_OK) {
        status = open_scheduler(opened, rows_max, error);
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
    cm_scheduler_close(replica->scheduler);
    cm_sampler_close(replica->sampler);
    cm_forward_close(replica->forward);
    cm_step_plan_close(replica->plan);
    cm_kv_pages_close(replica->pages);
    cm_kv_pool_close(replica->pool);
    cm_weights_close(replica->weights);
    cm_backend_close(replica->backend);
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
    uint64_t tokens = (uint64_t)request->prompt_tokens + request->output_tokens_max;
    if (tokens <= replica->info.context_tokens) {
        uint32_t candidates_count = 0;
        if (request->sampling.beams > 1 && request->sampling.beams <= CM_BEAMS_MAX) {
            candidates_count = cm_beam_search_candidates(
                request->sampling.beams, cm_tokenizer_stops_count(replica->tokenizer));
        }
        if (cm_sampler_reserve(replica->sampler, (uint32_t)tokens, candidates_count) != CM_OK) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the sampler");
        }
    }
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

static void count_step(struct cm_replica *replica, const struct cm_step_work *work, double seconds)
{
    struct cm_engine_counters *counters = &replica->counters;
    double rows = (double)work->prefill_rows + work->decode_rows;
    counters->steps++;
    counters->prefill_tokens += work->prefill_rows;
    counters->decode_tokens += work->decode_rows;
    counters->prefill_s += seconds * work->prefill_rows / rows;
    counters->decode_s += seconds * work->decode_rows / rows;
    counters->computed_tokens = cm_matrix_rows_count(replica->weights->layers[0].qkv);
}

enum cm_status cm_replica_step(struct cm_replica *replica, struct cm_error *error)
{
    double start_s = cm_clock_s();
    struct cm_step_work work;
    pthread_mutex_lock(&replica->lock);
    enum cm_status status = cm_scheduler_plan(replica->scheduler, &work);
    pthread_mutex_unlock(&replica->lock);
    if (status != CM_OK) {
        return status;
    }
    for (uint32_t i = 0; i < work.copies_count; i++) {
        const struct cm_page_copy *copy = &work.copies[i];
        cm_kv_copy_tokens(replica->backend, replica->pool, (uint32_t)copy->from, (uint32_t)copy->to,
                          copy->tokens);
    }
    cm_step_plan_build(replica->plan, work.rows, work.sequences_count);
    cm_forward_step(replica->forward, replica->plan);
    const struct cm_step_samples *samples;
    status = cm_sampler_run(replica->sampler, replica->forward, &work, &samples);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory for the constraints of a step");
    }
    status = cm_backend_status(replica->backend, error);
    if (status != CM_OK) {
        return status;
    }
    pthread_mutex_lock(&replica->lock);
    cm_scheduler_complete(replica->scheduler, &work, samples);
    count_step(replica, &work, cm_clock_s() - start_s);
    pthread_mutex_unlock(&replica->lock);
    return CM_OK;
}

void cm_replica_counters(struct cm_replica *replica, struct cm_engine_counters *counters)
{
    pthread_mutex_lock(&replica->lock);
    *counters = replica->counters;
    cm_scheduler_counters(replica->scheduler, counters);
    pthread_mutex_unlock(&replica->lock);
}

void cm_replica_measure_limits(struct cm_replica *replica, struct cm_engine_limits *limits)
{
    struct cm_machine_limits measured;
    cm_backend_measure_limits(replica->backend, &measured);
    *limits = (struct cm_engine_limits){
        .int8_gops = measured.int8_gops,
        .bf16_gflops = measured.bf16_gflops,
        .fp32_gflops = measured.fp32_gflops,
        .bandwidth_gbs = measured.bandwidth_gbs,
    };
}

/* --- Logits for tests --- */

/* Runs tokens [begin, end) of a sequence in chunks and downloads their logits. */
static void run_chunks(struct cm_replica *replica, const int32_t *tokens, uint32_t begin,
                       uint32_t end, uint32_t chunk_tokens, const int32_t *pages, float *logits)
{
    uint32_t n_vocab = replica->config->n_vocab;
    for (uint32_t position = begin; position < end;) {
        uint32_t rows = end - position < chunk_tokens ? end - position : chunk_tokens;
        struct cm_step_sequence sequence = {
            .tokens = tokens + position,
            .first_position = position,
            .rows_count = rows,
            .pages = pages,
        };
        cm_step_plan_build(replica->plan, &sequence, 1);
        cm_forward_step(replica->forward, replica->plan);
        for (uint32_t row = 0; row < rows;) {
            int32_t picked[CM_LOGITS_ROWS_MAX];
            uint32_t count = 0;
            while (count < CM_LOGITS_ROWS_MAX && row < rows) {
                picked[count++] = (int32_t)row++;
            }
            const float *from = cm_forward_logits(replica->forward, picked, count);
            float *to = logits + (size_t)(position + row - count) * n_vocab;
            cm_backend_download(replica->backend, to, from, (size_t)count * n_vocab * sizeof *to);
        }
        position += rows;
    }
}

/* Pages for a second sequence that shares the first `shared_tokens` tokens with the first: full
 * pages are the same, the part-filled one is copied. */
static void fork_pages(struct cm_replica *replica, const int32_t *from, uint32_t shared_tokens,
                       uint32_t pages_count, int32_t *to)
{
    uint32_t full = shared_tokens / CM_PAGE_TOKENS;
    for (uint32_t i = 0; i < pages_count; i++) {
        to[i] = i < full ? from[i] : cm_kv_pages_take(replica->pages);
    }
    if (shared_tokens % CM_PAGE_TOKENS > 0) {
        cm_kv_copy_tokens(replica->backend, replica->pool, (uint32_t)from[full], (uint32_t)to[full],
                          shared_tokens % CM_PAGE_TOKENS);
    }
}

enum cm_status cm_replica_logits(struct cm_replica *replica, const int32_t *tokens,
                                 uint32_t tokens_count, uint32_t chunk_tokens,
                                 uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    uint32_t pages_count = cm_prefix_tree_path_length(tokens_count);
    uint32_t rows_max = replica->plan->rows_max;
    if (tokens_count == 0 || tokens_count > replica->info.context_tokens ||
        shared_tokens > tokens_count ||
        2 * (uint64_t)pages_count > cm_kv_pages_free_count(replica->pages)) {
        return cm_error_set(error, CM_LIMIT, "%u tokens do not fit into a context of %u",
                            tokens_count, replica->info.context_tokens);
    }
    int32_t *first = cm_alloc(pages_count, sizeof *first);
    int32_t *second = cm_alloc(pages_count, sizeof *second);
    if (first == NULL || second == NULL) {
        cm_free(first);
        cm_free(second);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    chunk_tokens = chunk_tokens == 0 || chunk_tokens > rows_max ? rows_max : chunk_tokens;
    for (uint32_t i = 0; i < pages_count; i++) {
        first[i] = cm_kv_pages_take(replica->pages);
    }
    run_chunks(replica, tokens, 0, shared_tokens, chunk_tokens, first, logits);
    fork_pages(replica, first, shared_tokens, pages_count, second);
    run_chunks(replica, tokens, shared_tokens, tokens_count, chunk_tokens, second, logits);
    for (uint32_t i = 0; i < pages_count; i++) {
        if (second[i] != first[i]) {
            cm_kv_pages_give_back(replica->pages, second[i]);
        }
        cm_kv_pages_give_back(replica->pages, first[i]);
    }
    cm_free(first);
    cm_free(second);
    return cm_backend_status(replica->backend, error);
}
