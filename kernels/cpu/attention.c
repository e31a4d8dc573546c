/* Attention over the paged KV cache: out = softmax(scale * q K^T) V for every query head.
 *
 * Page by page in position order, with a running maximum m, sum l and accumulator a per query
 * (online softmax, Milakov and Gimelshein 2018); for the 16 scores s of a page
 *     m' = max(m, s),  p = exp(s - m'),  c = exp(m - m')
 *     l' = c l + sum(p),  a' = c a + sum_t p_t V[t, :]
 * and out = a / l at the end. The accumulator lives in the query's place in `out`.
 *
 * q [row, head, head_dim] float32 inside qkv; pages as in kv_pool.h; accumulation float32. Where
 * pages hold pairs, q is rounded to words as keys are and sums of their products are integers, p is
 * rounded to bf16 before it is summed, and two values are added at a time. Codes of keys are summed
 * by groups before these meet their steps. A score sums its even and its odd dimensions apart,
 * rising, and adds the two; l is kept in sixteen sums, one for each slot of a page, which v16_sum
 * folds at the end; values are added in rising position. A maximum stays as it is until a score is
 * 8 above it and then becomes the highest of the page; where none of a tile moved, the c are 1 and
 * the products with them are left out. None of this depends on the other queries of a tile, so a
 * row's result is the same in whatever company and order of work.
 *
 * Work is shared out as (part of a chunk's rows, KV head). Visits that follow one another in
 * position and have the same rows make a run: a tile of queries goes through all its scores and
 * then through all its values with the accumulators in registers, while the pages that follow are
 * fetched (coming_pages.h: most have been by then). Slots outside a query's positions are never
 * used, whatever they hold: scores are replaced there, values skipped. Compiled per instruction
 * set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/attention_tile.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/words.h"

#include <string.h>

enum {
    GROUP_HEADS_MAX = 128, /* query heads per KV head; 71 is the most that was published */
    PART_ROWS_MIN = 8,
    THREAD_PARTS_WANTED = 32,
    FETCH_VISITS = 2, /* pages are asked for this many visits before they are needed */
    PART_WORDS_MAX = GROUP_HEADS_MAX * CM_HEAD_DIM_MAX, /* of the queries of a part, 64 KiB */
};

static enum elements elements_of(const struct cm_kv_pool *pool)
{
    return pool->codes ? CODES : pool->pairs ? PAIRS : pool->half ? HALVES : FLOATS;
}

/* Rows of a chunk and one KV head: what one thread does at a time. */
struct part {
    const struct cm_attention_args *args;
    const struct cm_attention_chunk *chunk;
    uint32_t kv_head;
    int32_t row_begin;
    int32_t row_end;
    float maximum[CM_ATTENTION_CHUNK_ROWS * GROUP_HEADS_MAX]; /* [rows][group] */
    float sums[CM_ATTENTION_CHUNK_ROWS * GROUP_HEADS_MAX][V16_LANES];
#if V16_PAIRS
    int16_t words[PART_WORDS_MAX]; /* [rows][group][head_dim] */
    float word_steps[CM_ATTENTION_CHUNK_ROWS * GROUP_HEADS_MAX];
#endif
};

static uint32_t group_heads(const struct part *part)
{
    return part->args->n_heads / part->args->n_kv_heads;
}

/* Where a query's first value stands in rows of `heads` heads. */
static size_t offset_of(const struct part *part, uint32_t query, size_t heads)
{
    uint32_t group = group_heads(part);
    size_t row = (size_t)part->row_begin + query / group;
    size_t head = part->kv_head * group + query % group;
    return (row * heads + head) * part->args->head_dim;
}

static const float *query_of(const struct part *part, uint32_t query)
{
    const struct cm_attention_args *args = part->args;
    size_t heads = args->n_heads + 2 * (size_t)args->n_kv_heads;
    return args->qkv + offset_of(part, query, heads);
}

static float *out_of(const struct part *part, uint32_t query)
{
    return part->args->out + offset_of(part, query, part->args->n_heads);
}

/* The slots that a row sees of `pages_count` pages from `first_position` on. */
static struct span span_of_row(const struct part *part, int32_t row, int32_t first_position,
                               uint32_t pages_count)
{
    const struct cm_attention_args *args = part->args;
    int64_t slots = (int64_t)pages_count * CM_PAGE_TOKENS;
    int64_t end = (int64_t)args->positions[row] - first_position + 1;
    int64_t begin = args->window > 0 ? end - args->window : 0;
    end = end < slots ? end : slots;
    begin = begin > 0 ? begin : 0;
    return (struct span){ (int)(begin < end ? begin : end), (int)end };
}

