/* Values out of the element types of model files: plain types and the block types of the GGUF
 * specification (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), bit for bit.
 *
 * Every block type is a sequence of groups of 32 values; inside a group
 *     value[i] = scales[i / 16] * codes[i] (+ offset, where the type has one)
 * with both scales equal in all types but Q6_K. The int8 matmul keeps codes and scales as they are,
 * so decoding into groups serves it and the float paths alike.
 */
#ifndef CM_KERNELS_CPU_QUANTS_H
#define CM_KERNELS_CPU_QUANTS_H

#include "base/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CM_QUANT_GROUP = 32 };

struct cm_quant_group {
    int8_t codes[CM_QUANT_GROUP];
    float scales[2]; /* of codes 0..15 and 16..31 */
    float offset;    /* 0 where cm_quants_has_offset is false */
};

/* True for the block types, false for F32, F16 and BF16. */
bool cm_quants_is_block_type(enum cm_dtype dtype);
bool cm_quants_has_offset(enum cm_dtype dtype);

/* Group `group_index` of a row of a block type. `row` needs no alignment. */
void cm_quants_decode_group(enum cm_dtype dtype, const void *row, size_t group_index,
                            struct cm_quant_group *group);

/* The first `elements` values of a row of any type; a multiple of 32 for the block types. */
void cm_quants_dequantise(enum cm_dtype dtype, const void *row, size_t elements, float *out);

/* IEEE 754 binary16 to binary32: exact, with subnormals, infinities and NaN. */
static inline float cm_float_from_f16(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f; /* from a bias of 15 to one of 127; normalises subnormals on the way */
    memcpy(&bits, &value, sizeof bits);
    if ((half & 0x7c00) == 0x7c00) {
        bits = 0x7f800000 | (uint32_t)(half & 0x3ff) << 13;
    }
    bits |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float cm_float_from_bf16(uint16_t upper)
{
    uint32_t bits = (uint32_t)upper << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest bf16, ties to even; NaN stays NaN. */
static inline uint16_t cm_bf16_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000) {
        return (uint16_t)(bits >> 16 | 0x40);
    }
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
