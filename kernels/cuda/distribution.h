/* A row of logits on its way to a token, by one block: the controls, and the search for a place in
 * the order of tokens (falling weight, ties by lower id). Shared by sample.cu and beam.cu.
 *
 * Masses are integers, w * 2^40 cut off, added in 64 bits: exact, so no sum depends on its order
 * and a row needs no fixed shape of the block. What top-p and a draw look for is the first token of
 * the order whose running mass reaches a target; it is found without a sort, three bits of the
 * weight at a time: one pass adds the masses over each of the seven thresholds that the next three
 * bits could be, and the largest that reaches the target stays. The k-th largest value is found in
 * the same way, with counts for masses. Every function here is called by the whole block.
 *
 * Element i of a row belongs to thread i % THREADS. Passes in which each thread looks at its own
 * need no barrier between them; a function that touches others' has its barriers inside, before
 * and after. */
#ifndef CM_KERNELS_CUDA_DISTRIBUTION_H
#define CM_KERNELS_CUDA_DISTRIBUTION_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <math.h>

typedef unsigned long long mass_t;

enum {
    THREADS = 512,
    WARPS = THREADS / 32,
    DIGIT_BITS = 3,
    THRESHOLDS = (1 << DIGIT_BITS) - 1,
    WINDOW_WORDS = 4096, /* of a bitmap of tokens, which walks over the vocabulary */
    WINDOW_TOKENS = 32 * WINDOW_WORDS,
};

/* The block's shared memory. */
struct scratch {
    uint32_t seen[WINDOW_WORDS];
    mass_t sums[WARPS][THRESHOLDS];
    float maxima[WARPS];
    uint32_t counts[THREADS];
    uint32_t found;
};

/* A row's values with the number that they are looked at by. */
struct row {
    float *x; /* [n] */
    uint32_t n;
    uint32_t first_token; /* whose value is x[0]: 0, or of a part of the vocabulary */
};

/* --- Over the whole block --- */

static __device__ __forceinline__ float block_maximum(const struct row &row,
                                                      struct scratch *scratch)
{
    float highest = -INFINITY;
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        highest = fmaxf(highest, row.x[i]); /* passes over NaN */
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, offset));
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        scratch->maxima[threadIdx.x / 32] = highest;
    }
    __syncthreads();
    for (uint32_t i = 0; i < WARPS; i++) {
        highest = fmaxf(highest, scratch->maxima[i]);
    }
    return highest;
}

/* Adds each of the N sums over the block; every thread gets all. */
template <int N>
static __device__ __forceinline__ void block_sums(mass_t (&sums)[N], struct scratch *scratch)
{
    static_assert(N <= THRESHOLDS, "room in scratch");
#pragma unroll
    for (int j = 0; j < N; j++) {
        for (int offset = 16; offset > 0; offset /= 2) {
            sums[j] += __shfl_xor_sync(0xffffffffu, sums[j], offset);
        }
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
#pragma unroll
        for (int j = 0; j < N; j++) {
            scratch->sums[threadIdx.x / 32][j] = sums[j];
        }
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < N; j++) {
        sums[j] = 0;
        for (uint32_t i = 0; i < WARPS; i++) {
            sums[j] += scratch->sums[i][j];
        }
    }
}

/* The lowest id with this value; 0 where there is none. `found` must not be in use: behind
 * block_maximum it is not. */
static __device__ __forceinline__ uint32_t lowest_id(const struct row &row, float value,
                                                     struct scratch *scratch)
{
    if (threadIdx.x == 0) {
        scratch->found = UINT32_MAX;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        if (row.x[i] == value) {
            atomicMin(&scratch->found, i);
            break;
        }
    }
    __syncthreads();
    return scratch->found < row.n ? scratch->found : 0;
}

/* --- Masses and keys --- */

static __device__ __forceinline__ mass_t mass_of(float weight)
{
    return (mass_t)(weight * 0x1p40f);
}

static __device__ __forceinline__ float float_of_mass(mass_t mass)
{
    return (float)((double)mass * 0x1p-40);
}