/* Rows [begin, end), which see the same span, in tiles of nearly equal size. */
static void visit_rows(struct part *part, const struct run *run, int32_t begin, int32_t end,
                       struct span span)
{
    const struct cm_attention_args *args = part->args;
    uint32_t group = group_heads(part);
    uint32_t first = (uint32_t)(begin - part->row_begin) * group;
    uint32_t queries = (uint32_t)(end - begin) * group;
    uint32_t tiles = (queries + V16_TILE - 1) / V16_TILE;
    for (uint32_t i = 0; i < tiles; i++) {
        uint32_t tile_begin = first + queries * i / tiles;
        uint32_t tile_end = first + queries * (i + 1) / tiles;
        struct tile tile = {
            .maximum = part->maximum + tile_begin,
            .sums = part->sums + tile_begin,
            .begin = (uint32_t)span.begin,
            .end = (uint32_t)span.end,
        };
        uint32_t n = 0;
        for (uint32_t query = tile_begin; query < tile_end; query++) {
            tile.q[n] = query_of(part, query);
#if V16_PAIRS
            tile.words[n] = part->words + (size_t)query * args->head_dim;
            tile.word_steps[n] = part->word_steps[query];
#endif
            tile.out[n] = out_of(part, query);
            n++;
        }
        visit_tile(run, &tile, n, elements_of(args->pool));
    }
}

/* The visits of a run, at least one, from `visits` on; `end` bounds them. */
static uint32_t run_length(const struct cm_visit *visits, const struct cm_visit *end)
{
    uint32_t count = 1;
    while (count < RUN_PAGES_MAX && visits + count < end &&
           visits[count].row_begin == visits->row_begin &&
           visits[count].row_end == visits->row_end &&
           visits[count].first_position ==
               visits->first_position + (int32_t)(count * CM_PAGE_TOKENS)) {
        count++;
    }
    return count;
}

static void visit_run(struct part *part, const struct cm_visit *visits, uint32_t pages_count,
                      const struct cm_visit *end)
{
    const struct cm_attention_args *args = part->args;
    struct run run = { .head_dim = args->head_dim, .scale = args->scale };
    for (uint32_t i = 0; i < pages_count; i++) {
        uint32_t page = (uint32_t)visits[i].page;
        run.keys[i] = cm_kv_keys(args->pool, page, args->layer, part->kv_head);
        run.values[i] = cm_kv_values(args->pool, page, args->layer, part->kv_head);
        if (args->pool->pairs) {
            run.key_steps[i] = cm_kv_key_steps(args->pool, page, args->layer, part->kv_head);
        }
        const struct cm_visit *ahead =
            visits + i + FETCH_VISITS < end ? visits + i + FETCH_VISITS : end - 1;
        run.coming[i] = cm_kv_keys(args->pool, (uint32_t)ahead->page, args->layer, part->kv_head);
    }
    run.values_distance = run.values[0] - run.keys[0];

    int32_t row = visits->row_begin > part->row_begin ? visits->row_begin : part->row_begin;
    int32_t row_end = visits->row_end < part->row_end ? visits->row_end : part->row_end;
    while (row < row_end) {
        struct span span = span_of_row(part, row, visits->first_position, pages_count);
        int32_t first = row++;
        while (row < row_end) {
            struct span other = span_of_row(part, row, visits->first_position, pages_count);
            if (other.begin != span.begin || other.end != span.end) {
                break;
            }
            row++;
        }
        if (span.begin < span.end) {
            visit_rows(part, &run, first, row, span);
        }
    }
}

static void attend(struct part *part)
{
    const struct cm_attention_args *args = part->args;
    uint32_t group = group_heads(part);
    uint32_t queries = (uint32_t)(part->row_end - part->row_begin) * group;
    for (uint32_t i = 0; i < queries; i++) {
        part->maximum[i] = -INFINITY;
        v16_store(part->sums[i], v16_zero());
        memset(out_of(part, i), 0, args->head_dim * sizeof *args->out);
#if V16_PAIRS
        if (args->pool->pairs) {
            part->word_steps[i] = cm_words_round(query_of(part, i), args->head_dim,
                                                 part->words + (size_t)i * args->head_dim);
        }
#endif
    }
    const struct cm_visit *visits = args->visits + part->chunk->visit_begin;
    const struct cm_visit *end = args->visits + part->chunk->visit_end;
    while (visits < end) {
        uint32_t count = run_length(visits, end);
        if (visits->row_begin < part->row_end && visits->row_end > part->row_begin) {
            visit_run(part, visits, count, end);
        }
        visits += count;
    }
    for (uint32_t query = 0; query < queries; query++) {
        float *accumulator = out_of(part, query);
        float sum = v16_sum(v16_load(part->sums[query]));
        v16 factor = v16_set(sum > 0.0f ? 1.0f / sum : 0.0f);
        for (uint32_t i = 0; i < args->head_dim; i += V16_LANES) {
            v16_store(accumulator + i, v16_mul(v16_load(accumulator + i), factor));
        }
    }
}

