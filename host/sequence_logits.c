#include "host/sequence_logits.h"

#include "base/memory.h"
#include "host/prefix_tree.h"

/* A text and one that forks from it, which the ranks run. */
struct text {
    const int32_t *tokens;
    uint32_t tokens_count;
    uint32_t shared_tokens;
    uint32_t chunk_tokens; /* 0: as many as a step holds */
    const int32_t *pages;  /* of the shared tokens */
    const int32_t *forked_pages;
    uint32_t n_vocab;
    float *logits; /* written by the first rank */
};

/* Runs tokens [begin, end) in chunks and downloads their logits, which waits for each chunk: the
 * tables are free again. */
static void run_chunks(struct cm_rank *rank, const struct text *text, uint32_t begin, uint32_t end,
                       const int32_t *pages)
{
    struct cm_step_plan *plan = cm_wave_plan(rank->waves[0]);
    uint32_t chunk_tokens = text->chunk_tokens;
    chunk_tokens =
        chunk_tokens == 0 || chunk_tokens > plan->rows_max ? plan->rows_max : chunk_tokens;
    for (uint32_t position = begin; position < end;) {
        uint32_t rows = end - position < chunk_tokens ? end - position : chunk_tokens;
        struct cm_step_sequence sequence = {
            .tokens = text->tokens + position,
            .first_position = position,
            .rows_count = rows,
            .pages = pages,
        };
        cm_step_plan_build(plan, &sequence, 1);
        while (plan->n_logits < rows) {
            plan->host.logits_rows[plan->n_logits] = (int32_t)plan->n_logits;
            plan->n_logits++;
        }
        cm_step_plan_send(plan);
        cm_forward_step(rank->forward, plan);
        for (uint32_t row = 0; row < rows; row += CM_LOGITS_ROWS_MAX) {
            uint32_t count = rows - row < CM_LOGITS_ROWS_MAX ? rows - row : CM_LOGITS_ROWS_MAX;
            const float *from = cm_forward_logits(rank->forward, plan, row, count);
            float unused; /* of the other ranks, which only wait */
            float *to = text->logits + (size_t)(position + row) * text->n_vocab;
            size_t values = rank->index == 0 ? (size_t)count * text->n_vocab : 1;
            cm_backend_download(rank->backend, rank->index == 0 ? to : &unused, from,
                                values * sizeof *to);
        }
        position += rows;
    }
}

static enum cm_status run_text(struct cm_rank *rank, void *context, struct cm_error *error)
{
    const struct text *text = context;
    uint32_t shared_tokens = text->shared_tokens;
    uint32_t full = shared_tokens / CM_PAGE_TOKENS;
    run_chunks(rank, text, 0, shared_tokens, text->pages);
    if (shared_tokens % CM_PAGE_TOKENS > 0) {
        cm_kv_copy_tokens(rank->backend, rank->pool, (uint32_t)text->pages[full],
                          (uint32_t)text->forked_pages[full], shared_tokens % CM_PAGE_TOKENS);
    }
    run_chunks(rank, text, shared_tokens, text->tokens_count, text->forked_pages);
    return cm_backend_status(rank->backend, error);
}

enum cm_status cm_sequence_logits(const struct cm_logits_parts *parts, const int32_t *tokens,
                                  uint32_t tokens_count, uint32_t chunk_tokens,
                                  uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    uint32_t pages_count = cm_prefix_tree_path_length(tokens_count);
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
    /* Full pages of the shared tokens are the same, the part-filled one is copied. */
    for (uint32_t i = 0; i < pages_count; i++) {
        first[i] = cm_kv_pages_take(parts->pages);
        second[i] = i < shared_tokens / CM_PAGE_TOKENS ? first[i] : cm_kv_pages_take(parts->pages);
    }
    struct text text = { tokens, tokens_count, shared_tokens,  chunk_tokens,
                         first,  second,       parts->n_vocab, logits };
    enum cm_status status = cm_ranks_run(parts->ranks, run_text, &text, error);
    for (uint32_t i = 0; i < pages_count; i++) {
        if (second[i] != first[i]) {
            cm_kv_pages_give_back(parts->pages, second[i]);
        }
        cm_kv_pages_give_back(parts->pages, first[i]);
    }
    cm_free(first);
    cm_free(second);
    return status;
}
