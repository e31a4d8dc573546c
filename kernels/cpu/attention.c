/* Attention over the paged KV cache: out = softmax(scale * q K^T) V for every query head.
 *
 * Page by page in position order, with a running maximum m, sum l and accumulator a per query
 * (online softmax, Milakov and Gimelshein 2018); for the 16 scores s of a page
 *     m' = max(m, s),  p = exp(s - m'),  c = exp(m - m')
 *     l' = c l + sum(p),  a' = c a + sum_t p_t V[t, :]
 * and out = a / l at the end. The accumulator lives in the query's place in `out`.
 *
 * q [row, head, head_dim] float32 inside qkv; pages as in kv_pool.h, float32 or float16;
 * accumulation float32. A score sums its even and its odd dimensions apart, rising, and adds the
 * two; sum(p) is the tree of v16_sum; values are added in rising position. None of this depends on
 * the other queries of a tile, so a row's result is the same in whatever company and order of work.
 *
 * Work is shared out as (chunk, KV head). A visit loads a page once for all query heads of its
 * rows, in tiles of up to four queries. Slots outside a query's positions are never used, whatever
 * they hold: scores are replaced there, values skipped. Compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"

#include <math.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

enum {
    TILE_QUERIES = 4,
    GROUP_HEADS_MAX = 128, /* query heads per KV head; 71 is the most that was published */
};

/* The page's slots [begin, end) are what a row sees. */
struct span {
    int begin;
    int end;
};

/* Queries that see the same span of a page, and their states. */
struct tile {
    const float *q[TILE_QUERIES]; /* [head_dim] */
    float *out[TILE_QUERIES];     /* [head_dim] accumulator */
    float *maximum[TILE_QUERIES];
    float *sum[TILE_QUERIES];
    struct span span;
};

/* One page's keys and values of one layer and KV head. */
struct page {
    const void *keys;   /* [head_dim][CM_PAGE_TOKENS] */
    const void *values; /* [CM_PAGE_TOKENS][head_dim] */
    uint32_t head_dim;
    float scale;
};

static ALWAYS_INLINE v16 load_element(const void *from, size_t index, bool half)
{
    return half ? v16_load_half((const uint16_t *)from + index)
                : v16_load((const float *)from + index);
}

static ALWAYS_INLINE void score_tile(const struct page *page, const struct tile *tile, uint32_t n,
                                     bool half, v16 *scores)
{
    v16 even[TILE_QUERIES];
    v16 odd[TILE_QUERIES];
    for (uint32_t k = 0; k < n; k++) {
        even[k] = v16_zero();
        odd[k] = v16_zero();
    }
    for (uint32_t i = 0; i < page->head_dim; i += 2) {
        v16 even_keys = load_element(page->keys, (size_t)i * CM_PAGE_TOKENS, half);
        v16 odd_keys = load_element(page->keys, (size_t)(i + 1) * CM_PAGE_TOKENS, half);
        for (uint32_t k = 0; k < n; k++) {
            even[k] = v16_fma(even_keys, v16_set(tile->q[k][i]), even[k]);
            odd[k] = v16_fma(odd_keys, v16_set(tile->q[k][i + 1]), odd[k]);
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        v16 score = v16_mul(v16_add(even[k], odd[k]), v16_set(page->scale));
        scores[k] = v16_keep(score, tile->span.begin, tile->span.end, -INFINITY);
    }
}

/* Moves maximum and sum on; leaves p in `weights` and c in `shrink`. */
static ALWAYS_INLINE void weigh_tile(const struct tile *tile, uint32_t n, const v16 *scores,
                                     float (*weights)[CM_PAGE_TOKENS], float *shrink)
{
    float page_sums[TILE_QUERIES];
    for (uint32_t k = 0; k < n; k++) {
        float before = *tile->maximum[k];
        float highest = v16_highest(scores[k]);
        float now = highest > before ? highest : before;
        *tile->maximum[k] = now;
        shrink[k] = before - now;
        v16 p = v16_exp(v16_sub(scores[k], v16_set(now)));
        v16_store(weights[k], p);
        page_sums[k] = v16_sum(p);
    }
    v16_store(shrink, v16_exp(v16_load(shrink)));
    for (uint32_t k = 0; k < n; k++) {
        *tile->sum[k] = *tile->sum[k] * shrink[k] + page_sums[k];
    }
}

/* Adds the weighted values of dimensions [first, first + vectors * 16). */
static ALWAYS_INLINE void add_values(const struct page *page, const struct tile *tile, uint32_t n,
                                     bool half, uint32_t first, uint32_t vectors,
                                     float (*weights)[CM_PAGE_TOKENS], const float *shrink)
{
    v16 sums[TILE_QUERIES][V16_BLOCK];
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t j = 0; j < vectors; j++) {
            v16 before = v16_load(tile->out[k] + first + j * V16_LANES);
            sums[k][j] = v16_mul(before, v16_set(shrink[k]));
        }
    }
    for (int t = tile->span.begin; t < tile->span.end; t++) {
        for (uint32_t j = 0; j < vectors; j++) {
            size_t index = (size_t)t * page->head_dim + first + j * V16_LANES;
            v16 value = load_element(page->values, index, half);
            for (uint32_t k = 0; k < n; k++) {
                sums[k][j] = v16_fma(v16_set(weights[k][t]), value, sums[k][j]);
            }
        }
    }
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t j = 0; j < vectors; j++) {
            v16_store(tile->out[k] + first + j * V16_LANES, sums[k][j]);
        }
    }
}

