#include "host/sequence_logits.h"

#include "base/memory.h"
#include "host/prefix_tree.h"

/* Runs tokens [begin, end) of a sequence in chunks and downloads their logits, which waits for each
 * chunk: the tables are free again. */
static void run_chunks(const struct cm_logits_parts *parts, const int32_t *tokens, uint32_t begin,
                       uint32_t end, uint32_t chunk_tokens, const int32_t *pages, float *logits)
{
    uint32_t n_vocab = parts->n_vocab;
    for (uint32_t position = begin; position < end;) {
        uint32_t rows = end - position < chunk_tokens ? end - position : chunk_tokens;
        struct cm_step_sequence sequence = {
            .tokens = tokens + position,
            .first_position = position,
            .rows_count = rows,
            .pages = pages,
        };
        cm_step_plan_build(parts->plan, &sequence, 1);
        while (parts->plan->n_logits < rows) {
            parts->plan->host.logits_rows[parts->plan->n_logits] = (int32_t)parts->plan->n_logits;
            parts->plan->n_logits++;
        }
        cm_step_plan_send(parts->plan);
        cm_forward_step(parts->forward, parts->plan);
        for (uint32_t row = 0; row < rows; row += CM_LOGITS_ROWS_MAX) {
            uint32_t count = rows - row < CM_LOGITS_ROWS_MAX ? rows - row : CM_LOGITS_ROWS_MAX;
            const float *from = cm_forward_logits(parts->forward, parts->plan, row, count);
            float *to = logits + (size_t)(position + row) * n_vocab;
            cm_backend_download(parts->backend, to, from, (size_t)count * n_vocab * sizeof *to);
        }
        position += rows;
    }
}

/* Pages for a second sequence that shares the first `shared_tokens` tokens with the first: full
 * pages are the same, the part-filled one is copied. */
static void fork_pages(const struct cm_logits_parts *parts, const int32_t *from,
                       uint32_t shared_tokens, uint32_t pages_count, int32_t *to)
{
    uint32_t full = shared_tokens / CM_PAGE_TOKENS;
    for (uint32_t i = 0; i < pages_count; i++) {
        to[i] = i < full ? from[i] : cm_kv_pages_take(parts->pages);
    }
    if (shared_tokens % CM_PAGE_TOKENS > 0) {
        cm_kv_copy_tokens(parts->backend, parts->pool, (uint32_t)from[full], (uint32_t)to[full],
                          shared_tokens % CM_PAGE_TOKENS);
    }
}

enum cm_status cm_sequence_logits(const struct cm_logits_parts *parts, const int32_t *tokens,
                                  uint32_t tokens_count, uint32_t chunk_tokens,
                                  uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    uint32_t pages_count = cm_prefix_tree_path_length(tokens_count);
    uint32_t rows_max = parts->plan->rows_max;
    if (tokens_count == 0 || tokens_count > parts->context_tokens || shared_tokens > tokens_count ||
        2 * (uint64_t)pages_count > cm_kv_pages_free_count(parts->pages)) {
        return cm_error_set(error, CM_LIMIT, "%u tokens do not fit into a context of %u",
                            tokens_count, parts->context_tokens);
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
        first[i] = cm_kv_pages_take(parts->pages);
    }
    run_chunks(parts, tokens, 0, shared_tokens, chunk_tokens, first, logits);
    fork_pages(parts, first, shared_tokens, pages_count, second);
    run_chunks(parts, tokens, shared_tokens, tokens_count, chunk_tokens, second, logits);
    for (uint32_t i = 0; i < pages_count; i++) {
        if (second[i] != first[i]) {
            cm_kv_pages_give_back(parts->pages, second[i]);
        }
        cm_kv_pages_give_back(parts->pages, first[i]);
    }
    cm_free(first);
    cm_free(second);
    return cm_backend_status(parts->backend, error);
}
