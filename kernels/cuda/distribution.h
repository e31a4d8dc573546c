/* A row of logits as a distribution: what temperature, top-k, top-p and min-p leave of it, and the
 * token at which its running mass reaches a target (order.h). The row is only read. Shared by
 * sample.cu and beam.cu; every function here is called by the whole block.
 *
 * With a top-k that the list can hold, one pass lists what it keeps, and the rest happens there.
 * Else one pass bins the masses of all, and each place takes one more: only elements whose logit
 * may weigh what is looked for have their weight computed. */
#ifndef CM_KERNELS_CUDA_DISTRIBUTION_H
#define CM_KERNELS_CUDA_DISTRIBUTION_H

#include "kernels/cuda/controls.h"
#include "kernels/cuda/order.h"

/* --- Keys of weights --- */

enum {
    WEIGHT_KEY_TOP = 0x3fffffff,   /* below 2 */
    WEIGHT_KEY_LEAST = 0x2b800000, /* 2^-40 */
    WEIGHT_BIN_BITS = 18,          /* 23 of a binade over BINS_A_BINADE */
    WHOLE_EXPONENT = 110,          /* from here on a significand is a whole number of 2^-40 */
};

static_assert(BINS_A_BINADE << WEIGHT_BIN_BITS == 1 << 23, "bins do not cross powers of two");
static_assert(WEIGHT_KEY_TOP - (BINS << WEIGHT_BIN_BITS) + 1 == WEIGHT_KEY_LEAST, "all have a bin");

/* A weight from 2^-40 to 1 is its own key. Its significand, less what a mass cuts off ... */
static __device__ __forceinline__ uint32_t significand_of(uint32_t key)
{
    uint32_t exponent = key >> 23;
    uint32_t significand = (key & 0x7fffffu) | 0x800000u;
    return significand >> (exponent < WHOLE_EXPONENT ? WHOLE_EXPONENT - exponent : 0);
}

/* ... and by how many bits the mass is more. */
static __device__ __forceinline__ uint32_t mass_shift_of(uint32_t key)
{
    uint32_t exponent = key >> 23;
    return exponent < WHOLE_EXPONENT ? 0 : exponent - WHOLE_EXPONENT;
}

static __device__ __forceinline__ mass_t mass_of_key(uint32_t key)
{
    return key < WEIGHT_KEY_LEAST ? 0 : (mass_t)significand_of(key) << mass_shift_of(key);
}

/* The elements of a row by their weight, each of which measures its mass. */
struct by_weight {
    struct row row;
    float temperature;
    float highest; /* over the temperature */
    float lowest;  /* over the temperature: what is less weighs 0 */

