/* Packing of rows of x into tiles of int8 codes with AVX-512, bit for bit as cm_pack_int8 and
 * cm_pack_int8_offset, and the tiles for many rows. Included by matmul_avx512.c. */
#ifndef CM_KERNELS_CPU_MATMUL_ROWS_AVX512_H
#define CM_KERNELS_CPU_MATMUL_ROWS_AVX512_H

#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

#define UNROLL_PACK_ROWS _Pragma("GCC unroll 8")
#define INSTANCE static inline __attribute__((always_inline))

static inline const float *float_at(const void *base, size_t floats)
{
    return (const float *)base + floats;
}

/* A unit of a tile at a time, with its rows side by side: always 8, of which those past the last
 * count as zero. A unit has one or two parts of 32 inputs. */
enum { PACK_ROWS = 8, PARTS_MAX = CM_INT8_WIDE_GROUP / CM_INT8_GROUP };

struct packing {
    const float *x;
    uint32_t n_in;
    uint32_t rows;
    uint32_t parts;
    bool offsets;
    bool many;
    int32_t zero;    /* of the weights' codes */
    uint32_t *units; /* of the tile */
    __mmask16 lanes; /* of the rows */
    __m512i order;   /* see order_of_codes */
};

/* Numbers of a unit's arrays, of which those of codes come first. The offsets come last: where
 * tiles for many rows have their steps, or after those. */
enum { FIELD_STARTS, FIELD_SCALES, FIELD_SUMS, FIELD_STEPS };
enum { FIELD_MAGICS = FIELD_SCALES };

INSTANCE uint32_t offsets_field(bool many)
{
    return FIELD_STEPS + (many ? 1 : 0);
}

INSTANCE uint32_t fields_count(uint32_t quads, bool offsets, bool many)
{
    return quads + offsets_field(many) + (offsets ? 1 : 0);
}

INSTANCE uint32_t *unit_array(const struct packing *packing, uint32_t u, uint32_t array)
{
    const uint32_t quads = packing->parts * CM_INT8_QUADS;
    const uint32_t fields = fields_count(quads, packing->offsets, packing->many);
    return packing->units + ((size_t)u * fields + array) * packing->rows;
}

INSTANCE void store_field(const struct packing *packing, uint32_t u, uint32_t field, __m512i values)
{
    _mm512_mask_storeu_epi32(unit_array(packing, u, packing->parts * CM_INT8_QUADS + field),
                             packing->lanes, values);
}

/* Part `part` of all rows, counted from their start, zero past the end. */
INSTANCE void load_part(const struct packing *packing, uint32_t part, __m512 halves[PACK_ROWS][2])
{
    uint32_t begin = part * CM_INT8_GROUP;
    uint32_t left = packing->n_in - begin;
    uint32_t mask = left < CM_INT8_GROUP ? (1u << left) - 1 : UINT32_MAX;
    const float *group = packing->x + begin;
    UNROLL_PACK_ROWS
    for (uint32_t t = 0; t < PACK_ROWS; t++) {
        halves[t][0] = halves[t][1] = _mm512_setzero_ps();
        if (t < packing->rows) {
            halves[t][0] = _mm512_maskz_loadu_ps((__mmask16)mask, group);
            halves[t][1] = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), group + 16);
            group += packing->n_in;
        }
    }
}

/* Lane t of the result is `op` over the lanes of values[t]: two vectors' halves are folded into
 * one, then two of those, and so on. */
