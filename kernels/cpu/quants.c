#include "kernels/cpu/quants.h"

/* Bytes of a K block (256 values) before and between its fields. */
enum { K_BLOCK_GROUPS = 8, K_SCALES_AT = 4, K_SCALES_BYTES = 12 };

bool cm_quants_is_block_type(enum cm_dtype dtype)
{
    return cm_dtype_info(dtype)->block_elements > 1;
}

bool cm_quants_has_offset(enum cm_dtype dtype)
{
    return dtype == CM_Q4_1 || dtype == CM_Q5_1 || dtype == CM_Q4_K || dtype == CM_Q5_K;
}

static float read_f16(const uint8_t *bytes)
{
    return cm_float_from_f16((uint16_t)(bytes[0] | bytes[1] << 8));
}

static void set_scale(struct cm_quant_group *group, float scale)
{
    group->scales[0] = scale;
    group->scales[1] = scale;
}

/* Low nibbles are values 0..15, high nibbles 16..31. */
static void decode_nibbles(const uint8_t *nibbles, int zero, int8_t *codes)
{
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)((nibbles[i] & 15) - zero);
        codes[i + 16] = (int8_t)((nibbles[i] >> 4) - zero);
    }
}

/* As nibbles, with the fifth bit of value i in bit i of a little-endian word. */
static void decode_5_bits(const uint8_t *fifth_bits, const uint8_t *nibbles, int zero,
                          int8_t *codes)
{
    decode_nibbles(nibbles, 0, codes);
    for (int i = 0; i < 32; i++) {
        int fifth = fifth_bits[i / 8] >> (i % 8) & 1;
        codes[i] = (int8_t)(codes[i] + 16 * fifth - zero);
    }
}

/* Q4_K and Q5_K: a 6-bit scale and a 6-bit minimum for each of 8 groups. The first four of both lie
 * in the low 6 bits of bytes 0..7; the last four have their low 4 bits in bytes 8..11 and their
 * high 2 bits on top of bytes 0..7. */
static void decode_k_scale(const uint8_t *block, size_t index, struct cm_quant_group *group)
{
    const uint8_t *packed = block + K_SCALES_AT;
    int scale;
    int minimum;
    if (index < 4) {
        scale = packed[index] & 63;
        minimum = packed[index + 4] & 63;
    } else {
        scale = (packed[index + 4] & 15) | (packed[index - 4] >> 6) << 4;
        minimum = packed[index + 4] >> 4 | (packed[index] >> 6) << 4;
    }
    set_scale(group, read_f16(block) * (float)scale);
    group->offset = -(read_f16(block + 2) * (float)minimum);
}

/* Q4_K: 32 bytes hold group 2j in the low and group 2j + 1 in the high nibbles. Q5_K: the same, and
 * bit `index` of 32 more bytes is the fifth. */
static void decode_k_nibbles(const uint8_t *nibbles, const uint8_t *fifth_bits, size_t index,
                             int8_t *codes)
{
    nibbles += index / 2 * 32;
    for (int i = 0; i < 32; i++) {
        int code = nibbles[i] >> (index % 2 * 4) & 15;
        int fifth = fifth_bits != NULL ? fifth_bits[i] >> index & 1 : 0;
        codes[i] = (int8_t)(code | fifth << 4);
    }
}

/* Q6_K: each half of the block (4 groups) has 64 bytes of low nibbles and 32 bytes of upper bit
 * pairs; groups 0 and 1 are the low nibbles of the first and second 32 bytes, 2 and 3 the high. */
static void decode_q6_k(const uint8_t *block, size_t index, struct cm_quant_group *group)
{
    size_t half = index / 4;
    size_t quarter = index % 4;
    const uint8_t *nibbles = block + half * 64 + quarter % 2 * 32;
    const uint8_t *pairs = block + 128 + half * 32;
    const uint8_t *scales = block + 192 + index * 2;
    float scale = read_f16(block + 208);
    for (int i = 0; i < 32; i++) {
        int low = nibbles[i] >> (quarter / 2 * 4) & 15;
        int high = pairs[i] >> (quarter * 2) & 3;
        group->codes[i] = (int8_t)((low | high << 4) - 32);
    }
    group->scales[0] = scale * (float)(int8_t)scales[0];
    group->scales[1] = scale * (float)(int8_t)scales[1];
}

void cm_quants_decode_group(enum cm_dtype dtype, const void *row, size_t group_index,
                            struct cm_quant_group *group)
{
    const struct cm_dtype_info *info = cm_dtype_info(dtype);
    size_t groups_per_block = info->block_elements / CM_QUANT_GROUP;
    CM_ASSERT(groups_per_block > 0);
    const uint8_t *block =
        (const uint8_t *)row + group_index / groups_per_block * info->block_bytes;
    size_t index = group_index % groups_per_block;

    group->offset = 0.0f;
    set_scale(group, read_f16(block)); /* where most types have it */
    switch (dtype) {
    case CM_Q4_0:
        decode_nibbles(block + 2, 8, group->codes);
        break;
    case CM_Q4_1:
        group->offset = read_f16(block + 2);
        decode_nibbles(block + 4, 0, group->codes);
        break;
    case CM_Q5_0:
        decode_5_bits(block + 2, block + 6, 16, group->codes);
        break;
    case CM_Q5_1:
        group->offset = read_f16(block + 2);
        decode_5_bits(block + 4, block + 8, 0, group->codes);
        break;
    case CM_Q8_0:
        memcpy(group->codes, block + 2, CM_QUANT_GROUP);
        break;
    case CM_Q4_K:
        decode_k_scale(block, index, group);
        decode_k_nibbles(block + K_SCALES_AT + K_SCALES_BYTES, NULL, index, group->codes);
        break;
    case CM_Q5_K:
        decode_k_scale(block, index, group);
        decode_k_nibbles(block + K_SCALES_AT + K_SCALES_BYTES + 32,
                         block + K_SCALES_AT + K_SCALES_BYTES, index, group->codes);
        break;
    case CM_Q6_K:
        decode_q6_k(block, index, group);
        break;
    default:
        CM_ASSERT(!"a block type");
    }
}

static void dequantise_group(const struct cm_quant_group *group, bool has_offset, float *out)
{
    for (int i = 0; i < CM_QUANT_GROUP; i++) {
        float value = group->scales[i / 16] * (float)group->codes[i];
        /* Adding zero would turn -0 into +0. */
        out[i] = has_offset ? value + group->offset : value;
    }
}

void cm_quants_dequantise(enum cm_dtype dtype, const void *row, size_t elements, float *out)
{
    const uint8_t *bytes = row;
    switch (dtype) {
    case CM_F32:
        memcpy(out, row, elements * sizeof *out);
        return;
    case CM_F16:
    case CM_BF16:
        for (size_t i = 0; i < elements; i++) {
            uint16_t bits = (uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
            out[i] = dtype == CM_F16 ? cm_float_from_f16(bits) : cm_float_from_bf16(bits);
        }
        return;
    default:
        break;
    }
    CM_ASSERT(elements % CM_QUANT_GROUP == 0);
    for (size_t i = 0; i < elements / CM_QUANT_GROUP; i++) {
        struct cm_quant_group group;
        cm_quants_decode_group(dtype, row, i, &group);
        dequantise_group(&group, cm_quants_has_offset(dtype), out + i * CM_QUANT_GROUP);
    }
}
