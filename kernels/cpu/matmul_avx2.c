/* Matmul kernels for AVX2 with FMA. Shapes, layouts and order of accumulation: matmul_kernels.h;
 * chosen by cm_cpu_isa_best.
 *
 * A panel is four registers wide. The float kernels hold a whole panel for up to 3 rows; INT8 goes
 * through the panel 8 columns at a time, with an integer and a float accumulator for up to 4 rows.
 */
#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

enum { FLOAT_ROWS = 3, INT8_ROWS = 4, VECTORS = CM_PANEL / 8 };

#define INSTANCE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 4")

/* --- F32 and BF16 --- */

INSTANCE void add_products(const __m256 w[VECTORS], const float *x, uint32_t rows,
                           __m256 sums[FLOAT_ROWS][VECTORS])
{
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        __m256 value = _mm256_broadcast_ss(x + t);
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            sums[t][v] = _mm256_fmadd_ps(w[v], value, sums[t][v]);
        }
    }
}

/* The inputs of one unit: one of F32, or the two of a BF16 pair, the first in the low half. */
INSTANCE void add_unit(const void *weights, const float *x, uint32_t rows, bool bf16,
                       __m256 sums[FLOAT_ROWS][VECTORS])
{
    __m256 w[VECTORS];
    UNROLL
    for (int v = 0; v < VECTORS; v++) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)weights + v);
        w[v] = _mm256_castsi256_ps(bf16 ? _mm256_slli_epi32(bits, 16) : bits);
    }
    add_products(w, x, rows, sums);
    if (bf16) {
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            __m256i bits = _mm256_loadu_si256((const __m256i *)weights + v);
            w[v] = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int)0xffff0000)));
        }
        add_products(w, x + rows, rows, sums);
    }
}

INSTANCE void multiply_float_rows(const struct cm_matmul_tile *tile, uint32_t rows, bool bf16)
{
    uint32_t unit_inputs = bf16 ? 2 : 1;
    uint32_t chunk = CM_CHUNK_INPUTS / unit_inputs;
    const uint8_t *weights = tile->weights;
    const uint8_t *next = tile->next;
    const float *x = tile->x;
    for (uint32_t begin = 0; begin < tile->units_count; begin += chunk) {
        uint32_t left = tile->units_count - begin;
        uint32_t units = left < chunk ? left : chunk;
        __m256 sums[FLOAT_ROWS][VECTORS];
        UNROLL
        for (uint32_t t = 0; t < rows; t++) {
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                sums[t][v] = _mm256_setzero_ps();
            }
        }
        for (uint32_t u = 0; u < units; u++) {
            next = cm_matmul_fetch(next, tile->next_lines);
            add_unit(weights, x, rows, bf16, sums);
            weights += CM_PANEL * 4;
            x += unit_inputs * rows;
        }
        for (uint32_t t = 0; t < rows; t++) {
            float *out = tile->out + t * tile->out_stride;
            const float *before = begin == 0 ? tile->bias : out;
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                _mm256_storeu_ps(out + 8 * v,
                                 _mm256_add_ps(_mm256_loadu_ps(before + 8 * v), sums[t][v]));
            }
        }
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
    default:
        multiply_float_rows(tile, 3, bf16);
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

/* dots[t] += codes (unsigned) . x (signed) over four inputs. vpmaddubsw would saturate; bytes of
 * even and odd position are widened to 16 bits instead, where vpmaddwd is exact. */
INSTANCE void add_quad(const uint8_t *codes, const int32_t *x, uint32_t rows,
                       __m256i dots[INT8_ROWS])
{
    __m256i w = _mm256_loadu_si256((const __m256i *)codes);
    __m256i w_even = _mm256_and_si256(w, _mm256_set1_epi16(0x00ff));
    __m256i w_odd = _mm256_srli_epi16(w, 8);
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        __m256i quad = _mm256_set1_epi32(x[t]);
        __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(quad, 8), 8);
        __m256i x_odd = _mm256_srai_epi16(quad, 8);
        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(w_even, x_even));
        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(w_odd, x_odd));
    }
}

/* Columns [column, column + 8) of the panel. */
INSTANCE void multiply_int8_columns(const struct cm_matmul_tile *tile, uint32_t column,
                                    uint32_t rows, bool has_minima)
{
    const uint8_t *weights = tile->weights;
    size_t unit_bytes = sizeof(struct cm_int8_unit) + (has_minima ? CM_PANEL * sizeof(float) : 0);
    const int32_t *x = tile->x;
    __m256 sums[INT8_ROWS];
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        sums[t] = _mm256_loadu_ps(tile->bias + column);
    }
    for (uint32_t u = 0; u < tile->units_count; u++) {
        const struct cm_int8_unit *unit = (const void *)(weights + u * unit_bytes);
        const float *minima = (const void *)(unit + 1);
        const int32_t *starts = x + CM_INT8_QUADS * rows;
        const float *x_scales = (const void *)(starts + rows);
        const float *x_sums = x_scales + rows;
        __m256i dots[INT8_ROWS];
        UNROLL
        for (uint32_t t = 0; t < rows; t++) {
            dots[t] = _mm256_set1_epi32(starts[t]);
        }
        for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
            add_quad(unit->codes[q][column], x + q * rows, rows, dots);
        }
        __m256 scales = _mm256_loadu_ps(unit->scales + column);
        UNROLL
        for (uint32_t t = 0; t < rows; t++) {
            __m256 scale = _mm256_mul_ps(scales, _mm256_broadcast_ss(x_scales + t));
            sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), scale, sums[t]);
            if (has_minima) {
                sums[t] = _mm256_fmadd_ps(_mm256_loadu_ps(minima + column),
                                          _mm256_broadcast_ss(x_sums + t), sums[t]);
            }
        }
        x += rows * sizeof(struct cm_int8_row_unit) / sizeof *x;
    }
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        _mm256_storeu_ps(tile->out + t * tile->out_stride + column, sums[t]);
    }
}

INSTANCE void multiply_int8_any(const struct cm_matmul_tile *tile, bool has_minima)
{
    for (uint32_t column = 0; column < CM_PANEL; column += 8) {
        switch (tile->rows) {
        case 1:
            multiply_int8_columns(tile, column, 1, has_minima);
            break;
        case 2:
            multiply_int8_columns(tile, column, 2, has_minima);
            break;
        case 3:
            multiply_int8_columns(tile, column, 3, has_minima);
            break;
        default:
            multiply_int8_columns(tile, column, 4, has_minima);
            break;
        }
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

const struct cm_matmul_kernels cm_matmul_avx2[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32 },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16 },
    [CM_FORMAT_INT8] = { INT8_ROWS, sizeof(struct cm_int8_row_unit), cm_pack_int8, multiply_int8 },
    [CM_FORMAT_INT8_MIN] = { INT8_ROWS, sizeof(struct cm_int8_row_unit), cm_pack_int8,
                             multiply_int8_min },
};