static ALWAYS_INLINE void visit_tile_of(const struct page *page, const struct tile *tile,
                                        uint32_t n, bool half)
{
    v16 scores[TILE_QUERIES];
    float weights[TILE_QUERIES][CM_PAGE_TOKENS];
    float shrink[V16_LANES] = { 0 };
    score_tile(page, tile, n, half, scores);
    weigh_tile(tile, n, scores, weights, shrink);
    uint32_t i = 0;
    for (; i + V16_BLOCK * V16_LANES <= page->head_dim; i += V16_BLOCK * V16_LANES) {
        add_values(page, tile, n, half, i, V16_BLOCK, weights, shrink);
    }
    for (; i < page->head_dim; i += V16_LANES) {
        add_values(page, tile, n, half, i, 1, weights, shrink);
    }
}

/* Constants for n and half, so that each case keeps its sums in registers. */
static void visit_tile(const struct page *page, const struct tile *tile, uint32_t n, bool half)
{
    _Static_assert(TILE_QUERIES == 4, "one case for each size of tile");
    switch (n + (half ? 8 : 0)) {
    case 1:
        return visit_tile_of(page, tile, 1, false);
    case 2:
        return visit_tile_of(page, tile, 2, false);
    case 3:
        return visit_tile_of(page, tile, 3, false);
    case 4:
        return visit_tile_of(page, tile, 4, false);
    case 9:
        return visit_tile_of(page, tile, 1, true);
    case 10:
        return visit_tile_of(page, tile, 2, true);
    case 11:
        return visit_tile_of(page, tile, 3, true);
    case 12:
        return visit_tile_of(page, tile, 4, true);
    }
}

/* The state of all queries of a (chunk, KV head). */
struct chunk_state {
    float maximum[CM_ATTENTION_CHUNK_ROWS * GROUP_HEADS_MAX];
    float sum[CM_ATTENTION_CHUNK_ROWS * GROUP_HEADS_MAX];
};

static struct span span_of_row(const struct cm_attention_args *args, const struct cm_visit *visit,
                               int32_t row)
{
    int64_t end = (int64_t)args->positions[row] - visit->first_position + 1;
    int64_t begin = args->window > 0 ? end - args->window : 0;
    return (struct span){
        .begin = begin > 0 ? (int)(begin < CM_PAGE_TOKENS ? begin : CM_PAGE_TOKENS) : 0,
        .end = end < CM_PAGE_TOKENS ? (int)end : CM_PAGE_TOKENS,
    };
}

