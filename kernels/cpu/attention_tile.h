/* Attention's arithmetic: a tile of queries against a run of pages. Included by attention.c, which
 * says what is computed and in which order. */
#ifndef CM_KERNELS_CPU_ATTENTION_TILE_H
#define CM_KERNELS_CPU_ATTENTION_TILE_H

#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/vector.h"

#include <math.h>
#include <stdbool.h>

enum {
    RUN_PAGES_MAX = 4, /* keys and values of a run stay in the first cache */
    VECTORS_MAX = 2 * V16_BLOCK,
};

/* How far a score may rise above the maximum before that is raised. */
#define MAXIMUM_SLACK 8.0f

/* Consecutive pages that the same rows visit, of one layer and KV head. */
struct run {
    const unsigned char *keys[RUN_PAGES_MAX];   /* as kv_pool.h has them */
    const unsigned char *values[RUN_PAGES_MAX]; /* the same */
    const float *key_steps[RUN_PAGES_MAX];      /* where keys are words */
    const unsigned char *coming[RUN_PAGES_MAX]; /* keys to fetch meanwhile */
    ptrdiff_t values_distance;                  /* from the keys of a page to its values */
    uint32_t head_dim;
    float scale;
};

/* Queries that see the same slots [begin, end) of a run, and their states. */
struct tile {
    const float *q[V16_TILE];       /* [head_dim] */
    const int16_t *words[V16_TILE]; /* the same where keys are words */
    float word_steps[V16_TILE];
    float *out[V16_TILE];     /* [head_dim] accumulator */
    float *maximum;           /* [queries] */
    float (*sums)[V16_LANES]; /* [queries] */
    uint32_t begin;
    uint32_t end;
};

/* What pages hold: keys and values in float32, or both in float16, or pairs of words and of bf16
 * values, or both as integers of 8 bits. */
enum elements { FLOATS, HALVES, PAIRS, CODES, ELEMENTS_COUNT };

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

/* Of keys and values that are no pairs. */
static ALWAYS_INLINE v16 load_element(const void *from, size_t index, enum elements elements)
{
    return elements == FLOATS  ? v16_load((const float *)from + index)
           : elements == CODES ? v16_load_int8((const int8_t *)from + index)
                               : v16_load_half((const uint16_t *)from + index);
}

static ALWAYS_INLINE size_t element_bytes(enum elements elements)
{
    return elements == FLOATS  ? sizeof(float)
           : elements == CODES ? sizeof(int8_t)
                               : sizeof(uint16_t);
}

static ALWAYS_INLINE void score_page(const struct run *run, uint32_t page, const struct tile *tile,
                                     uint32_t n, enum elements elements, v16 *scores)
{
    /* One pointer moves; what is fetched lies at fixed distances from it. */
    const unsigned char *keys = run->keys[page];
    const ptrdiff_t coming_keys = run->coming[page] - keys;
    const ptrdiff_t coming_values = coming_keys + run->values_distance;
    const size_t dim_bytes = CM_PAGE_TOKENS * element_bytes(elements);
    /* Where keys have steps, sums of a group's codes are multiplied with them and added up. */
    const uint32_t group = elements == CODES ? CM_KV_GROUP : run->head_dim;
    const float *steps = cm_kv_scales(keys, run->head_dim);
    v16 totals[V16_TILE];
    for (uint32_t k = 0; k < n; k++) {
        totals[k] = v16_zero();
    }
    for (size_t first = 0; first < run->head_dim; first += group) {
        v16 even[V16_TILE];
        v16 odd[V16_TILE];
        for (uint32_t k = 0; k < n; k++) {
            even[k] = v16_zero();
            odd[k] = v16_zero();
        }
        for (size_t i = first; i < first + group; i += 2) {
            __builtin_prefetch(keys + coming_keys, 0, 2);
            __builtin_prefetch(keys + coming_values, 0, 2);
            v16 even_keys = load_element(keys, 0, elements);
            v16 odd_keys = load_element(keys + dim_bytes, 0, elements);
            for (uint32_t k = 0; k < n; k++) {
                even[k] = v16_fma(even_keys, v16_set(tile->q[k][i]), even[k]);
                odd[k] = v16_fma(odd_keys, v16_set(tile->q[k][i + 1]), odd[k]);
            }
            keys += 2 * dim_bytes;
        }
        for (uint32_t k = 0; k < n; k++) {
            v16 sum = v16_add(even[k], odd[k]);
            totals[k] = elements == CODES
                            ? v16_fma(sum, v16_load(steps + first / CM_KV_GROUP * CM_PAGE_TOKENS),
                                      totals[k])
                            : sum;
        }
    }
    struct span span = span_of_page(tile, page);
    for (uint32_t k = 0; k < n; k++) {
        v16 score = v16_mul(totals[k], v16_set(run->scale));
        scores[k] = v16_keep(score, span.begin, span.end, -INFINITY);
    }
}

