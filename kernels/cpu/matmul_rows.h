/* Packing of rows of x into tiles (layouts in matmul_kernels.h). Plain C, included by the kernels
 * of each instruction set so that the compiler vectorises it with that set's flags; no operation
 * here is one that two sets would round differently. */
#ifndef CM_KERNELS_CPU_MATMUL_ROWS_H
#define CM_KERNELS_CPU_MATMUL_ROWS_H

#include "base/memory.h"
#include "kernels/cpu/matmul_kernels.h"

#include <string.h>

static inline float cm_float_of_bits(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int32_t cm_bits_of_float(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Groups of smaller magnitudes count as zero: 127 / largest must not overflow. */
#define CM_INT8_LEAST 1e-30f

/* The largest magnitude, NaN if a value is NaN. */
static inline float cm_int8_largest(const float *x, uint32_t n)
{
    /* Bit patterns of magnitudes are ordered like the magnitudes, NaN last, and a maximum of
     * integers can be vectorised without loosening the float arithmetic. */
    int32_t largest_bits = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t bits = cm_bits_of_float(x[i]) & 0x7fffffff;
        largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    return cm_float_of_bits(largest_bits);
}

/* codes[i] = round((x[i] - offset) * inverse), ties to even */
static inline void cm_int8_round(const float *x, uint32_t n, float offset, float inverse,
                                 int8_t *codes)
{
    for (uint32_t i = 0; i < n; i++) {
        /* 1.5 * 2^23 leaves the sum no bits for a fraction: its low byte is the rounded value. */
        codes[i] = (int8_t)cm_bits_of_float((x[i] - offset) * inverse + 0x1.8p23f);
    }
}

/* The largest magnitude becomes 127. Returns the scale: 0 for a group of (next to) nothing, NaN if
 * a value is NaN. */
static inline float cm_int8_quantise(const float *x, uint32_t n, int8_t *codes)
{
    float largest = cm_int8_largest(x, n);
    if (largest < CM_INT8_LEAST) {
        memset(codes, 0, n);
        return 0.0f;
    }
    cm_int8_round(x, n, 0.0f, 127.0f / largest, codes);
    return largest / 127.0f;
}

/* Integers ordered like the floats they come from, a positive NaN last and a negative one first. */
static inline int32_t cm_ordered_bits(int32_t bits)
{
    return bits ^ (bits >> 31 & 0x7fffffff);
}

/* The same around an offset, which is the middle of the group's range. */
static inline float cm_int8_quantise_offset(const float x[CM_INT8_GROUP],
                                            int8_t codes[CM_INT8_GROUP], float *offset)
{
    int32_t lowest_bits = INT32_MAX;
    int32_t highest_bits = INT32_MIN;
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        int32_t bits = cm_ordered_bits(cm_bits_of_float(x[i]));
        lowest_bits = bits < lowest_bits ? bits : lowest_bits;
        highest_bits = bits > highest_bits ? bits : highest_bits;
    }
    float lowest = cm_float_of_bits(cm_ordered_bits(lowest_bits));
    float highest = cm_float_of_bits(cm_ordered_bits(highest_bits));
    float range = highest - lowest;
    *offset = (highest + lowest) * 0.5f;
    if (range < CM_INT8_LEAST) {
        memset(codes, 0, CM_INT8_GROUP);
        return 0.0f;
    }
    cm_int8_round(x, CM_INT8_GROUP, *offset, 254.0f / range, codes);
    return range / 254.0f;
}

static inline void cm_pack_integers(const float *x, uint32_t n_in, uint32_t rows, bool offsets,
                                    void *tile)
{
    uint32_t units_count = (n_in + CM_INT8_GROUP - 1) / CM_INT8_GROUP;
    size_t unit_bytes = rows * (offsets ? CM_INT8_OFFSET_ROW_UNIT_BYTES : CM_INT8_ROW_UNIT_BYTES);
    for (uint32_t t = 0; t < rows; t++) {
        for (uint32_t u = 0; u < units_count; u++) {
            const float *group = x + (size_t)t * n_in + (size_t)u * CM_INT8_GROUP;
            uint32_t left = n_in - u * CM_INT8_GROUP;
            float padded[CM_INT8_GROUP] = { 0 };
            if (left < CM_INT8_GROUP) {
                memcpy(padded, group, left * sizeof *group);
                group = padded;
            }
            int8_t codes[CM_INT8_GROUP];
            float offset = 0.0f;
            float scale = offsets ? cm_int8_quantise_offset(group, codes, &offset)
                                  : cm_int8_quantise(group, CM_INT8_GROUP, codes);
            int32_t sum = 0;
            for (int i = 0; i < CM_INT8_GROUP; i++) {
                sum += codes[i];
            }
            uint32_t *unit = (uint32_t *)((uint8_t *)tile + u * unit_bytes) + t;
            for (int q = 0; q < CM_INT8_QUADS; q++) {
                memcpy(unit + q * rows, codes + 4 * q, 4);
            }
            unit += CM_INT8_QUADS * rows;
            int32_t start = -CM_INT8_ZERO * sum;
            float scaled_sum = scale * (float)sum;
            memcpy(unit, &start, sizeof start);
            memcpy(unit + rows, &scale, sizeof scale);
            memcpy(unit + 2 * rows, &scaled_sum, sizeof scaled_sum);
            if (offsets) {
                memcpy(unit + 3 * rows, &offset, sizeof offset);
            }
        }
    }
}

static inline void cm_pack_int8(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    cm_pack_integers(x, n_in, rows, false, tile);
}

static inline void cm_pack_int8_offset(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    cm_pack_integers(x, n_in, rows, true, tile);
}

/* One step of a rotation: sums and differences of elements `h` apart. */
static inline void cm_rotate_step(float *x, uint32_t n, uint32_t h)
{
    for (uint32_t i = 0; i < n; i += 2 * h) {
        for (uint32_t j = i; j < i + h; j++) {
            float a = x[j];
            float b = x[j + h];
            x[j] = a + b;
            x[j + h] = a - b;
        }
    }
}

/* x = H S x for n = 64 or 128, S the signs: the fast Walsh-Hadamard transform, in the order that
 * suits registers of 16. */
static inline void cm_rotate(float *x, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = CM_ROTATED_SIGNS[i / 64] >> i % 64 & 1 ? -x[i] : x[i];
    }
    for (uint32_t h = 16; h < n; h *= 2) {
        cm_rotate_step(x, n, h);
    }
    for (uint32_t h = 1; h < 16; h *= 2) {
        cm_rotate_step(x, n, h);
    }
}

