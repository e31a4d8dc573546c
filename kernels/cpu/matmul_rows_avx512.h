/* Packing of rows of x into tiles of int8 codes with AVX-512, bit for bit as cm_pack_int8 and
 * cm_pack_int8_offset, and the tiles for many rows. Included by matmul_avx512.c. */
#ifndef CM_KERNELS_CPU_MATMUL_ROWS_AVX512_H
#define CM_KERNELS_CPU_MATMUL_ROWS_AVX512_H

#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

#define INSTANCE static inline __attribute__((always_inline))

static inline const float *float_at(const void *base, size_t floats)
{
    return (const float *)base + floats;
}

/* One group is a long chain of short operations, so they are done in four passes over a few units,
 * with rows side by side where rows are independent. Fields of a unit wait in their places for the
 * next pass: the largest magnitude in that of the scale, its inverse in that of the sum. */
enum { PACK_UNITS = 8 };

struct packing {
    const float *x;
    uint32_t n_in;
    uint32_t rows;
    bool offsets;
    bool many;
    int32_t zero;    /* of the weights' codes */
    uint32_t *units; /* of the tile */
};

/* Numbers of a unit's arrays. The offsets come last: where tiles for many rows have their steps, or
 * after those. */
enum { FIELD_STARTS = CM_INT8_QUADS, FIELD_SCALES, FIELD_SUMS, FIELD_STEPS };
enum { FIELD_MAGICS = FIELD_SCALES };

INSTANCE uint32_t offsets_field(bool many)
{
    return FIELD_STEPS + (many ? 1 : 0);
}

INSTANCE uint32_t fields_count(bool offsets, bool many)
{
    return offsets_field(many) + (offsets ? 1 : 0);
}

INSTANCE uint32_t *unit_field(const struct packing *packing, uint32_t u, uint32_t field)
{
    const uint32_t fields = fields_count(packing->offsets, packing->many);
    return packing->units + ((size_t)u * fields + field) * packing->rows;
}

/* Group u of a row, zero past the end. */
INSTANCE void load_group(const struct packing *packing, uint32_t u, uint32_t t, __m512 halves[2])
{
    uint32_t left = packing->n_in - u * CM_INT8_GROUP;
    uint32_t mask = left < CM_INT8_GROUP ? (1u << left) - 1 : UINT32_MAX;
    const float *group = packing->x + (size_t)t * packing->n_in + (size_t)u * CM_INT8_GROUP;
    halves[0] = _mm512_maskz_loadu_ps((__mmask16)mask, group);
    halves[1] = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), group + 16);
}

INSTANCE void find_largest(const struct packing *packing, uint32_t u)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 halves[2];
        load_group(packing, u, t, halves);
        __m512i bits =
            _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(halves[0]), magnitude),
                             _mm512_and_si512(_mm512_castps_si512(halves[1]), magnitude));
        unit_field(packing, u, FIELD_SCALES)[t] = (uint32_t)_mm512_reduce_max_epi32(bits);
    }
}

INSTANCE __m512i ordered_bits(__m512i bits)
{
    return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
}

/* With offsets: the ends of the range, in the places of the scale and the sum. */
INSTANCE void find_range(const struct packing *packing, uint32_t u)
{
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 halves[2];
        load_group(packing, u, t, halves);
        __m512i first = ordered_bits(_mm512_castps_si512(halves[0]));
        __m512i second = ordered_bits(_mm512_castps_si512(halves[1]));
        unit_field(packing, u, FIELD_SCALES)[t] =
            (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(first, second));
        unit_field(packing, u, FIELD_SUMS)[t] =
            (uint32_t)_mm512_reduce_min_epi32(_mm512_min_epi32(first, second));
    }
}

/* The scale and its inverse; see cm_int8_step_up. */
INSTANCE void store_scales(const struct packing *packing, uint32_t u, __mmask16 lanes,
                           __m512 scales)
{
    __m512i bits = _mm512_castps_si512(scales);
    bits = _mm512_andnot_si512(_mm512_set1_epi32(CM_SCALE_STEP_BITS),
                               _mm512_add_epi32(bits, _mm512_set1_epi32(CM_SCALE_STEP_BITS)));
    bits = _mm512_mask_mov_epi32(
        bits, _mm512_cmpgt_epi32_mask(bits, _mm512_set1_epi32(CM_SCALE_BITS_MAX)),
        _mm512_set1_epi32(CM_NOT_A_NUMBER_BITS));
    __m512 stepped = _mm512_castsi512_ps(bits);
    __mmask16 some = _mm512_test_epi32_mask(bits, bits);
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SCALES), lanes, stepped);
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SUMS), lanes,
                          _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), stepped));
}