/* Unsigned integers in the order of floats; NaN below all. */
static __device__ __forceinline__ uint32_t key_of(float value)
{
    uint32_t bits = __float_as_uint(value);
    if (value != value) {
        return 0;
    }
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float value_of(uint32_t key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

/* Sum of the masses. */
static __device__ __forceinline__ mass_t total_mass(const struct row &row, struct scratch *scratch)
{
    mass_t sum[1] = { 0 };
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        sum[0] += mass_of(row.x[i]);
    }
    block_sums(sum, scratch);
    return sum[0];
}

/* The largest key such that all elements whose key is not smaller measure at least `target` > 0
 * together; with COUNT each measures 1, else its mass. 0 where all together do not. `above` is the
 * measure of the elements over that key. */
template <bool COUNT>
static __device__ __forceinline__ uint32_t key_reaching(const struct row &row, mass_t target,
                                                        struct scratch *scratch, mass_t *above)
{
    uint32_t key = 0;
    *above = 0;
    for (int shift = 30; shift >= 0; shift -= DIGIT_BITS) {
        mass_t sums[THRESHOLDS] = { 0 };
        for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
            uint32_t digits = key_of(row.x[i]) - key;
            mass_t measure = COUNT ? 1 : mass_of(row.x[i]);
#pragma unroll
            for (uint32_t d = 1; d <= THRESHOLDS; d++) {
                /* 64 bits, since the first digits reach past 32 */
                bool reached = key_of(row.x[i]) >= key && digits >= (mass_t)d << shift;
                sums[d - 1] += reached ? measure : 0;
            }
        }
        block_sums(sums, scratch);
        uint32_t digit = 0;
#pragma unroll
        for (uint32_t d = 1; d <= THRESHOLDS; d++) {
            digit = sums[d - 1] >= target ? d : digit;
        }
#pragma unroll
        for (uint32_t d = 0; d < THRESHOLDS; d++) { /* an index would put the sums on the stack */
            *above = d == digit ? sums[d] : *above;
        }
        key += digit << shift;
    }
    return key;
}

/* The `ordinal`-th element (from 1) that has this value, by rising id. Looks at all elements at
 * once: behind key_reaching, whose sums are barriers. */
static __device__ __forceinline__ uint32_t id_of_tie(const struct row &row, float value,
                                                     mass_t ordinal, struct scratch *scratch)
{
    uint32_t share = (row.n + THREADS - 1) / THREADS;
    uint32_t begin = threadIdx.x * share;
    uint32_t end = begin + share < row.n ? begin + share : row.n;
    uint32_t count = 0;
    for (uint32_t i = begin; i < end; i++) {
        count += row.x[i] == value;
    }
    scratch->counts[threadIdx.x] = count;
    __syncthreads();
    mass_t before = 0;
    for (uint32_t i = 0; i < threadIdx.x; i++) {
        before += scratch->counts[i];
    }
    if (before < ordinal && ordinal <= before + count) {
        for (uint32_t i = begin; i < end; i++) {
            before += row.x[i] == value;
            if (before == ordinal) {
                scratch->found = i;
                break;
            }
        }
    }
    __syncthreads();
    return scratch->found;
}

/* The first token of the order whose running mass is at least `target` > 0. */
struct place {
    float weight;
    uint32_t id;
};

static __device__ __forceinline__ struct place place_reaching(const struct row &row, mass_t target,
                                                              struct scratch *scratch)
{
    mass_t above = 0;
    uint32_t key = key_reaching<false>(row, target, scratch, &above);
    struct place place = { value_of(key), 0 };
    mass_t mass = mass_of(place.weight);
    mass_t ordinal = mass > 0 ? (target - above + mass - 1) / mass : 1;
    place.id = id_of_tie(row, place.weight, ordinal, scratch);
    return place;
}

/* --- Controls --- */

static __device__ __forceinline__ bool is_penalised(const struct cm_sample_row &controls)
{
    return controls.repetition_penalty > 0.0f && controls.repetition_penalty != 1.0f &&
           controls.history_begin < controls.history_end;
}

static __device__ __forceinline__ bool is_masked(const struct cm_sample_row &controls)
{
    bool masked = controls.only_allowed;
    for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
        masked = masked || controls.banned[i].begin < controls.banned[i].end;
    }
    return masked;
}

static __device__ __forceinline__ void clear_seen(struct scratch *scratch)
{
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < WINDOW_WORDS; i += THREADS) {
        scratch->seen[i] = 0;
    }
    __syncthreads();
}

/* Marks a token of the window that begins at `first`; true for the one thread that is the first. */
static __device__ __forceinline__ bool see(uint32_t token, uint32_t first, struct scratch *scratch)
{
    uint32_t offset = token - first;
    if (token < first || offset >= WINDOW_TOKENS) {
        return false;
    }
    uint32_t bit = 1u << offset % 32;
    return (atomicOr(&scratch->seen[offset / 32], bit) & bit) == 0;
}

/* Once per distinct token of the history. */
static __device__ __forceinline__ void penalise(const struct row &row,
                                                const struct cm_sample_row &controls,
                                                const int32_t *history, struct scratch *scratch)
{
    float penalty = controls.repetition_penalty;
    for (uint32_t first = 0; first < row.n; first += WINDOW_TOKENS) {
        clear_seen(scratch);
        for (uint32_t i = controls.history_begin + threadIdx.x; i < controls.history_end;
             i += THREADS) {
            uint32_t token = (uint32_t)history[i] - row.first_token; /* huge if it is before */
            if (token < row.n && see(token, first, scratch)) {
                float x = row.x[token];
                row.x[token] = x < 0 ? x * penalty : x / penalty;
            }
        }
    }
    __syncthreads();
}

