/* Attention over the paged KV cache: out = softmax(scale * q K^T) V for every query head.
 *
 * Page by page in position order, with a running maximum m, sum l and accumulator a per query
 * (online softmax, Milakov and Gimelshein 2018); for the 16 scores s of a page
 *     m' = max(m, s),  p = exp(s - m'),  c = exp(m - m')
 *     l' = c l + sum(p),  a' = c a + sum_t p_t V[t, :]
 * and out = a / l at the end. The accumulator lives in the query's place in `out`.
 *
 * q [row, head, head_dim] float32 inside qkv; pages as in kv_pool.h; accumulation float32. Where
 * values are pairs of bf16, p is rounded to bf16 before it is summed, and two values are added at a
 * time. A score sums its even and its odd dimensions apart, rising, and adds the
 * two; sum(p) is the tree of v16_sum; values are added in rising position. Where no maximum of a
 * tile grew, its c are 1 and the products with them are left out. None of this depends on the
 * other queries of a tile, so a row's result is the same in whatever company and order of work.
 *
 * Work is shared out as (part of a chunk's rows, KV head). Visits that follow one another in
 * position and have the same rows make a run: a tile of queries goes through all its scores and
 * then through all its values with the accumulators in registers, while the pages that follow are
 * fetched. Slots outside a query's positions are never used, whatever they hold: scores are
 * replaced there, values skipped. Compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"

#include <math.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum {
    GROUP_HEADS_MAX = 128, /* query heads per KV head; 71 is the most that was published */
    RUN_PAGES_MAX = 4,     /* keys and values of a run stay in the first cache */
    PART_ROWS_MIN = 8,
    FETCH_VISITS = 2, /* pages are asked for this many visits before they are needed */
    VECTORS_MAX = 2 * V16_BLOCK,
};

/* How far a score may rise above the maximum before that is raised. */
#define MAXIMUM_SLACK 8.0f

/* Consecutive pages that the same rows visit, of one layer and KV head. */
struct run {
    const unsigned char *keys[RUN_PAGES_MAX];   /* [head_dim][CM_PAGE_TOKENS] each */
    const unsigned char *values[RUN_PAGES_MAX]; /* [CM_PAGE_TOKENS][head_dim] each */
    const unsigned char *coming[RUN_PAGES_MAX]; /* keys to fetch meanwhile */
    ptrdiff_t values_distance;                  /* from the keys of a page to its values */
    uint32_t head_dim;
    float scale;
};

/* Queries that see the same slots [begin, end) of a run, and their states. */
struct tile {
    const float *q[V16_TILE]; /* [head_dim] */
    float *out[V16_TILE];     /* [head_dim] accumulator */
    float *maximum;           /* [queries] */
    float (*sums)[V16_LANES]; /* [queries] */
    uint32_t begin;
    uint32_t end;
};

/* What pages hold: keys and values in float32, or both in float16, or float16 keys and pairs of
 * bf16 values. */
enum elements { FLOATS, HALVES, VALUE_PAIRS, ELEMENTS_COUNT };

/* What a page's values are added with: p, and c where one of them is not 1. */
struct page_weights {
    union {
        float p[V16_TILE][CM_PAGE_TOKENS];
        uint32_t pairs[V16_TILE][CM_PAGE_TOKENS / 2]; /* of bf16 */
    };
    float shrink[V16_LANES];
    bool shrinks;
};

/* The slots of page `page` that a tile sees. */
struct span {
    int begin;
    int end;
};

static ALWAYS_INLINE struct span span_of_page(const struct tile *tile, uint32_t page)
{
    uint32_t first = page * CM_PAGE_TOKENS;
    uint32_t end = tile->end - first;
    return (struct span){
        .begin = tile->begin > first ? (int)(tile->begin - first) : 0,
        .end = end < CM_PAGE_TOKENS ? (int)end : CM_PAGE_TOKENS,
    };
}

static ALWAYS_INLINE v16 load_element(const void *from, size_t index, bool half)
{
    return half ? v16_load_half((const uint16_t *)from + index)
                : v16_load((const float *)from + index);
}

static ALWAYS_INLINE void score_page(const struct run *run, uint32_t page, const struct tile *tile,
                                     uint32_t n, bool half, v16 *scores)
{
    /* One pointer moves; what is fetched lies at fixed distances from it. */
    const unsigned char *keys = run->keys[page];
    const ptrdiff_t coming_keys = run->coming[page] - keys;
    const ptrdiff_t coming_values = coming_keys + run->values_distance;
    const size_t dim_bytes = CM_PAGE_TOKENS * (half ? sizeof(uint16_t) : sizeof(float));
    v16 even[V16_TILE];
    v16 odd[V16_TILE];
    for (uint32_t k = 0; k < n; k++) {
        even[k] = v16_zero();
        odd[k] = v16_zero();
    }
    for (size_t i = 0; i < run->head_dim; i += 2) {
        __builtin_prefetch(keys + coming_keys, 0, 2);
        __builtin_prefetch(keys + coming_values, 0, 2);
        v16 even_keys = load_element(keys, 0, half);
        v16 odd_keys = load_element(keys + dim_bytes, 0, half);
        for (uint32_t k = 0; k < n; k++) {
            even[k] = v16_fma(even_keys, v16_set(tile->q[k][i]), even[k]);
            odd[k] = v16_fma(odd_keys, v16_set(tile->q[k][i + 1]), odd[k]);
        }
        keys += 2 * dim_bytes;
    }
    struct span span = span_of_page(tile, page);
    for (uint32_t k = 0; k < n; k++) {
        v16 score = v16_mul(v16_add(even[k], odd[k]), v16_set(run->scale));
        scores[k] = v16_keep(score, span.begin, span.end, -INFINITY);
    }
}

