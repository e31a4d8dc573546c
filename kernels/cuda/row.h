/* A row of logits in the hands of one block: passes over it, and what the threads say together.
 * Every function here is called by the whole block.
 *
 * A pass loads 16 bytes at a time, several of them on their way at once in each thread. The
 * elements of a row belong to one thread each, the same in every pass, so passes in which each
 * thread looks at its own need no barrier between them; a function that touches others' has its
 * barriers inside, before and after.
 *
 * Masses are integers, w * 2^40 cut off, added in 64 bits: exact, so no sum depends on its order
 * and a row needs no fixed shape of the block. */
#ifndef CM_KERNELS_CUDA_ROW_H
#define CM_KERNELS_CUDA_ROW_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <float.h>
#include <math.h>

typedef unsigned long long mass_t;

enum {
    THREADS = 1024,
    WARPS = THREADS / 32,
    WINDOW_WORDS = 4096, /* of a bitmap of tokens, which walks over the vocabulary */
    WINDOW_TOKENS = 32 * WINDOW_WORDS,
    LIST = THREADS,     /* elements of the list in order.h */
    BINS_A_BINADE = 32, /* of the weights between two powers of two */
    BINS = 41 * BINS_A_BINADE,
};

static_assert(WARPS == 32, "a warp holds one number of each");

/* The block's shared memory. */
struct scratch {
    mass_t items[LIST]; /* order.h: keys and ids */
    mass_t runs[LIST];
    mass_t partial[WARPS];
    uint32_t ranks[LIST];
    uint32_t low[BINS];
    uint32_t high[BINS];
    uint32_t seen[WINDOW_WORDS];
    uint32_t count; /* of items; more than LIST where some found no place */
    uint32_t found;
    mass_t above; /* order.h: what lies over the keys that are looked at */
    /* For the first thread alone, which would keep them in registers through every pass: */
    float highest;  /* of the last find_best */
    double log_sum; /* of exp of the logits as they came */
};

/* A row's values with the number that they are looked at by. */
struct row {
    float *x; /* [n] */
    uint32_t n;
    uint32_t first_token; /* whose value is x[0]: 0, or of a part of the vocabulary */
};

/* --- Passes --- */

/* look(i, x) for the thread's elements, by rising i; with WRITE what it leaves in x is written.
 * FLIGHT loads are on their way at once: few where the look is long, or rarely wanted. */
template <bool WRITE, uint32_t FLIGHT, class Look>
static __device__ __forceinline__ void visit(const struct row &row, Look look)
{
    uint32_t before = (uint32_t)(-(uintptr_t)row.x % sizeof(float4) / sizeof(float));
    before = before < row.n ? before : row.n; /* elements before the first that is aligned */
    uint32_t quads_count = (row.n - before) / 4;
    float4 *quads = (float4 *)(row.x + before);
    uint32_t i = threadIdx.x;
    if (i < before) {
        float x = row.x[i];
        look(i, x);
        if (WRITE) {
            row.x[i] = x;
        }
    }
    for (uint32_t first = threadIdx.x; first < quads_count; first += FLIGHT * THREADS) {
        float4 quad[FLIGHT];
#pragma unroll
        for (uint32_t j = 0; j < FLIGHT; j++) {
            uint32_t at = first + j * THREADS;
            quad[j] = quads[at < quads_count ? at : first]; /* no condition holds up a load */
        }
#pragma unroll
        for (uint32_t j = 0; j < FLIGHT; j++) {
            uint32_t at = first + j * THREADS;
            if (at < quads_count) {
                i = before + 4 * at;
                look(i, quad[j].x);
                look(i + 1, quad[j].y);
                look(i + 2, quad[j].z);
                look(i + 3, quad[j].w);
                if (WRITE) {
                    quads[at] = quad[j];
                }
            }
        }
    }
    i = before + 4 * quads_count + threadIdx.x;
    if (i < row.n) {
        float x = row.x[i];
        look(i, x);
        if (WRITE) {
            row.x[i] = x;
        }
    }
}

/* look(i, x) */
template <uint32_t FLIGHT, class Look>
static __device__ __forceinline__ void each(const struct row &row, Look look)
{
    visit<false, FLIGHT>(row, [&](uint32_t i, float &x) { look(i, x); });
}

/* x := value(i, x) */
template <uint32_t FLIGHT, class Value>
static __device__ __forceinline__ void change(const struct row &row, Value value)
{
    visit<true, FLIGHT>(row, [&](uint32_t i, float &x) { x = value(i, x); });
}

/* --- Over the whole block --- */