static __device__ __forceinline__ void mask(const struct row &row,
                                            const struct cm_sample_row &controls,
                                            const int32_t *ids, struct scratch *scratch)
{
    for (uint32_t first = 0; controls.only_allowed && first < row.n; first += WINDOW_TOKENS) {
        clear_seen(scratch);
        for (uint32_t i = controls.allowed.begin + threadIdx.x; i < controls.allowed.end;
             i += THREADS) {
            see((uint32_t)ids[i] - row.first_token, first, scratch);
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < WINDOW_TOKENS && first + i < row.n; i += THREADS) {
            if ((scratch->seen[i / 32] >> i % 32 & 1) == 0) {
                row.x[first + i] = -INFINITY;
            }
        }
    }
    __syncthreads();
    for (uint32_t list = 0; list < CM_SAMPLE_BANS_MAX; list++) {
        struct cm_id_range banned = controls.banned[list];
        for (uint32_t i = banned.begin + threadIdx.x; i < banned.end; i += THREADS) {
            uint32_t token = (uint32_t)ids[i] - row.first_token;
            if (token < row.n) {
                row.x[token] = -INFINITY;
            }
        }
    }
    __syncthreads();
}

/* x := weights, 0 for what top-k drops; returns their mass. */
static __device__ __forceinline__ mass_t weigh(const struct row &row,
                                               const struct cm_sample_row &controls, float highest,
                                               struct scratch *scratch)
{
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        row.x[i] = row.x[i] / controls.temperature;
    }
    float lowest = -INFINITY;
    if (controls.top_k > 0 && controls.top_k < row.n) {
        mass_t above;
        lowest = value_of(key_reaching<true>(row, controls.top_k, scratch, &above));
    }
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        float x = row.x[i];
        row.x[i] = x >= lowest ? expf(x - highest / controls.temperature) : 0.0f;
    }
    return total_mass(row, scratch);
}

/* Sets what top-p and min-p drop to 0; returns the mass that stays. */
static __device__ __forceinline__ mass_t cut(const struct row &row,
                                             const struct cm_sample_row &controls, mass_t total,
                                             struct scratch *scratch)
{
    struct place last = { 0.0f, UINT32_MAX };
    float weight_min = fminf(controls.min_p, 1.0f);
    if (!(controls.top_p < 1.0f) && !(weight_min > 0.0f)) {
        return total;
    }
    if (controls.top_p < 1.0f) {
        double wanted = ceil((double)controls.top_p * (double)total);
        mass_t target = wanted > 1.0 ? (mass_t)wanted : 1;
        last = place_reaching(row, target < total ? target : total, scratch);
    }
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        float weight = row.x[i];
        bool after = weight < last.weight || (weight == last.weight && i > last.id);
        row.x[i] = after || weight < weight_min ? 0.0f : weight;
    }
    return total_mass(row, scratch);
}

/* Mass of exp(x - highest), of logits nobody has changed yet. */
static __device__ __forceinline__ mass_t logits_mass(const struct row &row, float highest,
                                                     struct scratch *scratch)
{
    mass_t sum[1] = { 0 };
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        float weight = expf(row.x[i] - highest);
        sum[0] += weight <= 1.0f ? mass_of(weight) : 0; /* not NaN */
    }
    block_sums(sum, scratch);
    return sum[0];
}

/* Log of the sum of exp(x) */
static __device__ __forceinline__ double log_of_mass(mass_t mass, float highest)
{
    return highest + log((double)mass * 0x1p-40);
}

/* The logit that a token's weight came from, before temperature and penalty. */
static __device__ __forceinline__ double logit_of(const struct cm_sample_row &controls,
                                                  const int32_t *history, float highest,
                                                  struct place token)
{
    double logit = highest;
    if (token.weight < 1.0f) {
        logit += (double)controls.temperature * log((double)token.weight);
    }
    bool met = false;
    for (uint32_t i = controls.history_begin + threadIdx.x; i < controls.history_end;
         i += THREADS) {
        met = met || history[i] == (int32_t)token.id;
    }
    if (__syncthreads_or(met) != 0 && controls.repetition_penalty > 0.0f) {
        return logit < 0 ? logit / controls.repetition_penalty
                         : logit * controls.repetition_penalty;
    }
    return logit;
}

/* --- The best of a row --- */

struct candidates {
    float values[CM_BEAM_CANDIDATES_MAX];
    uint32_t ids[CM_BEAM_CANDIDATES_MAX]; /* places in the row */
    uint32_t count;
};

/* Fills the candidates with the `wanted` best in no order: all over the wanted-th largest value,
 * and of its ties those with the lowest ids. */
static __device__ __forceinline__ void collect_best(const struct row &row, uint32_t wanted,
                                                    struct candidates *candidates,
                                                    struct scratch *scratch)
{
    mass_t above;
    float lowest = value_of(key_reaching<true>(row, wanted, scratch, &above));
    uint32_t last_id = id_of_tie(row, lowest, wanted - above, scratch);
    if (threadIdx.x == 0) {
        candidates->count = 0;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < row.n; i += THREADS) {
        if (row.x[i] > lowest || (row.x[i] == lowest && i <= last_id)) {
            uint32_t at = atomicAdd(&candidates->count, 1u);
            candidates->values[at] = row.x[i];
            candidates->ids[at] = i;
        }
    }
    __syncthreads();
}

#endif
