/* Places in the order of a row's elements (falling keys, ties by rising id): the first element at
 * which a running measure reaches a target. Every element measures 1, or its weight's mass.
 *
 * Nothing sorts a row. One pass adds the measures up in bins of the key, in shared memory; the bin
 * in which the target is reached is known by their running sum, and a second pass lists its
 * elements, which are sorted. A bin of more than LIST elements is cut into bins again, and where
 * they all have one key the place among the ties is counted.
 *
 * The best of a row need no bins: as many of its greatest elements as are wanted are not farther
 * from the best than as many threads' own best are. */
#ifndef CM_KERNELS_CUDA_ORDER_H
#define CM_KERNELS_CUDA_ORDER_H

#include "kernels/cuda/row.h"

enum {
    DIGIT_BITS = 10,    /* of the key, in all bins but the first of weights */
    DISTANCE_BITS = 18, /* of a float, that do not matter in a distance from the best */
};

static_assert(BINS >= 1 << DIGIT_BITS && BINS % 2 == 0 && BINS <= 2 * THREADS, "room for bins");

/* --- The list --- */

/* Behind a barrier that follows the last look at the list; a barrier before the first element. */
static __device__ __forceinline__ void clear_list(struct scratch *scratch)
{
    scratch->ranks[threadIdx.x] = 0;
    if (threadIdx.x == 0) {
        scratch->count = 0;
    }
}

static __device__ __forceinline__ void append(mass_t item, struct scratch *scratch)
{
    uint32_t at = atomicAdd(&scratch->count, 1u);
    if (at < LIST) {
        scratch->items[at] = item;
    }
}

/* Gives each of the first `count` items the key that key_of_item makes of its key. Behind a
 * barrier. */
template <class Key>
static __device__ __forceinline__ void rekey(uint32_t count, Key key_of_item,
                                             struct scratch *scratch)
{
    if (threadIdx.x < count) {
        mass_t item = scratch->items[threadIdx.x];
        scratch->items[threadIdx.x] = order_of(key_of_item(key_in(item)), (uint32_t)item);
        scratch->ranks[threadIdx.x] = 0;
    }
    __syncthreads();
}

/* Puts the first `count` items in order, each behind as many as are less. Ranks are 0 and behind a
 * barrier, as the items are. */
static __device__ __forceinline__ void sort(uint32_t count, struct scratch *scratch)
{
    uint32_t slices = THREADS / count;
    uint32_t slice = threadIdx.x / count;
    uint32_t place = threadIdx.x % count;
    mass_t item = scratch->items[place];
    uint32_t rank = 0;
    for (uint32_t i = slice; slice < slices && i < count; i += slices) {
        rank += scratch->items[i] < item;
    }
    if (slice < slices) {
        atomicAdd(&scratch->ranks[place], rank);
    }
    __syncthreads();
    if (slice == 0) {
        scratch->items[scratch->ranks[place]] = item;
    }
    __syncthreads();
}

/* Running measures of the sorted items, on top of what lies above. */
template <class Measure>
static __device__ __forceinline__ void run(uint32_t count, Measure measure, struct scratch *scratch)
{
    mass_t above = scratch->above;
    mass_t own = threadIdx.x < count ? measure(key_in(scratch->items[threadIdx.x])) : 0;
    scratch->runs[threadIdx.x] = above + running_sum(own, scratch);
    __syncthreads();
}

/* The first of `count` whose run(i) is at least `target`; `count` where none is. */
template <class Run>
static __device__ __forceinline__ uint32_t first_reaching(uint32_t count, mass_t target, Run run)
{
    uint32_t begin = 0;
    uint32_t end = count;
    while (begin < end) {
        uint32_t middle = (begin + end) / 2;
        bool reached = run(middle) >= target;
        end = reached ? middle : end;
        begin = reached ? begin : middle + 1;
    }
    return begin;
}

/* --- Near the best --- */

/* A distance from the best within which at least `wanted` threads have their own best; the greatest
 * finite one where fewer have one. */
static __device__ __forceinline__ float distance_of(const struct best &best, uint32_t wanted)
{
    uint32_t own = __float_as_uint(best.highest - best.own); /* from 0 to infinity, or NaN */
    uint32_t bits = 0;
    for (uint32_t bit = 1u << 30; bit >= 1u << DISTANCE_BITS; bit /= 2) {
        bool within = own < (bits | bit);
        bits |= (uint32_t)__syncthreads_count(within) < wanted ? bit : 0;
    }
    bits |= (1u << DISTANCE_BITS) - 1;
    return bits < __float_as_uint(FLT_MAX) ? __uint_as_float(bits) : FLT_MAX;
}