#define FOLD_EACH(op)                                                                           \
    __m512i pairs[4];                                                                           \
    for (uint32_t i = 0; i < 4; i++) { /* [a, b], eight lanes each */                           \
        pairs[i] = op(_mm512_shuffle_i32x4(values[2 * i], values[2 * i + 1], 0x44),             \
                      _mm512_shuffle_i32x4(values[2 * i], values[2 * i + 1], 0xee));            \
    }                                                                                           \
    __m512i fours[2];                                                                           \
    for (uint32_t i = 0; i < 2; i++) { /* [a, b, c, d], four lanes each */                      \
        fours[i] = op(_mm512_shuffle_i32x4(pairs[2 * i], pairs[2 * i + 1], 0x88),               \
                      _mm512_shuffle_i32x4(pairs[2 * i], pairs[2 * i + 1], 0xdd));              \
    }                                                                                           \
    __m512i twos = op(_mm512_unpacklo_epi64(fours[0], fours[1]), /* [a, e], [b, f], ... */      \
                      _mm512_unpackhi_epi64(fours[0], fours[1]));                               \
    __m512i ones = op(twos, _mm512_shuffle_epi32(twos, 0xb1));                                  \
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0); \
    return _mm512_permutexvar_epi32(order, ones)

INSTANCE __m512i largest_each(const __m512i values[PACK_ROWS])
{
    FOLD_EACH(_mm512_max_epi32);
}

INSTANCE __m512i least_each(const __m512i values[PACK_ROWS])
{
    FOLD_EACH(_mm512_min_epi32);
}

/* One lane for each row. */
struct scales {
    __m512 steps;
    __m512 inverses;
    __m512 offsets;
};

/* See cm_int8_step_up. */
INSTANCE void step_up(__m512 wanted, struct scales *scales)
{
    __m512i bits = _mm512_castps_si512(wanted);
    bits = _mm512_andnot_si512(_mm512_set1_epi32(CM_SCALE_STEP_BITS),
                               _mm512_add_epi32(bits, _mm512_set1_epi32(CM_SCALE_STEP_BITS)));
    bits = _mm512_mask_mov_epi32(
        bits, _mm512_cmpgt_epi32_mask(bits, _mm512_set1_epi32(CM_SCALE_BITS_MAX)),
        _mm512_set1_epi32(CM_NOT_A_NUMBER_BITS));
    __mmask16 some = _mm512_test_epi32_mask(bits, bits);
    scales->steps = _mm512_castsi512_ps(bits);
    scales->inverses = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), scales->steps);
}

/* A NaN is not less. */
INSTANCE __mmask16 is_some(__m512 a)
{
    return _knot_mask16(_mm512_cmp_ps_mask(a, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
}

/* values[t]: `op` over `value` of the bits of row t's inputs, each lane of all parts by itself. */
#define EACH_LANE(op, value)                                                               \
    __m512i values[PACK_ROWS];                                                             \
    UNROLL_PACK_ROWS                                                                       \
    for (uint32_t t = 0; t < PACK_ROWS; t++) {                                             \
        values[t] = op(value(_mm512_castps_si512(halves[0][t][0])),                        \
                       value(_mm512_castps_si512(halves[0][t][1])));                       \
        for (uint32_t part = 1; part < parts; part++) {                                    \
            values[t] = op(values[t], op(value(_mm512_castps_si512(halves[part][t][0])),   \
                                         value(_mm512_castps_si512(halves[part][t][1])))); \
        }                                                                                  \
    }

INSTANCE __m512i magnitude_bits(__m512i bits)
{
    return _mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff));
}

INSTANCE void find_scales(const __m512 halves[PARTS_MAX][PACK_ROWS][2], uint32_t parts,
                          struct scales *scales)
{
    EACH_LANE(_mm512_max_epi32, magnitude_bits);
    __m512 largest = _mm512_castsi512_ps(largest_each(values));
    step_up(_mm512_maskz_div_ps(is_some(largest), largest, _mm512_set1_ps(127.0f)), scales);
    scales->offsets = _mm512_setzero_ps();
}

/* As integers these are ordered like the floats. */
INSTANCE __m512i ordered_bits(__m512i bits)
{
    return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
}

INSTANCE __m512 highest_each(const __m512 halves[PARTS_MAX][PACK_ROWS][2], uint32_t parts)
{
    EACH_LANE(_mm512_max_epi32, ordered_bits);
    return _mm512_castsi512_ps(ordered_bits(largest_each(values)));
}

