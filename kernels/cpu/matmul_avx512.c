/* Matmul kernels for AVX-512 with VNNI. Shapes, layouts and order of accumulation:
 * matmul_kernels.h; chosen by cm_cpu_isa_best.
 *
 * A panel is two registers wide. All accumulators of a tile stay in registers: 2 per row for the
 * float formats (12 rows), 2 integers and 2 floats per row for integers (7 rows). The number of
 * rows is a constant of each instance, so that the loops over rows unroll and the arrays become
 * registers.
 */
#include "kernels/cpu/matmul_rows_avx512.h"

enum { FLOAT_ROWS = 12, INT8_ROWS = 7 };

#define UNROLL_ROWS _Pragma("GCC unroll 12")

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

/* --- Rotated --- */

/* sums[i] += w[4i..4i+3] (unsigned) . x[0..3] (signed). Written out because GCC 12 moves the
 * intrinsic's operands through the stack, which costs two thirds of the speed. */
INSTANCE void add_dots(__m512i *sums, __m512i w, const int32_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sums) : "v"(w), "m"(*x));
}

/* dots[t][:] += codes . x[t] over a unit */
INSTANCE void add_unit_dots(const uint8_t *codes, const int32_t *x, uint32_t rows, uint32_t quads,
                            __m512i dots[INT8_ROWS][2])
{
    _Pragma("GCC unroll 8") for (uint32_t q = 0; q < quads; q++)
    {
        __m512i w0 = _mm512_loadu_si512(codes + (size_t)q * CM_PANEL * 4);
        __m512i w1 = _mm512_loadu_si512(codes + (size_t)q * CM_PANEL * 4 + 64);
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            add_dots(&dots[t][0], w0, x + q * rows + t);
            add_dots(&dots[t][1], w1, x + q * rows + t);
        }
    }
}

/* sums += dots * scales of x * scales of the columns */
INSTANCE void scale_dots(const float *scales, const float *x_scales, uint32_t rows,
                         const __m512i dots[INT8_ROWS][2], __m512 sums[INT8_ROWS][2])
{
    __m512 scale0 = _mm512_loadu_ps(scales);
    __m512 scale1 = _mm512_loadu_ps(scales + 16);
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        __m512 scale = _mm512_set1_ps(x_scales[t]);
        sums[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][0]), _mm512_mul_ps(scale0, scale),
                                     sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][1]), _mm512_mul_ps(scale1, scale),
                                     sums[t][1]);
    }
}

INSTANCE void multiply_rotated_rows(const struct cm_matmul_tile *tile, uint32_t rows, uint32_t n)
{
    const uint32_t quads = n / 4;
    const uint8_t *weights = tile->weights;
    const int32_t *x = tile->x;
    __m512 sums[INT8_ROWS][2];
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        sums[t][0] = _mm512_loadu_ps(tile->bias);
        sums[t][1] = _mm512_loadu_ps(tile->bias + 16);
    }
    const uint8_t *next = tile->next;
    const uint8_t *coming = tile->coming;
    for (uint32_t u = 0; u < tile->units_count; u++) {
        next = cm_matmul_fetch(next, tile->next_lines);
        coming = cm_matmul_fetch(coming, tile->coming_lines);
        const int32_t *starts = x + quads * rows;
        __m512i dots[INT8_ROWS][2];
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            dots[t][0] = dots[t][1] = _mm512_set1_epi32(starts[t]);
        }
        add_unit_dots(weights, x, rows, quads, dots);
        weights += CM_PANEL * n;
        scale_dots((const float *)(const void *)weights, float_at(starts, rows), rows, dots, sums);
        weights += CM_PANEL * sizeof(float);
        x = starts + 2 * rows;
    }
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        float *out = tile->out + t * tile->out_stride;
        if (tile->past_caches) {
            _mm512_stream_ps(out, sums[t][0]);
            _mm512_stream_ps(out + 16, sums[t][1]);
        } else {
            _mm512_storeu_ps(out, sums[t][0]);
            _mm512_storeu_ps(out + 16, sums[t][1]);
        }
    }
}

INSTANCE void multiply_rotated(const struct cm_matmul_tile *tile, uint32_t n)
{
    switch (tile->rows) {
    case 1:
        multiply_rotated_rows(tile, 1, n);
        break;
    case 2:
        multiply_rotated_rows(tile, 2, n);
        break;
    case 3:
        multiply_rotated_rows(tile, 3, n);
        break;
    case 4:
        multiply_rotated_rows(tile, 4, n);
        break;
    case 5:
        multiply_rotated_rows(tile, 5, n);
        break;
    case 6:
        multiply_rotated_rows(tile, 6, n);
        break;
    default:
        multiply_rotated_rows(tile, 7, n);
        break;
    }
}

#define KERNELS(n)                                                                         \
    static void pack_rotated_##n(const float *x, uint32_t n_in, uint32_t rows, void *tile) \
    {                                                                                      \
        pack_rotated(x, n_in, rows, n, tile);                                              \
    }                                                                                      \
    static void multiply_rotated_##n(const struct cm_matmul_tile *tile)                    \
    {                                                                                      \
        multiply_rotated(tile, n);                                                         \
    }

KERNELS(64)
KERNELS(128)

/* The other formats of integers are for other instruction sets. */
const struct cm_matmul_kernels cm_matmul_avx512[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32 },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16 },
    [CM_FORMAT_ROTATED_64] = { INT8_ROWS, 64 + 8, pack_rotated_64, multiply_rotated_64 },
    [CM_FORMAT_ROTATED_128] = { INT8_ROWS, 128 + 8, pack_rotated_128, multiply_rotated_128 },
};