/* Brings the maxima of queries `grown` up to their highest scores. */
static void raise_maxima(const struct tile *tile, uint32_t n, uint32_t grown, const v16 *scores,
                         struct page_weights *weights)
{
    v16 before = v16_load_part(tile->maximum, n);
    v16_store(weights->shrink, v16_highest_each(scores, n));
    for (uint32_t k = 0; k < n; k++) {
        if (grown >> k & 1) {
            tile->maximum[k] = weights->shrink[k];
        }
    }
    v16_store(weights->shrink, v16_exp(v16_sub(before, v16_load_part(tile->maximum, n))));
    for (uint32_t k = 0; k < n; k++) {
        v16_store(tile->sums[k], v16_mul(v16_load(tile->sums[k]), v16_set(weights->shrink[k])));
    }
}

/* Moves maxima and sums on. */
static ALWAYS_INLINE void weigh_page(const struct tile *tile, uint32_t n, enum elements elements,
                                     const v16 *scores, struct page_weights *weights)
{
    uint32_t grown = 0;
    for (uint32_t k = 0; k < n; k++) {
        v16 limit = v16_set(tile->maximum[k] + MAXIMUM_SLACK);
        grown |= (uint32_t)(v16_at_least(scores[k], limit) != 0) << k;
    }
    weights->shrinks = grown != 0;
    if (grown != 0) {
        raise_maxima(tile, n, grown, scores, weights);
    }
    for (uint32_t k = 0; k < n; k++) {
        v16 p = v16_exp(v16_sub(scores[k], v16_set(tile->maximum[k])));
#if V16_PAIRS
        if (elements == VALUE_PAIRS) {
            p = v16_store_rounded_pairs(weights->pairs[k], p);
        }
#endif
        if (elements != VALUE_PAIRS) {
            v16_store(weights->p[k], p);
        }
        v16_store(tile->sums[k], v16_add(v16_load(tile->sums[k]), p));
    }
}

#if V16_PAIRS
/* Adds a pair of slots, of which one may count as zero. */
static ALWAYS_INLINE void add_pair(const struct run *run, uint32_t page, int pair, bool first_slot,
                                   bool second_slot, uint32_t n, uint32_t first, uint32_t vectors,
                                   const struct page_weights *weights,
                                   v16 sums[V16_TILE][VECTORS_MAX])
{
    /* [slots / 2][head_dim] */
    const uint32_t *values = (const uint32_t *)run->values[page] + (size_t)pair * run->head_dim;
    for (uint32_t j = 0; j < vectors; j++) {
        v16 pairs = v16_load_pairs(values + first + j * V16_LANES, first_slot, second_slot);
        for (uint32_t k = 0; k < n; k++) {
            sums[k][j] = v16_add_dots(sums[k][j], pairs, weights->pairs[k][pair]);
        }
    }
}

/* The slots of a span by twos. */
static ALWAYS_INLINE void add_pairs(const struct run *run, uint32_t page, struct span span,
                                    uint32_t n, uint32_t first, uint32_t vectors,
                                    const struct page_weights *weights,
                                    v16 sums[V16_TILE][VECTORS_MAX])
{
    int pair = span.begin / 2;
    if (span.begin % 2 != 0) {
        add_pair(run, page, pair, false, 2 * pair + 1 < span.end, n, first, vectors, weights, sums);
        pair++;
    }
    for (; 2 * pair + 1 < span.end; pair++) {
        add_pair(run, page, pair, true, true, n, first, vectors, weights, sums);
    }
    if (2 * pair < span.end) {
        add_pair(run, page, pair, true, false, n, first, vectors, weights, sums);
    }
}
#endif