INSTANCE void find_scales_offset(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    const __m512 steps = _mm512_set1_ps(254.0f);
    __m512 highest = _mm512_castsi512_ps(
        ordered_bits(_mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, FIELD_SCALES))));
    __m512 lowest = _mm512_castsi512_ps(
        ordered_bits(_mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, FIELD_SUMS))));
    __m512 range = _mm512_sub_ps(highest, lowest);
    __m512 offset = _mm512_mul_ps(_mm512_add_ps(highest, lowest), _mm512_set1_ps(0.5f));
    __mmask16 some =
        _knot_mask16(_mm512_cmp_ps_mask(range, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
    _mm512_mask_storeu_ps(unit_field(packing, u, offsets_field(packing->many)), lanes, offset);
    store_scales(packing, u, lanes, _mm512_maskz_div_ps(some, range, steps));
}

INSTANCE void find_scales(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    const __m512 steps = _mm512_set1_ps(127.0f);
    __m512 largest = _mm512_maskz_loadu_ps(lanes, unit_field(packing, u, FIELD_SCALES));
    /* A NaN is not less. */
    __mmask16 some =
        _knot_mask16(_mm512_cmp_ps_mask(largest, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
    store_scales(packing, u, lanes, _mm512_maskz_div_ps(some, largest, steps));
}

INSTANCE void store_codes(const struct packing *packing, uint32_t u)
{
    const uint32_t *inverses = unit_field(packing, u, FIELD_SUMS);
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 inverse = _mm512_set1_ps(*float_at(inverses, t));
        __m512 halves[2];
        load_group(packing, u, t, halves);
        if (packing->offsets) {
            __m512 offset =
                _mm512_set1_ps(*float_at(unit_field(packing, u, offsets_field(packing->many)), t));
            halves[0] = _mm512_sub_ps(halves[0], offset);
            halves[1] = _mm512_sub_ps(halves[1], offset);
        }
        __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(halves[0], inverse));
        __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(halves[1], inverse));
        uint32_t quads[CM_INT8_QUADS];
        _mm_storeu_si128((__m128i *)quads, _mm512_cvtepi32_epi8(low));
        _mm_storeu_si128((__m128i *)quads + 1, _mm512_cvtepi32_epi8(high));
        uint32_t *to = unit_field(packing, u, 0) + t;
        for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
            to[q * packing->rows] = quads[q];
        }
    }
}

INSTANCE void store_sums(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    __m512i sums = _mm512_setzero_si512();
    for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
        __m512i quads = _mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, q));
        sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), quads);
    }
    __m512 scales = _mm512_maskz_loadu_ps(lanes, unit_field(packing, u, FIELD_SCALES));
    __m512i starts = _mm512_mullo_epi32(sums, _mm512_set1_epi32(-packing->zero));
    if (packing->many) {
        __m512i bits = _mm512_castps_si512(scales);
        __m512i exponents = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000));
        __m512i magics = _mm512_add_epi32(exponents, _mm512_set1_epi32((23 << 23) | 0x400000));
        __mmask16 none = _mm512_cmp_ps_mask(scales, scales, _CMP_UNORD_Q);
        magics = _mm512_mask_mov_epi32(magics, none, bits);
        __m512i steps = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(7));
        steps = _mm512_slli_epi32(steps, 7); /* 32 floats */
        starts = _mm512_add_epi32(starts, magics);
        _mm512_mask_storeu_epi32(unit_field(packing, u, FIELD_MAGICS), lanes, magics);
        _mm512_mask_storeu_epi32(unit_field(packing, u, FIELD_STEPS), lanes, steps);
    }
    _mm512_mask_storeu_epi32(unit_field(packing, u, FIELD_STARTS), lanes, starts);
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SUMS), lanes,
                          _mm512_mul_ps(scales, _mm512_cvtepi32_ps(sums)));
}

INSTANCE void pack_integers(const float *x, uint32_t n_in, uint32_t rows, bool offsets, bool many,
                            int32_t zero, void *tile)
{
    const struct packing packing = { x, n_in, rows, offsets, many, zero, tile };
    uint32_t units_count = (n_in + CM_INT8_GROUP - 1) / CM_INT8_GROUP;
    for (uint32_t begin = 0; begin < units_count; begin += PACK_UNITS) {
        uint32_t end = begin + PACK_UNITS < units_count ? begin + PACK_UNITS : units_count;
        for (uint32_t u = begin; u < end; u++) {
            offsets ? find_range(&packing, u) : find_largest(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            offsets ? find_scales_offset(&packing, u) : find_scales(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            store_codes(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            store_sums(&packing, u);
        }
    }
}

#endif
