#include "host/step_plan.h"

#include "base/checked.h"
#include "base/memory.h"

#include <stdlib.h>

/* --- Opening --- */

/* The next table of a block that begins at `base`; with NULL its offset. */
static void *take(unsigned char *base, size_t *used, size_t count, size_t element_bytes)
{
    size_t offset = *used;
    size_t bytes = count * element_bytes;
    *used += (bytes + CM_CACHE_LINE_BYTES - 1) & ~(size_t)(CM_CACHE_LINE_BYTES - 1);
    return base == NULL ? NULL : base + offset;
}

/* Lays the tables out in a block; returns its size. */
static size_t lay_out(const struct cm_step_plan *plan, unsigned char *base,
                      struct cm_step_tables *tables)
{
    size_t used = 0;
    tables->tokens = take(base, &used, plan->rows_max, sizeof *tables->tokens);
    tables->positions = take(base, &used, plan->rows_max, sizeof *tables->positions);
    tables->row_pages = take(base, &used, plan->rows_max, sizeof *tables->row_pages);
    tables->logits_rows = take(base, &used, plan->rows_max, sizeof *tables->logits_rows);
    tables->chunks = take(base, &used, plan->chunks_max, sizeof *tables->chunks);
    tables->visits = take(base, &used, plan->visits_max, sizeof *tables->visits);
    return used;
}

enum cm_status cm_step_plan_open(struct cm_backend *backend, uint32_t rows_max,
                                 uint32_t sequences_max, uint32_t context_tokens,
                                 struct cm_step_plan **plan)
{
    struct cm_step_plan *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    uint32_t blocks_max = (context_tokens + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    size_t visits_max;
    opened->backend = backend;
    opened->rows_max = rows_max;
    opened->chunks_max = rows_max / CM_ATTENTION_CHUNK_ROWS + 1;
    /* A sequence is cut by as many chunks as end inside it, and each part visits a block once. */
    if (cm_size_mul((size_t)sequences_max + opened->chunks_max, blocks_max, &visits_max) ||
        visits_max > INT32_MAX) {
        cm_free(opened);
        return CM_LIMIT;
    }
    opened->visits_max = (uint32_t)visits_max;
    size_t bytes = lay_out(opened, NULL, &opened->host);
    opened->host_block = cm_backend_host_alloc(backend, bytes);
    opened->device_block = cm_backend_alloc(backend, bytes);
    opened->order = cm_alloc(rows_max, sizeof *opened->order);
    if (opened->host_block == NULL || opened->device_block == NULL || opened->order == NULL) {
        cm_step_plan_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    lay_out(opened, opened->host_block, &opened->host);
    lay_out(opened, opened->device_block, &opened->device);
    *plan = opened;
    return CM_OK;
}

void cm_step_plan_close(struct cm_step_plan *plan)
{
    if (plan != NULL) {
        cm_backend_host_free(plan->backend, plan->host_block);
        cm_backend_free(plan->backend, plan->device_block);
        cm_free(plan->order);
        cm_free(plan);
    }
}

/* --- Building --- */

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
        plan->host.tokens[row] = sequence->tokens[i];
        plan->host.positions[row] = (int32_t)position;
        plan->host.row_pages[row] = sequence->pages[position / CM_PAGE_TOKENS];
    }
    uint32_t end = last_position(sequence) + 1;
    plan->positions_end = end > plan->positions_end ? end : plan->positions_end;
}

