/* One row's distribution on its way through the controls, for the ops that choose tokens: passes
 * over the vocabulary, and what top-k, top-p and min-p keep of it. Written once, compiled into each
 * of them per instruction set. */
#ifndef CM_KERNELS_CPU_DISTRIBUTION_H
#define CM_KERNELS_CPU_DISTRIBUTION_H

#include "kernels/cpu/variant.h"

#include "kernels/cpu/candidates.h"
#include "kernels/cpu/vector.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    BLOCK = 256, /* logits per maximum */
    VOCAB_MAX = 1 << 20,
};

/* The tokens up to and with (weight, last_id) in the order; `mass` is their sum. */
struct prefix {
    float weight;
    uint32_t last_id;
    double mass;
};

/* A row on its way: x holds penalised logits first, weights after weigh_all. */
struct row {
    const struct cm_sample_row *controls;
    float *x;
    uint32_t n;
    uint32_t blocks_count;
    float block_highest[VOCAB_MAX / BLOCK];
    float highest;
};

/* --- Passes over the vocabulary --- */

static inline float block_maximum(const float *x, uint32_t n)
{
    v16 lowest = v16_set(-INFINITY);
    v16 highest[2] = { lowest, lowest };
    uint32_t i = 0;
    for (; i + 2 * V16_LANES <= n; i += 2 * V16_LANES) {
        highest[0] = v16_max(v16_load(x + i), highest[0]);
        highest[1] = v16_max(v16_load(x + i + V16_LANES), highest[1]);
    }
    float maximum = v16_highest(v16_max(highest[0], highest[1]));
    for (; i < n; i++) {
        maximum = x[i] > maximum ? x[i] : maximum;
    }
    return maximum;
}

static inline void find_maxima(struct row *row)
{
    row->blocks_count = (row->n + BLOCK - 1) / BLOCK;
    for (uint32_t i = 0; i < row->blocks_count; i++) {
        uint32_t left = row->n - i * BLOCK;
        row->block_highest[i] = block_maximum(row->x + i * BLOCK, left < BLOCK ? left : BLOCK);
    }
    row->highest = block_maximum(row->block_highest, row->blocks_count);
}

static inline uint32_t best_id(const struct row *row)
{
    uint32_t block = 0;
    while (block + 1 < row->blocks_count && row->block_highest[block] != row->highest) {
        block++;
    }
    for (uint32_t i = block * BLOCK; i < row->n; i++) {
        if (row->x[i] == row->highest) {
            return i;
        }
    }
    return 0; /* nothing but NaN */
}

static inline double log_sum_exp(const struct row *row)
{
    double sum = 0;
    for (uint32_t begin = 0; begin < row->n; begin += BLOCK) {
        uint32_t end = row->n - begin < BLOCK ? row->n : begin + BLOCK;
        v16 part = v16_zero();
        for (uint32_t i = begin; i < end; i += V16_LANES) {
            v16 x = v16_sub(v16_load_tail(row->x + i, end - i), v16_set(row->highest));
            v16 weight = v16_exp(x);
            part = v16_add(part, end - i < V16_LANES ? v16_keep(weight, 0, (int)(end - i), 0.0f)
                                                     : weight);
        }
        sum += v16_sum(part);
    }
    return row->highest + log(sum);
}

static inline double mass_at_least(const float *weights, uint32_t n, float value)
{
    v16_wide sums;
    memset(&sums, 0, sizeof sums);
    v16 limit = v16_set(value);
    for (uint32_t i = 0; i < n; i += V16_LANES) {
        sums = v16_wide_add(sums, v16_keep_at_least(v16_load_tail(weights + i, n - i), limit));
    }
    return v16_wide_total(sums);
}

/* Logits that, divided by `divisor`, are at least `value`. */
static inline uint32_t count_at_least(const struct row *row, float divisor, float value)
{
    uint32_t count = 0;
    v16 limit = v16_set(value);
    v16 temperature = v16_set(divisor);
    for (uint32_t i = 0; i < row->n; i += V16_LANES) {
        uint32_t left = row->n - i;
        v16 scaled = v16_div(v16_load_tail(row->x + i, left), temperature);
        uint32_t found = v16_at_least(scaled, limit);
        found &= left < V16_LANES ? (1u << left) - 1 : UINT32_MAX;
        count += (uint32_t)__builtin_popcount(found);
    }
    return count;
}

/* Once per distinct token of the history. */
static inline void penalise(const struct cm_sample_row *controls, const int32_t *history, float *x,
                            uint32_t n)
{
    uint64_t seen[VOCAB_MAX / 64];
    memset(seen, 0, (n + 63) / 64 * sizeof *seen);
    for (uint32_t i = controls->history_begin; i < controls->history_end; i++) {
        uint32_t token = (uint32_t)history[i];
        if (token >= n || (seen[token / 64] >> token % 64 & 1) != 0) {
            continue;
        }
        seen[token / 64] |= (uint64_t)1 << token % 64;
        x[token] = x[token] < 0 ? x[token] * controls->repetition_penalty
                                : x[token] / controls->repetition_penalty;
    }
}

static inline bool is_penalised(const struct cm_sample_row *controls)
{
    return controls->repetition_penalty > 0.0f && controls->repetition_penalty != 1.0f &&
           controls->history_begin < controls->history_end;
}

static inline bool is_masked(const struct cm_sample_row *controls)
{
    bool masked = controls->only_allowed;
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        masked = masked || controls->banned[i].begin < controls->banned[i].end;
    }
    return masked;
}

