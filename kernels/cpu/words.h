/* Queries and keys as words, integers of 16 bits with a step for each head of a row: sums of their
 * products are exact and as fast as those of bf16, whose steps are a hundred times as wide. */
#ifndef CM_KERNELS_CPU_WORDS_H
#define CM_KERNELS_CPU_WORDS_H

#include "kernels/cpu/vector.h"

#include <math.h>

#if V16_PAIRS

/* The length of a vector in steps. So no element, and no part of the product of two vectors, is too
 * large (Cauchy and Schwarz). */
#define CM_WORDS_NORM 32767.0f

/* Shorter vectors count as zero: their squares would lose bits. */
#define CM_WORDS_NORM_LEAST 1e-12f

/* Rounds x [dim], whole vectors of 16, to words. Returns their step: 0 for a vector of (next to)
 * nothing, infinite or NaN where an element is. */
static inline float cm_words_round(const float *x, uint32_t dim, int16_t *words)
{
    v16 squares = v16_zero();
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        v16 value = v16_load(x + i);
        squares = v16_fma(value, value, squares);
    }
    float norm = sqrtf(v16_sum(squares));
    v16 inverse = v16_set(norm < CM_WORDS_NORM_LEAST ? 0.0f : CM_WORDS_NORM / norm);
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        v16_store_words(words + i, v16_mul(v16_load(x + i), inverse));
    }
    return norm < CM_WORDS_NORM_LEAST ? 0.0f : norm / CM_WORDS_NORM;
}

#endif

#endif