INSTANCE __m512 lowest_each(const __m512 halves[PARTS_MAX][PACK_ROWS][2], uint32_t parts)
{
    EACH_LANE(_mm512_min_epi32, ordered_bits);
    return _mm512_castsi512_ps(ordered_bits(least_each(values)));
}

INSTANCE void find_scales_offset(const __m512 halves[PARTS_MAX][PACK_ROWS][2], uint32_t parts,
                                 struct scales *scales)
{
    __m512 highest = highest_each(halves, parts);
    __m512 lowest = lowest_each(halves, parts);
    __m512 range = _mm512_sub_ps(highest, lowest);
    step_up(_mm512_maskz_div_ps(is_some(range), range, _mm512_set1_ps(254.0f)), scales);
    scales->offsets = _mm512_mul_ps(_mm512_add_ps(highest, lowest), _mm512_set1_ps(0.5f));
}

/* Two quads of `rows` rows each, one after the other, from [4 quads][rows 0 to 3] and [4 quads]
 * [rows 4 to 7]. */
INSTANCE __m512i order_of_codes(uint32_t rows)
{
    __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i count = _mm512_set1_epi32((int32_t)rows);
    __mmask16 second = _mm512_cmpge_epi32_mask(lanes, count);
    __m512i t = _mm512_mask_sub_epi32(lanes, second, lanes, count);
    __mmask16 high = _mm512_cmpge_epi32_mask(t, _mm512_set1_epi32(4));
    t = _mm512_mask_add_epi32(t, high, t, _mm512_set1_epi32(16 - 4));
    return _mm512_mask_add_epi32(t, second, t, _mm512_set1_epi32(4));
}

/* [4 quads][4 rows] added up over the quads. */
INSTANCE __m512i sum_quads(__m512i a)
{
    a = _mm512_add_epi32(a, _mm512_shuffle_i32x4(a, a, 0x4e));
    return _mm512_add_epi32(a, _mm512_shuffle_i32x4(a, a, 0xb1));
}

/* Codes by rows become codes by quads, from `to` on. Returns each row's sum of codes. */
INSTANCE __m512i store_codes(const struct packing *packing, uint32_t *to,
                             const __m512 halves[PACK_ROWS][2], const struct scales *scales)
{
    __m512i words[PACK_ROWS]; /* quads 0 and 4, 1 and 5, and so on */
    UNROLL_PACK_ROWS
    for (uint32_t t = 0; t < PACK_ROWS; t++) {
        const __m512i lane = _mm512_set1_epi32((int32_t)t);
        __m512 inverse = _mm512_permutexvar_ps(lane, scales->inverses);
        __m512 offset = _mm512_permutexvar_ps(lane, scales->offsets);
        __m512 first = packing->offsets ? _mm512_sub_ps(halves[t][0], offset) : halves[t][0];
        __m512 other = packing->offsets ? _mm512_sub_ps(halves[t][1], offset) : halves[t][1];
        words[t] = _mm512_packs_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(first, inverse)),
                                      _mm512_cvtps_epi32(_mm512_mul_ps(other, inverse)));
    }
    /* Of two rows and quads q and q + 4: [q of the first, q + 4, q of the second, q + 4]. */
    __m512i pairs[PACK_ROWS / 2];
    for (uint32_t i = 0; i < PACK_ROWS / 2; i++) {
        pairs[i] = _mm512_packs_epi16(words[2 * i], words[2 * i + 1]);
    }
    const __m512i ones = _mm512_set1_epi8(1);
    const __m512i first_quads =
        _mm512_setr_epi32(0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30);
    const __m512i other_quads = _mm512_add_epi32(first_quads, _mm512_set1_epi32(1));
    const __m512i other_order = _mm512_add_epi32(packing->order, _mm512_set1_epi32(8));
    const __mmask16 lanes = (__mmask16)((1u << 2 * packing->rows) - 1);
    __m512i low_sums = _mm512_setzero_si512();
    __m512i high_sums = _mm512_setzero_si512();
    for (uint32_t half = 0; half < 2; half++) {
        const __m512i quads = half == 0 ? first_quads : other_quads;
        __m512i low = _mm512_permutex2var_epi32(pairs[0], quads, pairs[1]); /* [quads][rows] */
        __m512i high = _mm512_permutex2var_epi32(pairs[2], quads, pairs[3]);
        low_sums = _mm512_dpbusd_epi32(low_sums, ones, low);
        high_sums = _mm512_dpbusd_epi32(high_sums, ones, high);
        _mm512_mask_storeu_epi32(to, lanes, _mm512_permutex2var_epi32(low, packing->order, high));
        _mm512_mask_storeu_epi32(to + 2 * packing->rows, lanes,
                                 _mm512_permutex2var_epi32(low, other_order, high));
        to += CM_INT8_QUADS / 2 * packing->rows;
    }
    return _mm512_mask_blend_epi32(0xf0, sum_quads(low_sums), sum_quads(high_sums));
}