static void visit_page(const struct cm_attention_args *args, const struct cm_attention_chunk *chunk,
                       const struct cm_visit *visit, uint32_t kv_head, struct chunk_state *state)
{
    uint32_t group = args->n_heads / args->n_kv_heads;
    uint32_t dim = args->head_dim;
    size_t q_stride = (size_t)(args->n_heads + 2 * args->n_kv_heads) * dim;
    size_t out_stride = (size_t)args->n_heads * dim;
    struct page page = {
        .keys = cm_kv_keys(args->pool, (uint32_t)visit->page, args->layer, kv_head),
        .values = cm_kv_values(args->pool, (uint32_t)visit->page, args->layer, kv_head),
        .head_dim = dim,
        .scale = args->scale,
    };
    struct tile tile = { 0 };
    uint32_t n = 0;
    for (int32_t row = visit->row_begin; row < visit->row_end; row++) {
        struct span span = span_of_row(args, visit, row);
        if (span.begin >= span.end) {
            continue;
        }
        if (n > 0 && (span.begin != tile.span.begin || span.end != tile.span.end)) {
            visit_tile(&page, &tile, n, args->pool->half);
            n = 0;
        }
        tile.span = span;
        for (uint32_t h = 0; h < group; h++) {
            uint32_t head = kv_head * group + h;
            uint32_t query = (uint32_t)(row - chunk->row_begin) * group + h;
            tile.q[n] = args->qkv + (size_t)row * q_stride + (size_t)head * dim;
            tile.out[n] = args->out + (size_t)row * out_stride + (size_t)head * dim;
            tile.maximum[n] = &state->maximum[query];
            tile.sum[n] = &state->sum[query];
            n++;
            if (n == TILE_QUERIES) {
                visit_tile(&page, &tile, n, args->pool->half);
                n = 0;
            }
        }
    }
    if (n > 0) {
        visit_tile(&page, &tile, n, args->pool->half);
    }
}

static void attend(const struct cm_attention_args *args, const struct cm_attention_chunk *chunk,
                   uint32_t kv_head)
{
    struct chunk_state state;
    uint32_t group = args->n_heads / args->n_kv_heads;
    uint32_t rows = (uint32_t)(chunk->row_end - chunk->row_begin);
    size_t group_dim = (size_t)group * args->head_dim;
    float *out = args->out + ((size_t)chunk->row_begin * args->n_kv_heads + kv_head) * group_dim;
    for (uint32_t i = 0; i < rows * group; i++) {
        state.maximum[i] = -INFINITY;
        state.sum[i] = 0.0f;
    }
    for (uint32_t row = 0; row < rows; row++) {
        memset(out + row * args->n_kv_heads * group_dim, 0, group_dim * sizeof *out);
    }
    for (int32_t i = chunk->visit_begin; i < chunk->visit_end; i++) {
        visit_page(args, chunk, &args->visits[i], kv_head, &state);
    }
    for (uint32_t query = 0; query < rows * group; query++) {
        float *accumulator = out + query / group * args->n_kv_heads * group_dim +
                             (size_t)(query % group) * args->head_dim;
        v16 factor = v16_set(state.sum[query] > 0.0f ? 1.0f / state.sum[query] : 0.0f);
        for (uint32_t i = 0; i < args->head_dim; i += V16_LANES) {
            v16_store(accumulator + i, v16_mul(v16_load(accumulator + i), factor));
        }
    }
}

static void attend_items(const void *context, uint32_t begin, uint32_t end)
{
    const struct cm_attention_args *args = context;
    for (uint32_t item = begin; item < end; item++) {
        attend(args, &args->chunks[item / args->n_kv_heads], item % args->n_kv_heads);
    }
}

void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    const struct cm_kv_shape *shape = &args->pool->shape;
    CM_ASSERT(args->head_dim == shape->head_dim && args->n_kv_heads == shape->n_kv_heads);
    CM_ASSERT(args->layer < shape->n_layers && args->n_heads % args->n_kv_heads == 0);
    CM_ASSERT(args->n_heads / args->n_kv_heads <= GROUP_HEADS_MAX);
    for (uint32_t i = 0; i < args->n_chunks; i++) {
        CM_ASSERT(args->chunks[i].row_end - args->chunks[i].row_begin <= CM_ATTENTION_CHUNK_ROWS);
    }
    uint32_t items_count = args->n_chunks * args->n_kv_heads;
    size_t visits_count = 0;
    for (uint32_t i = 0; i < args->n_chunks; i++) {
        visits_count += (size_t)(args->chunks[i].visit_end - args->chunks[i].visit_begin);
    }
    size_t page_elements = 2 * CM_PAGE_TOKENS * (size_t)args->head_dim;
    cm_rows_run(backend, attend_items, args, items_count,
                visits_count * page_elements / (args->n_chunks > 0 ? args->n_chunks : 1));
}
