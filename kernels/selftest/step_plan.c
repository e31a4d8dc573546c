#include "kernels/selftest/step_plan.h"

#include "base/memory.h"

enum cm_status cm_step_plan_init(struct cm_step_plan *plan, uint32_t rows_max, uint32_t blocks_max,
                                 uint32_t shared_tokens)
{
    *plan = (struct cm_step_plan){
        .rows_max = rows_max,
        .blocks_max = blocks_max,
        .shared_tokens = shared_tokens,
        .texts = cm_alloc(rows_max, sizeof *plan->texts),
        .positions = cm_alloc(rows_max, sizeof *plan->positions),
        .pages = cm_alloc(rows_max, sizeof *plan->pages),
        .visits = cm_alloc((size_t)rows_max * blocks_max, sizeof *plan->visits),
        .chunks = cm_alloc(rows_max / CM_ATTENTION_CHUNK_ROWS + 1, sizeof *plan->chunks),
    };
    if (plan->texts == NULL || plan->positions == NULL || plan->pages == NULL ||
        plan->visits == NULL || plan->chunks == NULL) {
        cm_step_plan_deinit(plan);
        return CM_OUT_OF_MEMORY;
    }
    return CM_OK;
}

void cm_step_plan_deinit(struct cm_step_plan *plan)
{
    cm_free(plan->texts);
    cm_free(plan->positions);
    cm_free(plan->pages);
    cm_free(plan->visits);
    cm_free(plan->chunks);
    *plan = (struct cm_step_plan){ 0 };
}

static int32_t page_of(const struct cm_step_plan *plan, uint32_t text, uint32_t block)
{
    bool is_shared = (block + 1) * CM_PAGE_TOKENS <= plan->shared_tokens;
    return (int32_t)((is_shared ? 0 : text) * plan->blocks_max + block);
}

void cm_step_plan_add(struct cm_step_plan *plan, uint32_t text, uint32_t begin, uint32_t end)
{
    for (uint32_t position = begin; position < end; position++) {
        CM_ASSERT(plan->n_rows < plan->rows_max);
        uint32_t row = plan->n_rows++;
        plan->texts[row] = text;
        plan->positions[row] = (int32_t)position;
        plan->pages[row] = page_of(plan, text, position / CM_PAGE_TOKENS);
    }
    plan->positions_end = end > plan->positions_end ? end : plan->positions_end;
}

/* -1: the row ends before the block. */
static int32_t visited_page(const struct cm_step_plan *plan, uint32_t row, uint32_t block)
{
    bool is_behind = plan->positions[row] < (int32_t)(block * CM_PAGE_TOKENS);
    return is_behind ? -1 : page_of(plan, plan->texts[row], block);
}

/* A visit for every run of neighbours that have the same page. */
static void add_visits(struct cm_step_plan *plan, uint32_t begin, uint32_t end, uint32_t block)
{
    for (uint32_t row = begin; row < end;) {
        int32_t page = visited_page(plan, row, block);
        uint32_t first = row;
        while (row < end && visited_page(plan, row, block) == page) {
            row++;
        }
        if (page >= 0) {
            plan->visits[plan->n_visits++] =
                (struct cm_visit){ page, (int32_t)(block * CM_PAGE_TOKENS), (int32_t)first,
                                   (int32_t)row };
        }
    }
}

void cm_step_plan_finish(struct cm_step_plan *plan)
{
    for (uint32_t begin = 0; begin < plan->n_rows; begin += CM_ATTENTION_CHUNK_ROWS) {
        uint32_t end = begin + CM_ATTENTION_CHUNK_ROWS;
        end = end < plan->n_rows ? end : plan->n_rows;
        struct cm_attention_chunk *chunk = &plan->chunks[plan->n_chunks++];
        *chunk =
            (struct cm_attention_chunk){ (int32_t)begin, (int32_t)end, (int32_t)plan->n_visits, 0 };
        for (uint32_t block = 0; block < plan->blocks_max; block++) {
            add_visits(plan, begin, end, block);
        }
        chunk->visit_end = (int32_t)plan->n_visits;
    }
    int64_t visiting_rows = 0;
    for (uint32_t i = 0; i < plan->n_visits; i++) {
        visiting_rows += plan->visits[i].row_end - plan->visits[i].row_begin;
    }
    plan->rows_per_visit = plan->n_visits > 0 ? (uint32_t)(visiting_rows / plan->n_visits) : 0;
}
