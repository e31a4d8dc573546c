#include "host/step_plan.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdlib.h>

enum cm_status cm_step_plan_open(uint32_t rows_max, uint32_t context_tokens,
                                 struct cm_step_plan **plan)
{
    struct cm_step_plan *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    uint32_t blocks_max = (context_tokens + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    size_t visits_max;
    opened->rows_max = rows_max;
    opened->chunks_max = rows_max / CM_ATTENTION_CHUNK_ROWS + 1;
    if (cm_size_mul(rows_max, blocks_max, &visits_max) || visits_max > INT32_MAX) {
        cm_free(opened);
        return CM_LIMIT;
    }
    opened->visits_max = (uint32_t)visits_max;
    opened->tokens = cm_alloc(rows_max, sizeof *opened->tokens);
    opened->positions = cm_alloc(rows_max, sizeof *opened->positions);
    opened->row_pages = cm_alloc(rows_max, sizeof *opened->row_pages);
    opened->visits = cm_alloc(visits_max, sizeof *opened->visits);
    opened->chunks = cm_alloc(opened->chunks_max, sizeof *opened->chunks);
    opened->order = cm_alloc(rows_max, sizeof *opened->order);
    if (opened->tokens == NULL || opened->positions == NULL || opened->row_pages == NULL ||
        opened->visits == NULL || opened->chunks == NULL || opened->order == NULL) {
        cm_step_plan_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *plan = opened;
    return CM_OK;
}

void cm_step_plan_close(struct cm_step_plan *plan)
{
    if (plan != NULL) {
        cm_free(plan->tokens);
        cm_free(plan->positions);
        cm_free(plan->row_pages);
        cm_free(plan->visits);
        cm_free(plan->chunks);
        cm_free(plan->order);
        cm_free(plan);
    }
}

static uint32_t last_position(const struct cm_step_sequence *sequence)
{
    return sequence->first_position + sequence->rows_count - 1;
}

static uint32_t blocks_count(const struct cm_step_sequence *sequence)
{
    return last_position(sequence) / CM_PAGE_TOKENS + 1;
}

/* By page table, then by length, then by index: a total order. */
static int compare_sequences(const void *left, const void *right, void *context)
{
    const struct cm_step_sequence *sequences = context;
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;
    uint32_t a_blocks = blocks_count(&sequences[a]);
    uint32_t b_blocks = blocks_count(&sequences[b]);
    for (uint32_t i = 0; i < a_blocks && i < b_blocks; i++) {
        int32_t a_page = sequences[a].pages[i];
        int32_t b_page = sequences[b].pages[i];
        if (a_page != b_page) {
            return a_page < b_page ? -1 : 1;
        }
    }
    if (a_blocks != b_blocks) {
        return a_blocks < b_blocks ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static void write_rows(struct cm_step_plan *plan, struct cm_step_sequence *sequence)
{
    CM_ASSERT(plan->n_rows + sequence->rows_count <= plan->rows_max);
    sequence->row_begin = plan->n_rows;
    for (uint32_t i = 0; i < sequence->rows_count; i++) {
        uint32_t position = sequence->first_position + i;
        uint32_t row = plan->n_rows++;
        plan->tokens[row] = sequence->tokens[i];
        plan->positions[row] = (int32_t)position;
        plan->row_pages[row] = sequence->pages[position / CM_PAGE_TOKENS];
    }
}

static int32_t max_int(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t min_int(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The part of a chunk that belongs to sequences [first, end) of the order. */
struct chunk_span {
    int32_t row_begin;
    int32_t row_end;
    uint32_t order_begin;
    uint32_t order_end;
};

/* One block of positions for all rows of a chunk: neighbours with the same page make one visit. */
static void add_visits_of_block(struct cm_step_plan *plan, const struct cm_step_sequence *sequences,
                                const struct chunk_span *span, uint32_t block)
{
    int32_t first_position = (int32_t)(block * CM_PAGE_TOKENS);
    struct cm_visit *open = NULL;
    for (uint32_t i = span->order_begin; i < span->order_end; i++) {
        const struct cm_step_sequence *sequence = &sequences[plan->order[i]];
        if (block >= blocks_count(sequence)) {
            continue;
        }
        int32_t begin = (int32_t)sequence->row_begin;
        int32_t end = begin + (int32_t)sequence->rows_count;
        int32_t reaching = begin + max_int(0, first_position - (int32_t)sequence->first_position);
        begin = max_int(reaching, span->row_begin);
        end = min_int(end, span->row_end);
        if (begin >= end) {
            continue;
        }
        if (open != NULL && open->page == sequence->pages[block] && open->row_end == begin) {
            open->row_end = end;
            continue;
        }
        CM_ASSERT(plan->n_visits < plan->visits_max);
        open = &plan->visits[plan->n_visits++];
        *open = (struct cm_visit){ sequence->pages[block], first_position, begin, end };
    }
}

static void add_chunk(struct cm_step_plan *plan, const struct cm_step_sequence *sequences,
                      const struct chunk_span *span)
{
    CM_ASSERT(plan->n_chunks < plan->chunks_max);
    struct cm_attention_chunk *chunk = &plan->chunks[plan->n_chunks++];
    chunk->row_begin = span->row_begin;
    chunk->row_end = span->row_end;
    chunk->visit_begin = (int32_t)plan->n_visits;
    uint32_t blocks_max = 0;
    for (uint32_t i = span->order_begin; i < span->order_end; i++) {
        uint32_t blocks = blocks_count(&sequences[plan->order[i]]);
        blocks_max = blocks > blocks_max ? blocks : blocks_max;
    }
    for (uint32_t block = 0; block < blocks_max; block++) {
        add_visits_of_block(plan, sequences, span, block);
    }
    chunk->visit_end = (int32_t)plan->n_visits;
}

void cm_step_plan_build(struct cm_step_plan *plan, struct cm_step_sequence *sequences,
                        uint32_t sequences_count)
{
    CM_ASSERT(sequences_count <= plan->rows_max);
    plan->n_rows = 0;
    plan->n_visits = 0;
    plan->n_chunks = 0;
    for (uint32_t i = 0; i < sequences_count; i++) {
        plan->order[i] = i;
    }
    qsort_r(plan->order, sequences_count, sizeof *plan->order, compare_sequences, sequences);
    for (uint32_t i = 0; i < sequences_count; i++) {
        write_rows(plan, &sequences[plan->order[i]]);
    }
    struct chunk_span span = { 0 };
    while ((uint32_t)span.row_end < plan->n_rows) {
        span.row_begin = span.row_end;
        span.row_end = min_int(span.row_begin + CM_ATTENTION_CHUNK_ROWS, (int32_t)plan->n_rows);
        /* A sequence that the last chunk cut goes on in this one. */
        span.order_begin = span.order_end;
        if (span.order_begin > 0) {
            const struct cm_step_sequence *last = &sequences[plan->order[span.order_begin - 1]];
            span.order_begin -= last->row_begin + last->rows_count > (uint32_t)span.row_begin;
        }
        while (span.order_end < sequences_count &&
               (int32_t)sequences[plan->order[span.order_end]].row_begin < span.row_end) {
            span.order_end++;
        }
        add_chunk(plan, sequences, &span);
    }
}
