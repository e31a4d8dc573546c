/* vector.h in plain C, for any processor and as the meaning of the others. */
#ifndef CM_KERNELS_CPU_VECTOR_PORTABLE_H
#define CM_KERNELS_CPU_VECTOR_PORTABLE_H

#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <string.h>

typedef struct {
    float lane[16];
} v16;

/* Queries, and vectors of values of each, that attention keeps in registers at a time. */
#define V16_TILE 3
enum { V16_BLOCK = 1, V16_SUMS = 3 };

static inline v16 v16_set(float a)
{
    v16 result;
    for (int i = 0; i < 16; i++) {
        result.lane[i] = a;
    }
    return result;
}

static inline v16 v16_load(const float *from)
{
    v16 result;
    memcpy(result.lane, from, sizeof result.lane);
    return result;
}

static inline void v16_store(float *to, v16 a)
{
    memcpy(to, a.lane, sizeof a.lane);
}

static inline v16 v16_load_part(const float *from, size_t n)
{
    v16 result = { { 0 } };
    memcpy(result.lane, from, n * sizeof *from);
    return result;
}

static inline void v16_store_part(float *to, v16 a, size_t n)
{
    memcpy(to, a.lane, n * sizeof *to);
}

static inline v16 v16_load_int8(const int8_t *from)
{
    v16 result;
    for (int i = 0; i < 16; i++) {
        result.lane[i] = (float)from[i];
    }
    return result;
}

static inline v16 v16_load_half(const uint16_t *from)
{
    v16 result;
    for (int i = 0; i < 16; i++) {
        result.lane[i] = cm_float_from_f16(from[i]);
    }
    return result;
}

static inline void v16_store_half(uint16_t *to, v16 a)
{
    for (int i = 0; i < 16; i++) {
        to[i] = cm_half_from_float(a.lane[i]);
    }
}

static inline v16 v16_add(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] + b.lane[i];
    }
    return a;
}

static inline v16 v16_sub(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] - b.lane[i];
    }
    return a;
}

static inline v16 v16_mul(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] * b.lane[i];
    }
    return a;
}

static inline v16 v16_div(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] / b.lane[i];
    }
    return a;
}

/* b where a is NaN */
static inline v16 v16_max(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    }
    return a;
}

static inline v16 v16_min(v16 a, v16 b)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    }
    return a;
}

/* a * b + c */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return v16_add(v16_mul(a, b), c);
}

static inline v16 v16_round(v16 a)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = rintf(a.lane[i]);
    }
    return a;
}

/* a * 2^n for whole n, |n| <= 250; the two powers are normal numbers, so it rounds once. */
static inline v16 v16_scale(v16 a, v16 n)
{
    for (int i = 0; i < 16; i++) {
        int32_t whole = (int32_t)n.lane[i];
        int32_t first = whole >> 1;
        uint32_t bits[2] = { (uint32_t)(first + 127) << 23, (uint32_t)(whole - first + 127) << 23 };
        float powers[2];
        memcpy(powers, bits, sizeof powers);
        a.lane[i] = a.lane[i] * powers[0] * powers[1];
    }
    return a;
}

/* a in lanes [begin, end), `other` elsewhere */
static inline v16 v16_keep(v16 a, int begin, int end, float other)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = i >= begin && i < end ? a.lane[i] : other;
    }
    return a;
}

/* Bit i is set where a[i] >= b[i]; a NaN is not. */
static inline uint32_t v16_at_least(v16 a, v16 b)
{
    uint32_t bits = 0;
    for (int i = 0; i < 16; i++) {
        bits |= (uint32_t)(a.lane[i] >= b.lane[i]) << i;
    }
    return bits;
}

/* a where it is at least `limit`, 0 elsewhere */
static inline v16 v16_keep_at_least(v16 a, v16 limit)
{
    for (int i = 0; i < 16; i++) {
        a.lane[i] = a.lane[i] >= limit.lane[i] ? a.lane[i] : 0.0f;
    }
    return a;
}

/* Sixteen running sums in float64. */
typedef struct {
    double part[16];
} v16_wide;

static inline v16_wide v16_wide_add(v16_wide sums, v16 a)
{
    for (int i = 0; i < 16; i++) {
        sums.part[i] += a.lane[i];
    }
    return sums;
}

static inline float v16_sum(v16 a)
{
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            a.lane[i] += a.lane[i + width];
        }
    }
    return a.lane[0];
}

static inline float v16_highest(v16 a)
{
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            a.lane[i] = a.lane[i] > a.lane[i + width] ? a.lane[i] : a.lane[i + width];
        }
    }
    return a.lane[0];
}

#endif