/* Lists all elements within the distance for `wanted`. Returns the greatest that is left out. */
static __device__ __forceinline__ float list_near(const struct row &row, const struct best &best,
                                                  uint32_t wanted, struct scratch *scratch)
{
    clear_list(scratch);
    float distance = distance_of(best, wanted); /* with barriers */
    float rest = -INFINITY;
    each<4>(row, [&](uint32_t i, float x) {
        if (best.highest - x <= distance) {
            append(order_of(key_of(x), i), scratch);
        } else {
            rest = fmaxf(rest, x);
        }
    });
    return value_of(key_in(block_least(order_of(key_of(rest), 0), scratch)));
}

/* --- Bins --- */

/* The keys from `top` down to `top - last`, in bins of 1 << shift. */
struct keys {
    uint32_t top;
    uint32_t last;
    uint32_t shift;
};

static __device__ __forceinline__ uint32_t bins_of(const struct keys &keys)
{
    return (keys.last >> keys.shift) + 1;
}

/* The keys of one bin, to be cut into bins again. */
static __device__ __forceinline__ struct keys keys_in(const struct keys &keys, uint32_t bin)
{
    uint32_t shift = keys.shift > DIGIT_BITS ? keys.shift - DIGIT_BITS : 0;
    return { keys.top - (bin << keys.shift), (1u << keys.shift) - 1, shift };
}

/* The running measure at the end of a bin, once it is binned. */
static __device__ __forceinline__ mass_t bin_run(uint32_t bin, const struct scratch *scratch)
{
    return (mass_t)scratch->high[bin] << 32 | scratch->low[bin];
}

static __device__ __forceinline__ void set_bin_run(uint32_t bin, mass_t run,
                                                   struct scratch *scratch)
{
    scratch->low[bin] = (uint32_t)run;
    scratch->high[bin] = (uint32_t)(run >> 32);
}

/* An Order has these:
 *     add(bin, key, scratch)      one element's measure into the sum of its bin
 *     sum_of(keys, bin, scratch)  that sum
 *     measure(key)                of an element
 *     each(keys, look)            look(i, key) for the thread's elements with such keys
 *     list(keys, scratch)         lists those of all threads, and others with the key 0; returns
 *                                 how many there are, of which the list holds LIST at most */

/* One pass, then every bin has its running measure. Behind a barrier that follows the last look at
 * the bins. */
template <class Order>
static __device__ __forceinline__ void fill_bins(const Order &order, const struct keys &keys,
                                                 struct scratch *scratch)
{
    for (uint32_t i = threadIdx.x; i < BINS; i += THREADS) {
        scratch->low[i] = 0;
        scratch->high[i] = 0;
    }
    __syncthreads();
    order.each(keys, [&](uint32_t, uint32_t key) {
        order.add((keys.top - key) >> keys.shift, key, scratch);
    });
    __syncthreads();
    uint32_t bin = 2 * threadIdx.x;
    mass_t first = bin < bins_of(keys) ? order.sum_of(keys, bin, scratch) : 0;
    mass_t second = bin + 1 < bins_of(keys) ? order.sum_of(keys, bin + 1, scratch) : 0;
    mass_t end = running_sum(first + second, scratch);
    if (bin < BINS) {
        set_bin_run(bin, end - second, scratch);
        set_bin_run(bin + 1, end, scratch);
    }
    __syncthreads();
}

/* --- Places --- */

struct place {
    uint32_t key;
    uint32_t id;
    mass_t run; /* the running measure with this element */
};

/* The `ordinal`-th element (from 1) that has this one key, by rising id. Looks at all elements:
 * behind barriers. */
template <class Order>
static __device__ __forceinline__ uint32_t id_of_tie(const Order &order, uint32_t key,
                                                     mass_t ordinal, struct scratch *scratch)
{
    uint32_t share = (order.row.n + THREADS - 1) / THREADS;
    uint32_t begin = threadIdx.x * share;
    uint32_t end = begin + share < order.row.n ? begin + share : order.row.n;
    uint32_t count = 0;
    for (uint32_t i = begin; i < end; i++) {
        count += order.key_at(i) == key;
    }
    mass_t before = running_sum(count, scratch) - count;
    if (before < ordinal && ordinal <= before + count) {
        for (uint32_t i = begin; i < end; i++) {
            before += order.key_at(i) == key;
            if (before == ordinal) {
                scratch->found = i;
                break;
            }
        }
    }
    __syncthreads();
    return scratch->found;
}