template <class Combine>
static __device__ __forceinline__ mass_t over_warp(mass_t value, Combine combine)
{
    for (int offset = 16; offset > 0; offset /= 2) {
        value = combine(value, __shfl_xor_sync(0xffffffffu, value, offset));
    }
    return value;
}

/* Every thread gets the values of all combined. */
template <class Combine>
static __device__ __forceinline__ mass_t over_block(mass_t value, Combine combine,
                                                    struct scratch *scratch)
{
    value = over_warp(value, combine);
    __syncthreads(); /* an answer before this may still be read */
    if (threadIdx.x % 32 == 0) {
        scratch->partial[threadIdx.x / 32] = value;
    }
    __syncthreads();
    return over_warp(scratch->partial[threadIdx.x % 32], combine);
}

static __device__ __forceinline__ mass_t block_sum(mass_t value, struct scratch *scratch)
{
    return over_block(
        value, [](mass_t a, mass_t b) { return a + b; }, scratch);
}

static __device__ __forceinline__ mass_t block_least(mass_t value, struct scratch *scratch)
{
    return over_block(
        value, [](mass_t a, mass_t b) { return a < b ? a : b; }, scratch);
}

/* The sum over this thread and all before it. Behind a barrier that follows the last answer. */
static __device__ __forceinline__ mass_t running_sum(mass_t value, struct scratch *scratch)
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t warp = threadIdx.x / 32;
    for (uint32_t offset = 1; offset < 32; offset *= 2) {
        mass_t other = __shfl_up_sync(0xffffffffu, value, offset);
        value += lane >= offset ? other : 0;
    }
    if (lane == 31) {
        scratch->partial[warp] = value;
    }
    __syncthreads();
    mass_t before = lane < warp ? scratch->partial[lane] : 0;
    return value + over_warp(before, [](mass_t a, mass_t b) { return a + b; });
}

/* --- Keys, orders and masses --- */

/* Unsigned integers in the order of floats, both zeros alike; NaN below all. */
static __device__ __forceinline__ uint32_t key_of(float value)
{
    uint32_t bits = __float_as_uint(value + 0.0f);
    if (value != value) {
        return 0;
    }
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

static __device__ __forceinline__ float value_of(uint32_t key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

/* A number that rises along the order: falling keys, ties by rising id. */
static __device__ __forceinline__ mass_t order_of(uint32_t key, uint32_t id)
{
    return (mass_t)~key << 32 | id;
}

static __device__ __forceinline__ uint32_t key_in(mass_t order)
{
    return ~(uint32_t)(order >> 32);
}

static __device__ __forceinline__ mass_t mass_of(float weight)
{
    return (mass_t)(weight * 0x1p40f);
}

static __device__ __forceinline__ float float_of_mass(mass_t mass)
{
    return (float)((double)mass * 0x1p-40);
}

/* --- The best, and sums --- */

struct best {
    float own;     /* of this thread's elements; minus infinity where none is greater */
    float highest; /* of the row */
    uint32_t id;   /* the lowest that has it; 0 where it is minus infinity */
};

static __device__ __forceinline__ struct best find_best(const struct row &row,
                                                        struct scratch *scratch)
{
    float own = -INFINITY;
    uint32_t id = 0;
    each<4>(row, [&](uint32_t i, float x) {
        if (x > own) { /* passes over NaN */
            own = x;
            id = i;
        }
    });
    mass_t order = block_least(order_of(key_of(own), id), scratch);
    if (threadIdx.x == 0) {
        scratch->highest = value_of(key_in(order));
    }
    return { own, value_of(key_in(order)), (uint32_t)order };
}

/* The lowest id of the best, also where nothing is greater than minus infinity; 0 for nothing but
 * NaN. */
static __device__ __forceinline__ uint32_t lowest_id(const struct row &row, const struct best &best,
                                                     struct scratch *scratch)
{
    if (best.highest > -INFINITY) {
        return best.id;
    }
    uint32_t id = UINT32_MAX;
    each<1>(row, [&](uint32_t i, float x) { id = x == -INFINITY && i < id ? i : id; });
    id = (uint32_t)block_least(id, scratch);
    return id < row.n ? id : 0;
}

/* Mass of exp(x - highest), of logits nobody has changed yet. */
static __device__ __forceinline__ mass_t logits_mass(const struct row &row, float highest,
                                                     struct scratch *scratch)
{
    mass_t sum = 0;
    each<4>(row, [&](uint32_t, float x) {
        float weight = expf(x - highest);
        sum += weight <= 1.0f ? mass_of(weight) : 0; /* not NaN */
    });
    return block_sum(sum, scratch);
}

/* Log of the sum of exp(x) */
static __device__ __forceinline__ double log_of_mass(mass_t mass, float highest)
{
    return highest + log((double)mass * 0x1p-40);
}

#endif