INSTANCE void pack_unit(const struct packing *packing, uint32_t u)
{
    const uint32_t parts = packing->parts;
    __m512 halves[PARTS_MAX][PACK_ROWS][2];
    struct scales scales;
    load_part(packing, u * parts, halves[0]);
    for (uint32_t part = 1; part < parts; part++) {
        load_part(packing, u * parts + part, halves[part]);
    }
    packing->offsets ? find_scales_offset(halves, parts, &scales)
                     : find_scales(halves, parts, &scales);
    __m512i sums = _mm512_setzero_si512();
    for (uint32_t part = 0; part < parts; part++) {
        uint32_t *to = unit_array(packing, u, part * CM_INT8_QUADS);
        sums = _mm512_add_epi32(sums, store_codes(packing, to, halves[part], &scales));
    }
    __m512i starts = _mm512_mullo_epi32(sums, _mm512_set1_epi32(-packing->zero));
    __m512i bits = _mm512_castps_si512(scales.steps);
    if (packing->many) {
        __m512i exponents = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000));
        __m512i magics = _mm512_add_epi32(exponents, _mm512_set1_epi32((23 << 23) | 0x400000));
        __mmask16 none = _mm512_cmp_ps_mask(scales.steps, scales.steps, _CMP_UNORD_Q);
        magics = _mm512_mask_mov_epi32(magics, none, bits);
        __m512i steps = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(7));
        starts = _mm512_add_epi32(starts, magics);
        store_field(packing, u, FIELD_MAGICS, magics);
        store_field(packing, u, FIELD_STEPS, _mm512_slli_epi32(steps, 7)); /* 32 floats */
    } else {
        store_field(packing, u, FIELD_SCALES, bits);
    }
    store_field(packing, u, FIELD_STARTS, starts);
    store_field(packing, u, FIELD_SUMS,
                _mm512_castps_si512(_mm512_mul_ps(scales.steps, _mm512_cvtepi32_ps(sums))));
    if (packing->offsets) {
        store_field(packing, u, offsets_field(packing->many), _mm512_castps_si512(scales.offsets));
    }
}

INSTANCE void pack_integers(const float *x, uint32_t n_in, uint32_t rows,
                            enum cm_matrix_format format, bool many, int32_t zero, void *tile)
{
    const struct packing packing = {
        .x = x,
        .n_in = n_in,
        .rows = rows,
        .parts = cm_format_group(format) / CM_INT8_GROUP,
        .offsets = cm_format_has_offsets(format),
        .many = many,
        .zero = zero,
        .units = tile,
        .lanes = (__mmask16)((1u << rows) - 1),
        .order = order_of_codes(rows),
    };
    uint32_t group = cm_format_group(format);
    uint32_t units_count = (n_in + group - 1) / group;
    for (uint32_t u = 0; u < units_count; u++) {
        pack_unit(&packing, u);
    }
}

#endif