/* float x[T] per input; zero up to a multiple of `unit_inputs`. */
static inline void cm_pack_float(const float *x, uint32_t n_in, uint32_t unit_inputs, uint32_t rows,
                                 void *tile)
{
    uint32_t padded = (n_in + unit_inputs - 1) / unit_inputs * unit_inputs;
    for (uint32_t t = 0; t < rows; t++) {
        float *out = (float *)tile + t;
        for (uint32_t k = 0; k < n_in; k++) {
            out[(size_t)k * rows] = x[(size_t)t * n_in + k];
        }
        for (uint32_t k = n_in; k < padded; k++) {
            out[(size_t)k * rows] = 0.0f;
        }
    }
}

static inline void cm_pack_f32(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    cm_pack_float(x, n_in, 1, rows, tile);
}

/* For kernels that widen bf16 weights: x stays float32. */
static inline void cm_pack_f32_pairs(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    cm_pack_float(x, n_in, 2, rows, tile);
}

/* EACH(name, format) for every format of integers, which all kernels have. */
#define CM_EACH_INTEGER_FORMAT(EACH)                 \
    EACH(int8, CM_FORMAT_INT8)                       \
    EACH(int8_min, CM_FORMAT_INT8_MIN)               \
    EACH(int4, CM_FORMAT_INT4)                       \
    EACH(int4_min, CM_FORMAT_INT4_MIN)               \
    EACH(int8_offset, CM_FORMAT_INT8_OFFSET)         \
    EACH(int8_min_offset, CM_FORMAT_INT8_MIN_OFFSET) \
    EACH(int4_offset, CM_FORMAT_INT4_OFFSET)         \
    EACH(int4_min_offset, CM_FORMAT_INT4_MIN_OFFSET)

#endif