static int32_t max_int(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t min_int(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* Rows [begin, end) of the step. */
struct rows {
    int32_t begin;
    int32_t end;
};

/* Sequences [begin, end) of the order. */
struct group {
    uint32_t begin;
    uint32_t end;
};

/* The sequence's rows inside the chunk that have got to the block. */
static struct rows reaching_rows(const struct cm_step_sequence *sequence,
                                 const struct cm_attention_chunk *chunk, uint32_t block)
{
    int32_t late = (int32_t)(block * CM_PAGE_TOKENS) - (int32_t)sequence->first_position;
    int32_t begin = (int32_t)sequence->row_begin;
    return (struct rows){
        .begin = max_int(begin + max_int(0, late), chunk->row_begin),
        .end = min_int(begin + (int32_t)sequence->rows_count, chunk->row_end),
    };
}

/* The longest beginning of `group` whose rows in `block` stand together and have one page, without
 * the sequences before it that do not reach the block. */
static struct rows take_visit(const struct cm_step_plan *plan,
                              const struct cm_step_sequence *sequences,
                              const struct cm_attention_chunk *chunk, uint32_t block,
                              struct group *group)
{
    struct rows visit = { 0, 0 };
    const struct cm_step_sequence *first = NULL;
    uint32_t end = group->end;
    for (uint32_t i = group->begin; i < end; i++) {
        const struct cm_step_sequence *sequence = &sequences[plan->order[i]];
        struct rows rows = reaching_rows(sequence, chunk, block);
        if (block >= blocks_count(sequence) || rows.begin >= rows.end) {
            continue;
        }
        if (first == NULL) {
            first = sequence;
            visit = rows;
            group->begin = i;
        } else if (first->pages[block] == sequence->pages[block] && visit.end == rows.begin) {
            visit.end = rows.end;
        } else {
            group->end = i;
            break;
        }
    }
    return visit;
}

/* The visits of a group from `block` on: what all have in common, then each of its parts by itself,
 * so that the pages of the same rows follow one another. */
static void add_visits(struct cm_step_plan *plan, const struct cm_step_sequence *sequences,
                       const struct cm_attention_chunk *chunk, uint32_t block, struct group group)
{
    for (;;) {
        struct group part = group;
        struct rows rows = take_visit(plan, sequences, chunk, block, &part);
        if (rows.begin == rows.end) {
            return;
        }
        if (part.end < group.end) {
            add_visits(plan, sequences, chunk, block, part);
            group.begin = part.end;
            continue;
        }
        CM_ASSERT(plan->n_visits < plan->visits_max);
        plan->host.visits[plan->n_visits++] = (struct cm_visit){
            .page = sequences[plan->order[part.begin]].pages[block],
            .first_position = (int32_t)(block * CM_PAGE_TOKENS),
            .row_begin = rows.begin,
            .row_end = rows.end,
        };
        group = part;
        block++;
    }
}

void cm_step_plan_build(struct cm_step_plan *plan, struct cm_step_sequence *sequences,
                        uint32_t sequences_count)
{
    CM_ASSERT(sequences_count <= plan->rows_max);
    plan->n_rows = 0;
    plan->n_logits = 0;
    plan->n_visits = 0;
    plan->n_chunks = 0;
    plan->positions_end = 0;
    uint64_t visiting_rows = 0;
    for (uint32_t i = 0; i < sequences_count; i++) {
        plan->order[i] = i;
    }
    qsort_r(plan->order, sequences_count, sizeof *plan->order, compare_sequences, sequences);
    for (uint32_t i = 0; i < sequences_count; i++) {
        write_rows(plan, &sequences[plan->order[i]]);
    }
    struct group group = { 0, 0 };
    for (int32_t row = 0; row < (int32_t)plan->n_rows; row += CM_ATTENTION_CHUNK_ROWS) {
        CM_ASSERT(plan->n_chunks < plan->chunks_max);
        struct cm_attention_chunk *chunk = &plan->host.chunks[plan->n_chunks++];
        chunk->row_begin = row;
        chunk->row_end = min_int(row + CM_ATTENTION_CHUNK_ROWS, (int32_t)plan->n_rows);
        chunk->visit_begin = (int32_t)plan->n_visits;
        /* A sequence that the last chunk cut goes on in this one. */
        group.begin = group.end;
        if (group.begin > 0) {
            const struct cm_step_sequence *last = &sequences[plan->order[group.begin - 1]];
            group.begin -= last->row_begin + last->rows_count > (uint32_t)row;
        }
        while (group.end < sequences_count &&
               (int32_t)sequences[plan->order[group.end]].row_begin < chunk->row_end) {
            group.end++;
        }
        add_visits(plan, sequences, chunk, 0, group);
        chunk->visit_end = (int32_t)plan->n_visits;
        for (int32_t i = chunk->visit_begin; i < chunk->visit_end; i++) {
            const struct cm_visit *visit = &plan->host.visits[i];
            visiting_rows += (uint64_t)(visit->row_end - visit->row_begin);
        }
    }
    plan->rows_per_visit = plan->n_visits > 0 ? (uint32_t)(visiting_rows / plan->n_visits) : 0;
}

void cm_step_plan_pad(struct cm_step_plan *plan, uint32_t rows_count, uint32_t spare_page)
{
    uint32_t first = plan->n_rows;
    CM_ASSERT(rows_count <= plan->rows_max && rows_count - first <= CM_PADDING_ROWS_MAX);
    CM_ASSERT(rows_count <= plan->n_chunks * CM_ATTENTION_CHUNK_ROWS);
    for (uint32_t row = first; row < rows_count; row++) {
        uint32_t slot = row - first;
        plan->host.tokens[row] = 0;
        plan->host.positions[row] = (int32_t)(slot % CM_PAGE_TOKENS);
        plan->host.row_pages[row] = (int32_t)(spare_page + slot / CM_PAGE_TOKENS);
        plan->host.logits_rows[plan->n_logits++] = (int32_t)row;
    }
    plan->n_rows = rows_count;
    plan->host.chunks[plan->n_chunks - 1].row_end = (int32_t)rows_count;
}

void cm_step_plan_send(struct cm_step_plan *plan)
{
    size_t fixed_bytes = (size_t)((unsigned char *)plan->host.visits - plan->host_block);
    cm_backend_send(plan->backend, plan->device_block, plan->host_block,
                    fixed_bytes + plan->n_visits * sizeof *plan->host.visits);
}