/* Adds the weighted values of dimensions [first, first + vectors * 16) of pages [begin, end). */
static ALWAYS_INLINE void add_values(const struct run *run, uint32_t begin, uint32_t end,
                                     const struct tile *tile, uint32_t n, enum elements elements,
                                     uint32_t first, uint32_t vectors,
                                     const struct page_weights *weights)
{
    v16 sums[V16_TILE][VECTORS_MAX];
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t j = 0; j < vectors; j++) {
            sums[k][j] = v16_load(tile->out[k] + first + j * V16_LANES);
        }
    }
    for (uint32_t page = begin; page < end; page++) {
        const struct page_weights *of_page = &weights[page];
        for (uint32_t k = 0; of_page->shrinks && k < n; k++) {
            for (uint32_t j = 0; j < vectors; j++) {
                sums[k][j] = v16_mul(sums[k][j], v16_set(of_page->shrink[k]));
            }
        }
        struct span span = span_of_page(tile, page);
#if V16_PAIRS
        if (elements == VALUE_PAIRS) {
            add_pairs(run, page, span, n, first, vectors, of_page, sums);
            continue;
        }
#endif
        for (int t = span.begin; t < span.end; t++) {
            for (uint32_t j = 0; j < vectors; j++) {
                size_t index = (size_t)t * run->head_dim + first + j * V16_LANES;
                v16 value = load_element(run->values[page], index, elements != FLOATS);
                for (uint32_t k = 0; k < n; k++) {
                    sums[k][j] = v16_fma(v16_set(of_page->p[k][t]), value, sums[k][j]);
                }
            }
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t j = 0; j < vectors; j++) {
            v16_store(tile->out[k] + first + j * V16_LANES, sums[k][j]);
        }
    }
}

static ALWAYS_INLINE void visit_tile_of(const struct run *run, const struct tile *tile, uint32_t n,
                                        enum elements elements)
{
    struct page_weights weights[RUN_PAGES_MAX];
    uint32_t begin = tile->begin / CM_PAGE_TOKENS;
    uint32_t end = (tile->end + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    for (uint32_t page = begin; page < end; page++) {
        v16 scores[V16_TILE];
        score_page(run, page, tile, n, elements != FLOATS, scores);
        weigh_page(tile, n, elements, scores, &weights[page]);
    }
    uint32_t i = 0;
    const uint32_t vectors = 2 * V16_BLOCK * n <= V16_SUMS ? VECTORS_MAX : V16_BLOCK;
    for (; i + vectors * V16_LANES <= run->head_dim; i += vectors * V16_LANES) {
        add_values(run, begin, end, tile, n, elements, i, vectors, weights);
    }
    for (; i < run->head_dim; i += V16_LANES) {
        add_values(run, begin, end, tile, n, elements, i, 1, weights);
    }
}

/* Constants for n and the elements, so that each case keeps its sums in registers. */
#define TILE_CASE(n, elements)           \
    case ELEMENTS_COUNT *(n) + elements: \
        return visit_tile_of(run, tile, n, elements)
#if V16_PAIRS
#define TILE_CASES(n)     \
    TILE_CASE(n, FLOATS); \
    TILE_CASE(n, HALVES); \
    TILE_CASE(n, VALUE_PAIRS)
#else
#define TILE_CASES(n)     \
    TILE_CASE(n, FLOATS); \
    TILE_CASE(n, HALVES)
#endif

static void visit_tile(const struct run *run, const struct tile *tile, uint32_t n,
                       enum elements elements)
{
    switch (ELEMENTS_COUNT * n + elements) {
        TILE_CASES(1);
        TILE_CASES(2);
        TILE_CASES(3);
#if V16_TILE > 3
        TILE_CASES(4);
        TILE_CASES(5);
        TILE_CASES(6);
        TILE_CASES(7);
#endif
    }
}

static enum elements elements_of(const struct cm_kv_pool *pool)
{
    return pool->value_pairs ? VALUE_PAIRS : pool->half ? HALVES : FLOATS;
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
};

static uint32_t group_heads(const struct part *part)
{
    return part->args->n_heads / part->args->n_kv_heads;
}

static float *out_of(const struct part *part, int32_t row, uint32_t head)
{
    return part->args->out +
           ((size_t)row * part->args->n_heads + head) * (size_t)part->args->head_dim;
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
    size_t q_stride = args->n_heads + 2 * (size_t)args->n_kv_heads;
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
            int32_t row = part->row_begin + (int32_t)(query / group);
            uint32_t head = part->kv_head * group + query % group;
            tile.q[n] = args->qkv + ((size_t)row * q_stride + head) * args->head_dim;
            tile.out[n] = out_of(part, row, head);
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
    }
    for (int32_t row = part->row_begin; row < part->row_end; row++) {
        memset(out_of(part, row, part->kv_head * group), 0,
               (size_t)group * args->head_dim * sizeof *args->out);
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
        float *accumulator = out_of(part, part->row_begin + (int32_t)(query / group),
                                    part->kv_head * group + query % group);
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

/* Chunks are cut where there are too few for the threads to even out. */
static struct work share_out(struct cm_backend *backend, const struct cm_attention_args *args)
{
    struct work work = { args, CM_ATTENTION_CHUNK_ROWS, 1 };
    uint32_t wanted = 8 * cm_pool_threads(backend->pool);
    while (cm_pool_threads(backend->pool) > 1 && work.part_rows > PART_ROWS_MIN &&
           args->n_chunks * args->n_kv_heads * work.chunk_parts < wanted) {
        work.part_rows /= 2;
        work.chunk_parts *= 2;
    }
    return work;
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
    struct work work = share_out(backend, args);
    uint32_t parts = args->n_chunks * work.chunk_parts;
    size_t page_elements = 2 * CM_PAGE_TOKENS * (size_t)args->head_dim;
    cm_rows_run(backend, attend_items, &work, parts * args->n_kv_heads,
                visits_count * page_elements / (parts > 0 ? parts : 1));
}
