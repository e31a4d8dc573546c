/* Matmul kernels for AVX-512 with VNNI. Shapes, layouts and order of accumulation:
 * matmul_kernels.h; chosen by cm_cpu_isa_best.
 *
 * A panel is two registers wide. All accumulators of a tile stay in registers: 2 per row for the
 * float formats (12 rows), 2 integers and 2 floats per row for INT8 (7 rows). The number of rows is
 * a constant of each instance, so that the loops over rows unroll and the arrays become registers.
 */
#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

enum { FLOAT_ROWS = 12, INT8_ROWS = 7 };

#define INSTANCE static inline __attribute__((always_inline))
#define UNROLL_ROWS _Pragma("GCC unroll 12")

static const float *float_at(const void *base, size_t floats)
{
    return (const float *)base + floats;
}

/* --- F32 and BF16 --- */

INSTANCE void add_chunk(const struct cm_matmul_tile *tile, uint32_t rows, bool first,
                        const __m512 sums[FLOAT_ROWS][2])
{
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        float *out = tile->out + t * tile->out_stride;
        const float *before = first ? tile->bias : out;
        _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(before), sums[t][0]));
        _mm512_storeu_ps(out + 16, _mm512_add_ps(_mm512_loadu_ps(before + 16), sums[t][1]));
    }
}

INSTANCE void add_products(__m512 w0, __m512 w1, const float *x, uint32_t rows,
                           __m512 sums[FLOAT_ROWS][2])
{
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        __m512 value = _mm512_set1_ps(x[t]);
        sums[t][0] = _mm512_fmadd_ps(w0, value, sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(w1, value, sums[t][1]);
    }
}

INSTANCE void multiply_float_rows(const struct cm_matmul_tile *tile, uint32_t rows, bool bf16)
{
    uint32_t chunk = bf16 ? CM_CHUNK_INPUTS / 2 : CM_CHUNK_INPUTS; /* in units */
    const uint8_t *next = tile->next;
    for (uint32_t begin = 0; begin < tile->units_count; begin += chunk) {
        uint32_t left = tile->units_count - begin;
        uint32_t end = begin + (left < chunk ? left : chunk);
        __m512 sums[FLOAT_ROWS][2];
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            sums[t][0] = sums[t][1] = _mm512_setzero_ps();
        }
        for (uint32_t u = begin; u < end; u++) {
            next = cm_matmul_fetch(next, tile->next_lines);
            const float *w = float_at(tile->weights, (size_t)u * CM_PANEL);
            if (bf16) {
                /* The first input of a pair is the low half of a word. */
                const float *x = float_at(tile->x, (size_t)u * 2 * rows);
                __m512i pairs0 = _mm512_loadu_si512(w);
                __m512i pairs1 = _mm512_loadu_si512(w + 16);
                __m512i high = _mm512_set1_epi32((int)0xffff0000);
                add_products(_mm512_castsi512_ps(_mm512_slli_epi32(pairs0, 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(pairs1, 16)), x, rows, sums);
                add_products(_mm512_castsi512_ps(_mm512_and_si512(pairs0, high)),
                             _mm512_castsi512_ps(_mm512_and_si512(pairs1, high)), x + rows, rows,
                             sums);
            } else {
                add_products(_mm512_loadu_ps(w), _mm512_loadu_ps(w + 16),
                             float_at(tile->x, (size_t)u * rows), rows, sums);
            }
        }
        add_chunk(tile, rows, begin == 0, sums);
    }
}

INSTANCE void multiply_float(const struct cm_matmul_tile *tile, bool bf16)
{
    switch (tile->rows) {
    case 1:
        multiply_float_rows(tile, 1, bf16);
        break;
    case 2:
        multiply_float_rows(tile, 2, bf16);
        break;
    case 3:
        multiply_float_rows(tile, 3, bf16);
        break;
    case 4:
        multiply_float_rows(tile, 4, bf16);
        break;
    case 5:
        multiply_float_rows(tile, 5, bf16);
        break;
    case 6:
        multiply_float_rows(tile, 6, bf16);
        break;
    case 7:
        multiply_float_rows(tile, 7, bf16);
        break;
    case 8:
        multiply_float_rows(tile, 8, bf16);
        break;
    case 9:
        multiply_float_rows(tile, 9, bf16);
        break;
    case 10:
        multiply_float_rows(tile, 10, bf16);
        break;
    case 11:
        multiply_float_rows(tile, 11, bf16);
        break;
    default:
        multiply_float_rows(tile, 12, bf16);
        break;
    }
}

static void multiply_f32(const struct cm_matmul_tile *tile)
{
    multiply_float(tile, false);
}

static void multiply_bf16(const struct cm_matmul_tile *tile)
{
    multiply_float(tile, true);
}

