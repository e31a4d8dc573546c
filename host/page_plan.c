#include "host/page_plan.h"

#include "host/device.h"

enum { DEFAULT_TEXT_TOKENS = 1024 }; /* planned per text in flight when no limit is given */

/* Part of the memory that KV pages may take when no limit is given: of the machine's, which has
 * other uses, and of what is free on a CUDA device, whose activations are still to come. */
static const double default_memory_share[] = { [CM_DEVICE_CPU] = 0.4, [CM_DEVICE_CUDA] = 0.8 };

static uint64_t pages_of(uint64_t tokens)
{
    return (tokens + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
}

/* What is planned for a text in flight. */
static uint64_t text_tokens(const struct cm_engine_options *options, uint32_t n_positions)
{
    uint64_t tokens = options->context_tokens > 0 ? options->context_tokens : DEFAULT_TEXT_TOKENS;
    return tokens < n_positions ? tokens : n_positions;
}

static uint64_t pages_memory(const struct cm_engine_options *options, enum cm_device device,
                             uint64_t memory_bytes)
{
    return options->memory_bytes > 0
               ? options->memory_bytes
               : (uint64_t)(default_memory_share[device] * (double)memory_bytes);
}

enum cm_status cm_page_plan_texts_fit(const struct cm_model_file *file,
                                      const struct cm_engine_options *options, uint64_t *texts_fit,
                                      struct cm_error *error)
{
    const struct cm_model_config *config = cm_model_file_config(file);
    const struct cm_kv_shape shape = { config->n_layers, config->n_kv_heads, config->head_dim };
    const struct cm_backend_options smallest = {
        .precision = cm_device_precision_for(CM_DEVICE_CPU, options->precision, file),
        .kv_int8 = options->kv == CM_ENGINE_KV_INT8,
        .threads = 1,
        .rows_max = 1,
    };
    struct cm_backend *backend = NULL;
    enum cm_status status = cm_backend_open(&smallest, &backend, error);
    if (status != CM_OK) {
        return status;
    }
    uint64_t bytes = pages_memory(options, CM_DEVICE_CPU, cm_backend_memory_bytes(backend));
    uint64_t text_bytes =
        cm_kv_page_bytes(backend, &shape) * pages_of(text_tokens(options, config->n_positions));
    cm_backend_close(backend);
    *texts_fit = text_bytes > 0 ? bytes / text_bytes : 0; /* such sizes are refused later */
    return CM_OK;
}

/* How many pages the pool gets: what the batch needs, within the memory allowed, and never less
 * than one request of the whole context needs where the caller named that context. */
enum cm_status cm_page_plan_describe(const struct cm_page_plan *plan, struct cm_engine_info *info,
                                     struct cm_error *error)
{
    uint64_t memory_bytes = pages_memory(plan->options, plan->device, plan->memory_bytes);
    uint64_t page_bytes = plan->page_bytes;
    uint64_t sequence_tokens = text_tokens(plan->options, info->context_tokens);
    uint64_t sequence_pages = pages_of(sequence_tokens);
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
    info->kv_page_tokens = CM_PAGE_TOKENS;
    return CM_OK;
}