/* The first element of the order whose running measure is at least target_of(measure of all), which
 * is no more than that; with key 0 where it is 0. `is_binned` tells whether the bins hold all of
 * the order's keys, before and after. */
template <class Order, class Target>
static __device__ __forceinline__ struct place
place_reaching(const Order &order, Target target_of, bool *is_binned, struct scratch *scratch)
{
    struct keys keys = order.all();
    mass_t target = 0; /* beyond what lies above */
    uint32_t count = 0;
    for (bool is_first = true;; is_first = false) {
        if (!is_first || !*is_binned) {
            fill_bins(order, keys, scratch);
        }
        *is_binned = is_first;
        target = is_first ? target_of(bin_run(BINS - 1, scratch)) : target;
        if (target == 0) {
            return {};
        }
        uint32_t bin =
            first_reaching(bins_of(keys), target, [&](uint32_t i) { return bin_run(i, scratch); });
        mass_t above = bin > 0 ? bin_run(bin - 1, scratch) : 0;
        target -= above;
        if (threadIdx.x == 0) {
            scratch->above = is_first ? above : scratch->above + above;
        }
        keys = keys_in(keys, bin);
        count = order.list(keys, scratch);
        if (count <= LIST) {
            break;
        }
        if (keys.last == 0) {
            mass_t measure = order.measure(keys.top);
            mass_t ordinal = (target + measure - 1) / measure;
            mass_t run = scratch->above + ordinal * measure;
            return { keys.top, id_of_tie(order, keys.top, ordinal, scratch), run };
        }
    }
    sort(count, scratch);
    target += scratch->above;
    run(
        count, [&](uint32_t key) { return order.measure(key); }, scratch);
    uint32_t at = first_reaching(count, target, [&](uint32_t i) { return scratch->runs[i]; });
    return { key_in(scratch->items[at]), (uint32_t)scratch->items[at], scratch->runs[at] };
}

/* --- The best --- */

/* Elements by their value over a divisor, each of which measures 1. */
struct by_value {
    struct row row;
    float divisor;

    __device__ __forceinline__ struct keys all() const
    {
        return { UINT32_MAX, UINT32_MAX, 32 - DIGIT_BITS };
    }
    __device__ __forceinline__ uint32_t key_at(uint32_t i) const
    {
        return key_of(row.x[i] / divisor);
    }
    template <class Look>
    __device__ __forceinline__ void each(const struct keys &keys, Look look) const
    {
        ::each<1>(row, [&](uint32_t i, float x) {
            uint32_t key = key_of(x / divisor);
            if (keys.top - key <= keys.last) {
                look(i, key);
            }
        });
    }
    __device__ __forceinline__ uint32_t list(const struct keys &keys, struct scratch *scratch) const
    {
        clear_list(scratch);
        __syncthreads();
        each(keys, [&](uint32_t i, uint32_t key) { append(order_of(key, i), scratch); });
        __syncthreads();
        return scratch->count;
    }
    __device__ __forceinline__ void add(uint32_t bin, uint32_t, struct scratch *scratch) const
    {
        atomicAdd(&scratch->low[bin], 1u);
    }
    __device__ __forceinline__ mass_t sum_of(const struct keys &, uint32_t bin,
                                             const struct scratch *scratch) const
    {
        return scratch->low[bin];
    }
    __device__ __forceinline__ mass_t measure(uint32_t) const
    {
        return 1;
    }
};

/* Lists the `wanted` best of the row in order, NaN last; both at most LIST. */
static __device__ __forceinline__ void list_best(const struct row &row, const struct best &best,
                                                 uint32_t wanted, struct scratch *scratch)
{
    list_near(row, best, wanted, scratch);
    uint32_t count = scratch->count;
    if (count < wanted || count > LIST) {
        struct by_value order = { row, 1.0f };
        bool is_binned = false;
        struct place last = place_reaching(
            order, [&](mass_t) { return wanted; }, &is_binned, scratch);
        clear_list(scratch);
        __syncthreads();
        each<1>(row, [&](uint32_t i, float x) {
            mass_t item = order_of(key_of(x), i);
            if (item <= order_of(last.key, last.id)) {
                append(item, scratch);
            }
        });
        __syncthreads();
        count = wanted;
    }
    sort(count, scratch);
}

#endif