    __device__ __forceinline__ uint32_t key_of_scaled(float scaled) const
    {
        return scaled >= lowest ? __float_as_uint(expf(scaled - highest)) : 0; /* 0 for NaN */
    }
    __device__ __forceinline__ uint32_t key_of_logit(float x) const
    {
        return key_of_scaled(x / temperature);
    }
    /* A logit from which on, or up to which, such a weight may come. Far wider than the roundings
     * of x / temperature - highest, of exp and of this. */
    __device__ __forceinline__ float logit_near(uint32_t key, float direction) const
    {
        float slack = 1e-4f + 1e-6f * fabsf(highest);
        return temperature * (highest + logf(__uint_as_float(key)) + direction * slack);
    }
    __device__ __forceinline__ struct keys all() const
    {
        return { WEIGHT_KEY_TOP, WEIGHT_KEY_TOP - WEIGHT_KEY_LEAST, WEIGHT_BIN_BITS };
    }
    __device__ __forceinline__ uint32_t key_at(uint32_t i) const
    {
        return key_of_logit(row.x[i]);
    }
    template <class Look>
    __device__ __forceinline__ void each(const struct keys &keys, Look look) const
    {
        float least = logit_near(keys.top - keys.last, -1.0f);
        float most = logit_near(keys.top, 1.0f);
        ::each<2>(row, [&](uint32_t i, float x) {
            if (x >= least && x <= most) {
                uint32_t key = key_of_logit(x);
                if (keys.top - key <= keys.last) {
                    look(i, key);
                }
            }
        });
    }
    /* First by logits, whose weights few threads then compute. */
    __device__ __forceinline__ uint32_t list(const struct keys &keys, struct scratch *scratch) const
    {
        float least = logit_near(keys.top - keys.last, -1.0f);
        float most = logit_near(keys.top, 1.0f);
        clear_list(scratch);
        __syncthreads();
        ::each<3>(row, [&](uint32_t i, float x) {
            if (x >= least && x <= most) {
                append(order_of(key_of(x), i), scratch);
            }
        });
        __syncthreads();
        uint32_t count = scratch->count;
        rekey(
            count,
            [&](uint32_t logit_key) {
                uint32_t key = key_of_logit(value_of(logit_key));
                return keys.top - key <= keys.last ? key : 0;
            },
            scratch);
        return count;
    }
    /* Significands: a carry out of 32 bits is rare. */
    __device__ __forceinline__ void add(uint32_t bin, uint32_t key, struct scratch *scratch) const
    {
        uint32_t significand = significand_of(key);
        if (atomicAdd(&scratch->low[bin], significand) > UINT32_MAX - significand) {
            atomicAdd(&scratch->high[bin], 1u);
        }
    }
    __device__ __forceinline__ mass_t sum_of(const struct keys &keys, uint32_t bin,
                                             const struct scratch *scratch) const
    {
        return bin_run(bin, scratch) << mass_shift_of(keys.top - (bin << keys.shift));
    }
    __device__ __forceinline__ mass_t measure(uint32_t key) const
    {
        return mass_of_key(key);
    }
};

/* --- What is left of a row --- */

/* In shared memory: what registers would hold through every pass. */
struct distribution {
    struct by_weight order;
    uint32_t count; /* all that top-k keeps is in the list, so many with running masses; 0: not */
    mass_t kept;    /* by min-p and, once it is reached, top-p; more than all without them */
};

/* Lists what top-k keeps as weights, where that is certain. */
static __device__ __forceinline__ void list_top_k(struct distribution *d, uint32_t k,
                                                  const struct best &best, struct scratch *scratch)
{
    float rest = list_near(d->order.row, best, k, scratch);
    uint32_t count = scratch->count;
    if (count > LIST) {
        return;
    }
    float temperature = d->order.temperature;
    rekey(
        count, [&](uint32_t key) { return key_of(value_of(key) / temperature); }, scratch);
    sort(count, scratch);
    float lowest = count >= k ? value_of(key_in(scratch->items[k - 1])) : -INFINITY;
    if (rest / temperature >= lowest && rest > -INFINITY) {
        return;
    }
    if (threadIdx.x == 0) {
        d->order.lowest = lowest;
        d->count = count;
        scratch->above = 0;
    }
    __syncthreads(); /* all have seen the lowest, and know it */
    rekey(
        count, [&](uint32_t key) { return d->order.key_of_scaled(value_of(key)); }, scratch);
    sort(count, scratch);
    run(count, mass_of_key, scratch);
}

/* Mass of the weights that are not less than a positive one up to 1. */
static __device__ __forceinline__ mass_t mass_from(const struct distribution *d, float least,
                                                   struct scratch *scratch)
{
    uint32_t key = __float_as_uint(least);
    if (d->count > 0) { /* up to the first item whose key is less: ~key rises along the list */
        uint32_t end = first_reaching(d->count, (mass_t)~key + 1,
                                      [&](uint32_t i) { return scratch->items[i] >> 32; });
        return scratch->runs[end - 1];
    }
    key = key > WEIGHT_KEY_LEAST ? key : (uint32_t)WEIGHT_KEY_LEAST;
    mass_t sum = 0;
    d->order.each({ WEIGHT_KEY_TOP, WEIGHT_KEY_TOP - key, 0 },
                  [&](uint32_t, uint32_t weight) { sum += mass_of_key(weight); });
    return block_sum(sum, scratch);
}

static __device__ __forceinline__ float weight_min_of(const struct cm_sample_row &controls)
{
    return fminf(controls.min_p, 1.0f);
}