static inline void mask_all_but(struct cm_id_range allowed, const int32_t *ids, float *x,
                                uint32_t n)
{
    uint32_t next = 0; /* token after the last one allowed */
    for (uint32_t i = allowed.begin; i <= allowed.end; i++) {
        uint32_t token = i < allowed.end ? (uint32_t)ids[i] : n;
        CM_ASSERT(token >= next && token <= n);
        for (; next < token; next++) {
            x[next] = -INFINITY;
        }
        next++;
    }
}

static inline void mask(const struct cm_sample_row *controls, const int32_t *ids, float *x,
                        uint32_t n)
{
    if (controls->only_allowed) {
        mask_all_but(controls->allowed, ids, x, n);
    }
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        for (uint32_t j = controls->banned[i].begin; j < controls->banned[i].end; j++) {
            CM_ASSERT((uint32_t)ids[j] < n);
            x[ids[j]] = -INFINITY;
        }
    }
}

/* --- Candidates --- */

/* Appends block elements divided by `divisor` that are at least `lowest`; false when full. */
static inline bool collect_block(const float *x, uint32_t begin, uint32_t end, float divisor,
                                 float lowest, struct cm_candidates *candidates)
{
    for (uint32_t i = begin; i < end; i += V16_LANES) {
        v16 value = v16_div(v16_load_tail(x + i, end - i), v16_set(divisor));
        uint32_t found = v16_at_least(value, v16_set(lowest));
        if (end - i < V16_LANES) {
            found &= (1u << (end - i)) - 1;
        }
        for (; found != 0; found &= found - 1) {
            uint32_t id = i + (uint32_t)__builtin_ctz(found);
            if (candidates->count == CM_CANDIDATES_MAX) {
                return false;
            }
            candidates->items[candidates->count++] = (struct cm_candidate){ x[id] / divisor, id };
        }
    }
    return true;
}

/* --- Dense: weights of the whole vocabulary --- */

/* Integers in the order of floats, so that a search can halve an interval of values. */
static inline int32_t ordered_bits(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ INT32_MAX : bits;
}

static inline float from_ordered_bits(int64_t ordered)
{
    int32_t bits = (int32_t)ordered;
    float value;
    bits = bits < 0 ? bits ^ INT32_MAX : bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The k-th largest logit over `divisor`, 1 <= k <= n. */
static inline float kth_largest(const struct row *row, float divisor, uint32_t k)
{
    int64_t low = ordered_bits(-INFINITY);
    int64_t high = (int64_t)ordered_bits(INFINITY) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (count_at_least(row, divisor, from_ordered_bits(middle)) >= k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return from_ordered_bits(low);
}

/* x := weights, 0 for what top-k drops; returns their mass. */
static inline double weigh_all(struct row *row)
{
    uint32_t top_k = row->controls->top_k;
    float temperature = row->controls->temperature;
    float lowest = top_k > 0 && top_k < row->n ? kth_largest(row, temperature, top_k) : -INFINITY;
    v16 highest = v16_set(row->highest / temperature);
    for (uint32_t i = 0; i < row->n; i += V16_LANES) {
        uint32_t left = row->n - i;
        v16 value = v16_div(v16_load_tail(row->x + i, left), v16_set(temperature));
        v16_store_tail(row->x + i, v16_exp(v16_sub(value, highest)), left);
        uint32_t dropped = ~v16_at_least(value, v16_set(lowest)) & 0xFFFFu;
        for (; dropped != 0; dropped &= dropped - 1) {
            uint32_t lane = (uint32_t)__builtin_ctz(dropped);
            if (lane < left) {
                row->x[i + lane] = 0.0f;
            }
        }
    }
    return mass_at_least(row->x, row->n, 0.0f);
}

/* The shortest prefix whose mass is over `target`, or all that has weight when none is. */
static inline struct prefix prefix_over(const float *weights, uint32_t n, double target)
{
    int64_t low = 0;
    int64_t high = (int64_t)ordered_bits(1.0f) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (mass_at_least(weights, n, from_ordered_bits(middle)) > target) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct prefix prefix = { .weight = from_ordered_bits(low) };
    prefix.mass = mass_at_least(weights, n, from_ordered_bits(low + 1));
    for (uint32_t i = 0; i < n; i++) {
        if (weights[i] == prefix.weight) {
            prefix.last_id = i;
            prefix.mass += weights[i];
            if (prefix.mass > target) {
                break;
            }
        }
    }
    return prefix;
}

/* Sets what top-p and min-p drop to 0; returns the mass that stays. */
static inline double cut_dense(const struct cm_sample_row *controls, float *weights, uint32_t n,
                               double total)
{
    if (controls->top_p < 1.0f) {
        /* "Not less than" is "over the next lower number". */
        double target = nextafter((double)controls->top_p * total, -INFINITY);
        struct prefix kept = prefix_over(weights, n, target);
        for (uint32_t i = 0; i < n; i++) {
            bool after = weights[i] == kept.weight && i > kept.last_id;
            weights[i] = weights[i] < kept.weight || after ? 0.0f : weights[i];
        }
    }
    float weight_min = fminf(controls->min_p, 1.0f);
    for (uint32_t i = 0; weight_min > 0.0f && i < n; i++) {
        weights[i] = weights[i] < weight_min ? 0.0f : weights[i];
    }
    return mass_at_least(weights, n, 0.0f);
}

#endif
