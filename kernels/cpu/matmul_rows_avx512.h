/* Packing of rows of x into tiles of the rotated formats with AVX-512, for few rows and for many.
 * Included by matmul_avx512.c. */
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
 * count as zero. */
enum { PACK_ROWS = 8, REGISTERS_MAX = CM_ROTATED_MAX / 16 };

struct packing {
    const float *x;
    uint32_t n_in;
    uint32_t rows;
    uint32_t n; /* inputs of a unit */
    bool many;
    uint32_t *units; /* of the tile */
    __mmask16 lanes; /* of the rows */
    __m512i order;   /* see order_of_codes */
    __m512 signs[REGISTERS_MAX];
};

/* Numbers of a unit's arrays past the codes. */
enum { FIELD_STARTS, FIELD_SCALES, FIELD_STEPS };
enum { FIELD_MAGICS = FIELD_SCALES };

INSTANCE uint32_t fields_count(bool many)
{
    return many ? 3 : 2;
}

/* One step within registers: lanes are exchanged with those `h` away, of which the higher ones are
 * subtracted. Multiplying by 1 and -1 rounds nothing. */
INSTANCE __m512 rotate_lanes(__m512 a, uint32_t h)
{
    __m512 other = h == 1   ? _mm512_permute_ps(a, 0xb1)
                   : h == 2 ? _mm512_permute_ps(a, 0x4e)
                   : h == 4 ? _mm512_shuffle_f32x4(a, a, 0xb1)
                            : _mm512_shuffle_f32x4(a, a, 0x4e);
    const __mmask16 higher = h == 1 ? 0xaaaa : h == 2 ? 0xcccc : h == 4 ? 0xf0f0 : 0xff00;
    const __m512 signs = _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), higher, _mm512_set1_ps(-1.0f));
    return _mm512_fmadd_ps(a, signs, other);
}

/* As cm_rotate, with the same bits, for each `size` of `registers` registers. */
INSTANCE void rotate(__m512 *a, uint32_t registers, uint32_t size)
{
    _Pragma("GCC unroll 3") for (uint32_t h = 1; h < size; h *= 2)
    {
        _Pragma("GCC unroll 16") for (uint32_t i = 0; i < registers; i++)
        {
            if ((i & h) == 0) {
                __m512 low = a[i];
                __m512 high = a[i + h];
                a[i] = _mm512_add_ps(low, high);
                a[i + h] = _mm512_sub_ps(low, high);
            }
        }
    }
    _Pragma("GCC unroll 4") for (uint32_t h = 1; h < 16; h *= 2)
    {
        _Pragma("GCC unroll 16") for (uint32_t i = 0; i < registers; i++)
        {
            a[i] = rotate_lanes(a[i], h);
        }
    }
}

/* A unit's inputs of `rows` rows, `stride` floats apart, rotated, to `to`; and the largest
 * magnitude of each lane, as bits. Two rows at a time keep the processor busier than one. */
INSTANCE void rotate_inputs(const struct packing *packing, const float *x, size_t stride,
                            uint32_t rows, __m512 to[][REGISTERS_MAX], __m512i magnitudes[])
{
    const uint32_t size = packing->n / 16;
    __m512 a[2 * REGISTERS_MAX];
    _Pragma("GCC unroll 16") for (uint32_t i = 0; i < rows * size; i++)
    {
        const float *from = x + i / size * stride + (size_t)16 * (i % size);
        a[i] = _mm512_xor_ps(_mm512_loadu_ps(from), packing->signs[i % size]);
    }
    rotate(a, rows * size, size);
    _Pragma("GCC unroll 2") for (uint32_t t = 0; t < rows; t++)
    {
        __m512i largest = _mm512_setzero_si512();
        _Pragma("GCC unroll 8") for (uint32_t i = 0; i < size; i++)
        {
            __m512 value = a[t * size + i];
            to[t][i] = value;
            largest = _mm512_max_epi32(largest, _mm512_and_si512(_mm512_castps_si512(value),
                                                                 _mm512_set1_epi32(0x7fffffff)));
        }
        magnitudes[t] = largest;
    }
}

/* Lane t of the result is the maximum over the lanes of values[t]: two vectors' halves are folded
 * into one, then two of those, and so on. */