/* Of a row whose best is finite under its temperature. */
static __device__ __forceinline__ void set_distribution(struct distribution *d,
                                                        const struct row &row,
                                                        const struct cm_sample_row &controls,
                                                        const struct best &best,
                                                        struct scratch *scratch)
{
    if (threadIdx.x == 0) {
        float temperature = controls.temperature;
        *d = { { row, temperature, best.highest / temperature, -INFINITY }, 0, UINT64_MAX };
    }
    __syncthreads();
    bool has_top_k = controls.top_k > 0 && controls.top_k < row.n;
    if (has_top_k && controls.top_k <= LIST) {
        list_top_k(d, controls.top_k, best, scratch);
    }
    if (has_top_k && d->count == 0) {
        struct by_value values = { d->order.row, d->order.temperature };
        bool is_binned = false;
        auto target = [&](mass_t) { return controls.top_k; };
        struct place last = place_reaching(values, target, &is_binned, scratch);
        if (threadIdx.x == 0) {
            d->order.lowest = last.key > 0 ? value_of(last.key) : -INFINITY;
        }
        __syncthreads();
    }
    float weight_min = weight_min_of(controls);
    if (weight_min > 0.0f) {
        mass_t heavy = mass_from(d, weight_min, scratch);
        if (threadIdx.x == 0) {
            d->kept = heavy;
        }
        __syncthreads();
    }
}

/* The first token at which the running mass reaches target_of(the mass of all); with key 0 where
 * that is 0. `is_binned` is false at first, and kept for the next call. */
template <class Target>
static __device__ __forceinline__ struct place reach(const struct distribution *d, Target target_of,
                                                     bool *is_binned, struct scratch *scratch)
{
    if (d->count == 0) {
        return place_reaching(d->order, target_of, is_binned, scratch);
    }
    uint32_t count = d->count;
    mass_t target = target_of(scratch->runs[count - 1]);
    if (target == 0) {
        return {};
    }
    uint32_t at = first_reaching(count, target, [&](uint32_t i) { return scratch->runs[i]; });
    return { key_in(scratch->items[at]), (uint32_t)scratch->items[at], scratch->runs[at] };
}

/* Where top-p, which is below 1, keeps the last token. */
static __device__ __forceinline__ mass_t target_of_top_p(float top_p, mass_t total)
{
    double wanted = ceil((double)top_p * (double)total);
    mass_t target = wanted > 1.0 ? (mass_t)wanted : 1;
    return target < total ? target : total;
}

static __device__ __forceinline__ mass_t lesser(mass_t a, mass_t b)
{
    return a < b ? a : b;
}

/* `last` is the last token that top-p keeps. */
static __device__ __forceinline__ void keep_up_to(struct distribution *d, const struct place &last)
{
    if (threadIdx.x == 0) {
        d->kept = lesser(d->kept, last.run);
    }
    __syncthreads();
}

/* Where the token at `uniform` of the mass that is kept lies: top-p and min-p keep a beginning of
 * the order. */
static __device__ __forceinline__ mass_t target_of_draw(float uniform, mass_t kept)
{
    return kept > 0 ? (mass_t)((double)uniform * (double)kept) + 1 : 0;
}

/* Takes a token out whose place was reached, and its mass. */
static __device__ __forceinline__ void take_out(struct distribution *d, const struct place &place,
                                                bool is_binned, struct scratch *scratch)
{
    mass_t mass = mass_of_key(place.key);
    __syncthreads(); /* all have found it */
    if (threadIdx.x == 0) {
        d->kept -= mass;
    }
    if (d->count > 0) {
        if (scratch->runs[threadIdx.x] >= place.run) {
            scratch->runs[threadIdx.x] -= mass;
        }
    } else if (threadIdx.x == 0) {
        d->order.row.x[place.id] = -INFINITY;
    }
    for (uint32_t i = 0; is_binned && i < BINS; i += THREADS) {
        uint32_t bin = i + threadIdx.x;
        if (bin < BINS && bin_run(bin, scratch) >= place.run) {
            set_bin_run(bin, bin_run(bin, scratch) - mass, scratch);
        }
    }
    __syncthreads();
}

#endif