/* --- INT8 --- */

/* sums[i] += w[4i..4i+3] (unsigned) . x[0..3] (signed). Written out because GCC 12 moves the
 * intrinsic's operands through the stack, which costs two thirds of the speed. */
INSTANCE void add_dots(__m512i *sums, __m512i w, const int32_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sums) : "v"(w), "m"(*x));
}

INSTANCE void multiply_int8_rows(const struct cm_matmul_tile *tile, uint32_t rows, bool has_minima)
{
    const uint8_t *weights = tile->weights;
    size_t unit_bytes = sizeof(struct cm_int8_unit) + (has_minima ? CM_PANEL * sizeof(float) : 0);
    const int32_t *x = tile->x;
    __m512 sums[INT8_ROWS][2];
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        sums[t][0] = _mm512_loadu_ps(tile->bias);
        sums[t][1] = _mm512_loadu_ps(tile->bias + 16);
    }
    const uint8_t *next = tile->next;
    for (uint32_t u = 0; u < tile->units_count; u++) {
        next = cm_matmul_fetch(next, tile->next_lines);
        __m512i dots[INT8_ROWS][2];
        const int32_t *starts = x + CM_INT8_QUADS * rows;
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            dots[t][0] = dots[t][1] = _mm512_set1_epi32(starts[t]);
        }
        _Pragma("GCC unroll 8") for (uint32_t q = 0; q < CM_INT8_QUADS; q++)
        {
            __m512i w0 = _mm512_loadu_si512(weights + q * 128);
            __m512i w1 = _mm512_loadu_si512(weights + q * 128 + 64);
            UNROLL_ROWS
            for (uint32_t t = 0; t < rows; t++) {
                add_dots(&dots[t][0], w0, x + q * rows + t);
                add_dots(&dots[t][1], w1, x + q * rows + t);
            }
        }
        const struct cm_int8_unit *unit = (const void *)weights;
        const float *x_scales = float_at(starts, rows);
        __m512 scale0 = _mm512_loadu_ps(unit->scales);
        __m512 scale1 = _mm512_loadu_ps(unit->scales + 16);
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            __m512 scale = _mm512_set1_ps(x_scales[t]);
            sums[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][0]),
                                         _mm512_mul_ps(scale0, scale), sums[t][0]);
            sums[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][1]),
                                         _mm512_mul_ps(scale1, scale), sums[t][1]);
        }
        if (has_minima) {
            const float *x_sums = float_at(x_scales, rows);
            __m512 minimum0 = _mm512_loadu_ps((const void *)(unit + 1));
            __m512 minimum1 = _mm512_loadu_ps((const float *)(unit + 1) + 16);
            UNROLL_ROWS
            for (uint32_t t = 0; t < rows; t++) {
                __m512 sum = _mm512_set1_ps(x_sums[t]);
                sums[t][0] = _mm512_fmadd_ps(minimum0, sum, sums[t][0]);
                sums[t][1] = _mm512_fmadd_ps(minimum1, sum, sums[t][1]);
            }
        }
        weights += unit_bytes;
        x += rows * sizeof(struct cm_int8_row_unit) / sizeof *x;
    }
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        _mm512_storeu_ps(tile->out + t * tile->out_stride, sums[t][0]);
        _mm512_storeu_ps(tile->out + t * tile->out_stride + 16, sums[t][1]);
    }
}

INSTANCE void multiply_int8_any(const struct cm_matmul_tile *tile, bool has_minima)
{
    switch (tile->rows) {
    case 1:
        multiply_int8_rows(tile, 1, has_minima);
        break;
    case 2:
        multiply_int8_rows(tile, 2, has_minima);
        break;
    case 3:
        multiply_int8_rows(tile, 3, has_minima);
        break;
    case 4:
        multiply_int8_rows(tile, 4, has_minima);
        break;
    case 5:
        multiply_int8_rows(tile, 5, has_minima);
        break;
    case 6:
        multiply_int8_rows(tile, 6, has_minima);
        break;
    default:
        multiply_int8_rows(tile, 7, has_minima);
        break;
    }
}

static void multiply_int8(const struct cm_matmul_tile *tile)
{
    multiply_int8_any(tile, false);
}

static void multiply_int8_min(const struct cm_matmul_tile *tile)
{
    multiply_int8_any(tile, true);
}

const struct cm_matmul_kernels cm_matmul_avx512[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32 },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16 },
    [CM_FORMAT_INT8] = { INT8_ROWS, sizeof(struct cm_int8_row_unit), cm_pack_int8, multiply_int8 },
    [CM_FORMAT_INT8_MIN] = { INT8_ROWS, sizeof(struct cm_int8_row_unit), cm_pack_int8,
                             multiply_int8_min },
};