INSTANCE __m512i largest_each(const __m512i values[PACK_ROWS])
{
    __m512i pairs[4];
    for (uint32_t i = 0; i < 4; i++) { /* [a, b], eight lanes each */
        pairs[i] = _mm512_max_epi32(_mm512_shuffle_i32x4(values[2 * i], values[2 * i + 1], 0x44),
                                    _mm512_shuffle_i32x4(values[2 * i], values[2 * i + 1], 0xee));
    }
    __m512i fours[2];
    for (uint32_t i = 0; i < 2; i++) { /* [a, b, c, d], four lanes each */
        fours[i] = _mm512_max_epi32(_mm512_shuffle_i32x4(pairs[2 * i], pairs[2 * i + 1], 0x88),
                                    _mm512_shuffle_i32x4(pairs[2 * i], pairs[2 * i + 1], 0xdd));
    }
    __m512i twos = _mm512_max_epi32(_mm512_unpacklo_epi64(fours[0], fours[1]), /* [a, e], ... */
                                    _mm512_unpackhi_epi64(fours[0], fours[1]));
    __m512i ones = _mm512_max_epi32(twos, _mm512_shuffle_epi32(twos, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_permutexvar_epi32(order, ones);
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

/* 32 inputs: codes by rows become codes by quads, from `to` on, and are added to the sums of rows 0
 * to 3 and 4 to 7, [4 quads][4 rows] each. */
INSTANCE void store_codes(const struct packing *packing, uint32_t *to,
                          const __m512 rotated[PACK_ROWS][REGISTERS_MAX], uint32_t part,
                          const __m512 inverses[PACK_ROWS], __m512i sums[2])
{
    __m512i words[PACK_ROWS]; /* quads 0 and 4, 1 and 5, and so on */
    UNROLL_PACK_ROWS
    for (uint32_t t = 0; t < PACK_ROWS; t++) {
        words[t] = _mm512_packs_epi32(
            _mm512_cvtps_epi32(_mm512_mul_ps(rotated[t][2 * part], inverses[t])),
            _mm512_cvtps_epi32(_mm512_mul_ps(rotated[t][2 * part + 1], inverses[t])));
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
    for (uint32_t half = 0; half < 2; half++) {
        const __m512i quads = half == 0 ? first_quads : other_quads;
        __m512i low = _mm512_permutex2var_epi32(pairs[0], quads, pairs[1]); /* [quads][rows] */
        __m512i high = _mm512_permutex2var_epi32(pairs[2], quads, pairs[3]);
        sums[0] = _mm512_dpbusd_epi32(sums[0], ones, low);
        sums[1] = _mm512_dpbusd_epi32(sums[1], ones, high);
        _mm512_mask_storeu_epi32(to, lanes, _mm512_permutex2var_epi32(low, packing->order, high));
        _mm512_mask_storeu_epi32(to + 2 * packing->rows, lanes,
                                 _mm512_permutex2var_epi32(low, other_order, high));
        to += CM_INT8_QUADS / 2 * packing->rows;
    }
}

INSTANCE void store_field(const struct packing *packing, uint32_t *fields, uint32_t field,
                          __m512i values)
{
    _mm512_mask_storeu_epi32(fields + (size_t)field * packing->rows, packing->lanes, values);
}

/* One lane for each row. */
struct scales {
    __m512 steps;
    __m512 inverses;
};

/* The next number with three bits after the first (matmul_kernels.h). One that is not a number, or
 * too large for the kernels for many rows, is not a number. */
INSTANCE __m512 step_up(__m512 scales)
{
    const __m512i rest = _mm512_set1_epi32((1 << 20) - 1);
    const __m512i most = _mm512_set1_epi32((127 + 100) << 23); /* 2^100 */
    __m512i bits = _mm512_andnot_si512(rest, _mm512_add_epi32(_mm512_castps_si512(scales), rest));
    bits = _mm512_mask_mov_epi32(bits, _mm512_cmpgt_epi32_mask(bits, most),
                                 _mm512_set1_epi32(0x7fc00000));
    return _mm512_castsi512_ps(bits);
}

/* So that the largest magnitudes have codes up to 127. */
INSTANCE struct scales find_scales(__m512 largest)
{
    /* A NaN is not less. */
    __mmask16 some =
        _knot_mask16(_mm512_cmp_ps_mask(largest, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
    __m512 steps = step_up(_mm512_maskz_div_ps(some, largest, _mm512_set1_ps(127.0f)));
    return (struct scales){ steps, _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0f), steps) };
}

INSTANCE void pack_unit(const struct packing *packing, uint32_t u)
{
    const uint32_t quads = packing->n / 4;
    const uint32_t left = packing->n_in - u * packing->n;
    __m512 rotated[PACK_ROWS][REGISTERS_MAX];
    __m512i magnitudes[PACK_ROWS];
    const float *x = packing->x + (size_t)u * packing->n;
    uint32_t t = 0;
    for (; left >= packing->n && t + 1 < packing->rows; t += 2) {
        rotate_inputs(packing, x + (size_t)t * packing->n_in, packing->n_in, 2, rotated + t,
                      magnitudes + t);
    }
    for (; t < packing->rows; t++) {
        const float *row = x + (size_t)t * packing->n_in;
        float padded[CM_ROTATED_MAX];
        if (left < packing->n) {
            memset(padded, 0, sizeof padded);
            memcpy(padded, row, left * sizeof *row);
            row = padded;
        }
        rotate_inputs(packing, row, 0, 1, rotated + t, magnitudes + t);
    }
    for (; t < PACK_ROWS; t++) {
        memset(rotated[t], 0, sizeof rotated[t]);
        magnitudes[t] = _mm512_setzero_si512();
    }
    struct scales scales = find_scales(_mm512_castsi512_ps(largest_each(magnitudes)));
    uint32_t *to =
        packing->units + (size_t)u * (quads + fields_count(packing->many)) * packing->rows;
    __m512 inverses[PACK_ROWS];
    UNROLL_PACK_ROWS
    for (t = 0; t < PACK_ROWS; t++) {
        inverses[t] = _mm512_permutexvar_ps(_mm512_set1_epi32((int32_t)t), scales.inverses);
    }
    __m512i halves[2] = { _mm512_setzero_si512(), _mm512_setzero_si512() };
    for (uint32_t part = 0; part < packing->n / CM_INT8_GROUP; part++) {
        store_codes(packing, to, rotated, part, inverses, halves);
        to += CM_INT8_QUADS * packing->rows;
    }
    __m512i sums = _mm512_mask_blend_epi32(0xf0, sum_quads(halves[0]), sum_quads(halves[1]));
    __m512i starts = _mm512_mullo_epi32(sums, _mm512_set1_epi32(-CM_INT8_ZERO));
    __m512i bits = _mm512_castps_si512(scales.steps);
    if (packing->many) {
        __m512i exponents = _mm512_and_si512(bits, _mm512_set1_epi32(0x7f800000));
        __m512i magics = _mm512_add_epi32(exponents, _mm512_set1_epi32((23 << 23) | 0x400000));
        __mmask16 none = _mm512_cmp_ps_mask(scales.steps, scales.steps, _CMP_UNORD_Q);
        magics = _mm512_mask_mov_epi32(magics, none, bits);
        __m512i steps = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(7));
        starts = _mm512_add_epi32(starts, magics);
        store_field(packing, to, FIELD_MAGICS, magics);
        store_field(packing, to, FIELD_STEPS, _mm512_slli_epi32(steps, 7)); /* 32 floats */
    } else {
        store_field(packing, to, FIELD_SCALES, bits);
    }
    store_field(packing, to, FIELD_STARTS, starts);
}

INSTANCE void pack_rotated(const float *x, uint32_t n_in, uint32_t rows, uint32_t n, bool many,
                           void *tile)
{
    struct packing packing = {
        .x = x,
        .n_in = n_in,
        .rows = rows,
        .n = n,
        .many = many,
        .units = tile,
        .lanes = (__mmask16)((1u << rows) - 1),
        .order = order_of_codes(rows),
    };
    for (uint32_t i = 0; i < n / 16; i++) {
        __mmask16 negated = (__mmask16)(CM_ROTATED_SIGNS[i / 4] >> i % 4 * 16);
        packing.signs[i] = _mm512_maskz_mov_ps(negated, _mm512_set1_ps(-0.0f));
    }
    for (uint32_t u = 0; u * n < n_in; u++) {
        pack_unit(&packing, u);
    }
}

#endif