#if V16_PAIRS
/* The same with words; two sums each, since dots take longer than there are queries sometimes. */
static ALWAYS_INLINE void score_words(const struct run *run, uint32_t page, const struct tile *tile,
                                      uint32_t n, v16 *scores)
{
    enum { PAIR_BYTES = CM_PAGE_TOKENS * sizeof(uint32_t) };
    const unsigned char *keys = run->keys[page];
    const ptrdiff_t coming_keys = run->coming[page] - keys;
    const ptrdiff_t coming_values = coming_keys + run->values_distance;
    v16_integers sums[V16_TILE][2];
    for (uint32_t k = 0; k < n; k++) {
        sums[k][0] = sums[k][1] = v16_integers_zero();
    }
    /* From their ends back, so that no register is needed for the end of the loop. */
    const int16_t *words[V16_TILE];
    for (uint32_t k = 0; k < n; k++) {
        words[k] = tile->words[k] + run->head_dim;
    }
    for (ptrdiff_t i = -(ptrdiff_t)run->head_dim; i != 0; i += 4) {
        for (uint32_t j = 0; j < 2; j++) {
            __builtin_prefetch(keys + coming_keys, 0, 2);
            __builtin_prefetch(keys + coming_values, 0, 2);
            v16_integers pairs = v16_load_words(keys);
            for (uint32_t k = 0; k < n; k++) {
                v16_add_word_dots(&sums[k][j], pairs, words[k] + i + 2 * j);
            }
            keys += PAIR_BYTES;
        }
    }
    v16 steps = v16_load(run->key_steps[page]);
    struct span span = span_of_page(tile, page);
    for (uint32_t k = 0; k < n; k++) {
        v16 dots = v16_from_integers(v16_integers_add(sums[k][0], sums[k][1]));
        v16 score = v16_mul(v16_mul(dots, steps), v16_set(tile->word_steps[k] * run->scale));
        scores[k] = v16_keep(score, span.begin, span.end, -INFINITY);
    }
}
#endif

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
        if (elements == PAIRS) {
            p = v16_store_rounded_pairs(weights->pairs[k], p);
        }
#endif
        if (elements != PAIRS) {
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
        if (elements == PAIRS) {
            add_pairs(run, page, span, n, first, vectors, of_page, sums);
            continue;
        }
#endif
        /* [head_dim / 16][16]: the steps of dimension i's group begin at i. */
        const float *value_steps = cm_kv_scales(run->values[page], run->head_dim);
        for (int t = span.begin; t < span.end; t++) {
            for (uint32_t j = 0; j < vectors; j++) {
                size_t index = (size_t)t * run->head_dim + first + j * V16_LANES;
                v16 value = load_element(run->values[page], index, elements);
                if (elements == CODES) {
                    value = v16_mul(value, v16_set(value_steps[(first + j * V16_LANES) + t]));
                }
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
#if V16_PAIRS
        if (elements == PAIRS) {
            score_words(run, page, tile, n, scores);
        }
#endif
        if (elements != PAIRS) {
            score_page(run, page, tile, n, elements, scores);
        }
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
    TILE_CASE(n, CODES);  \
    TILE_CASE(n, PAIRS)
#else
#define TILE_CASES(n)     \
    TILE_CASE(n, FLOATS); \
    TILE_CASE(n, HALVES); \
    TILE_CASE(n, CODES)
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

#endif
