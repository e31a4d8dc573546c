/* Sixteen floats as one value, for ops that are written once and compiled for each instruction set.
 *
 * Every operation works lane by lane and rounds once, so a lane's result is the same in a full
 * vector and in a tail; v16_fma rounds once where the set has a fused multiply-add, twice in plain
 * C. v16_sum and v16_highest fold the lanes as a tree: halves, quarters, eighths, pairs. Memory
 * needs no alignment. */
#ifndef CM_KERNELS_CPU_VECTOR_H
#define CM_KERNELS_CPU_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { V16_LANES = 16 };

#define ALWAYS_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "kernels/cpu/vector_avx512.h"
#elif defined(__AVX2__)
#include "kernels/cpu/vector_avx2.h"
#else
#include "kernels/cpu/vector_portable.h"
#endif

#if !defined(V16_PAIRS)
#define V16_PAIRS 0 /* no dot products of pairs of 16 bits */
#endif

#if !defined(__AVX512F__)
/* Lane k is the sum, or the highest lane, of values[k]; n <= 8, the other lanes are undefined. */
static inline v16 v16_sum_each(const v16 *values, uint32_t n)
{
    float sums[V16_LANES] = { 0 };
    for (uint32_t k = 0; k < n; k++) {
        sums[k] = v16_sum(values[k]);
    }
    return v16_load(sums);
}

static inline v16 v16_highest_each(const v16 *values, uint32_t n)
{
    float highest[V16_LANES] = { 0 };
    for (uint32_t k = 0; k < n; k++) {
        highest[k] = v16_highest(values[k]);
    }
    return v16_load(highest);
}
#endif

static inline v16 v16_zero(void)
{
    return v16_set(0.0f);
}

/* exp(x) within 1.2 ulp, 0 below -104, infinity above 88.73. With n = round(x / ln 2) it is
 * 2^n * exp(r), |r| <= ln(2) / 2, by the polynomial of degree 6 that begins with 1 + r and whose
 * relative error is least: 3e-9. The first part of ln 2 has nine bits, so that n times it is
 * exact. */
static inline v16 v16_exp(v16 x)
{
    static const float coefficients[] = { 0.0013814540f, 0.0083687451f, 0.0416683908f,
                                          0.1666652040f, 0.4999999343f, 1.0f,
                                          1.0f };
    x = v16_min(v16_max(x, v16_set(-105.0f)), v16_set(89.0f));
    v16 n = v16_round(v16_mul(x, v16_set(1.44269504f)));
    v16 r = v16_fma(n, v16_set(-0.693359375f), x);
    r = v16_fma(n, v16_set(2.12194440e-4f), r);
    v16 sum = v16_set(coefficients[0]);
    for (size_t i = 1; i < sizeof coefficients / sizeof coefficients[0]; i++) {
        sum = v16_fma(sum, r, v16_set(coefficients[i]));
    }
    return v16_scale(sum, n);
}

/* The sixteen sums one after the other. */
static inline double v16_wide_total(v16_wide sums)
{
    double lanes[V16_LANES];
    double total = 0;
    memcpy(lanes, &sums, sizeof lanes);
    for (int i = 0; i < V16_LANES; i++) {
        total += lanes[i];
    }
    return total;
}

/* The first n <= 16 of 16 lanes; the others are zero or stay untouched in memory. */
static inline v16 v16_load_tail(const float *from, size_t n)
{
    return n >= V16_LANES ? v16_load(from) : v16_load_part(from, n);
}

static inline void v16_store_tail(float *to, v16 a, size_t n)
{
    if (n >= V16_LANES) {
        v16_store(to, a);
    } else {
        v16_store_part(to, a, n);
    }
}

#endif