struct work {
    const struct cm_attention_args *args;
    int32_t part_rows;
    uint32_t chunk_parts; /* for one KV head */
};

static void attend_items(const void *context, uint32_t begin, uint32_t end)
{
    const struct work *work = context;
    for (uint32_t item = begin; item < end; item++) {
        uint32_t n_kv_heads = work->args->n_kv_heads;
        uint32_t rows_item = item / n_kv_heads;
        const struct cm_attention_chunk *chunk = &work->args->chunks[rows_item / work->chunk_parts];
        struct part part;
        part.args = work->args;
        part.chunk = chunk;
        part.kv_head = item % n_kv_heads;
        part.row_begin =
            chunk->row_begin + (int32_t)(rows_item % work->chunk_parts) * work->part_rows;
        part.row_end = part.row_begin + work->part_rows;
        part.row_end = part.row_end < chunk->row_end ? part.row_end : chunk->row_end;
        if (part.row_begin < part.row_end) {
            attend(&part);
        }
    }
}

/* Chunks are cut where their queries are too many for a part, or where there are too few chunks for
 * the threads to even out. */
static struct work share_out(struct cm_backend *backend, const struct cm_attention_args *args)
{
    struct work work = { args, CM_ATTENTION_CHUNK_ROWS, 1 };
    uint32_t threads = cm_pool_threads(backend->pool);
    uint32_t row_words = args->n_heads / args->n_kv_heads * args->head_dim;
    for (;;) {
        uint32_t parts = args->n_chunks * args->n_kv_heads * work.chunk_parts;
        bool too_many_queries =
            args->pool->pairs && (uint32_t)work.part_rows * row_words > PART_WORDS_MAX;
        bool too_few_parts =
            threads > 1 && work.part_rows > PART_ROWS_MIN && parts < THREAD_PARTS_WANTED * threads;
        if (!too_many_queries && !too_few_parts) {
            return work;
        }
        work.part_rows /= 2;
        work.chunk_parts *= 2;
    }
}

/* The next layer's attention visits the same pages. */
static void fetch_next_layer(struct cm_backend *backend, const struct cm_attention_args *args)
{
    size_t visits_count = 0;
    const struct cm_visit *visits = args->visits;
    if (args->layer + 1 < args->pool->shape.n_layers && args->n_chunks > 0) {
        visits += args->chunks[0].visit_begin;
        visits_count =
            (size_t)(args->chunks[args->n_chunks - 1].visit_end - args->chunks[0].visit_begin);
    }
    cm_coming_pages_set(&backend->coming, args->pool, args->layer + 1, visits, visits_count,
                        cm_pool_threads(backend->pool));
}

void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    const struct cm_kv_shape *shape = &args->pool->shape;
    CM_ASSERT(args->head_dim == shape->head_dim && args->n_kv_heads == shape->n_kv_heads);
    CM_ASSERT(args->layer < shape->n_layers && args->n_heads % args->n_kv_heads == 0);
    CM_ASSERT(args->n_heads / args->n_kv_heads <= GROUP_HEADS_MAX);
    size_t visits_count = 0;
    for (uint32_t i = 0; i < args->n_chunks; i++) {
        CM_ASSERT(args->chunks[i].row_end - args->chunks[i].row_begin <= CM_ATTENTION_CHUNK_ROWS);
        visits_count += (size_t)(args->chunks[i].visit_end - args->chunks[i].visit_begin);
    }
    fetch_next_layer(backend, args);
    struct work work = share_out(backend, args);
    uint32_t parts = args->n_chunks * work.chunk_parts;
    size_t page_elements = 2 * CM_PAGE_TOKENS * (size_t)args->head_dim;
    cm_rows_run(backend, attend_items, &work, parts * args->n_kv_heads,
                visits_count * page_elements / (parts > 0 ? parts : 1));
}
