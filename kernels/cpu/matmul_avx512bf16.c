/* Matmul kernels for the bf16 dots of AVX-512. Shapes, layouts and order of accumulation:
 * matmul_kernels.h; chosen by cm_cpu_isa_best, for the precision bf16 only. Activations are rounded
 * to bf16, products and sums are float32. Rows as in matmul_avx512.c. */
#include "kernels/cpu/matmul_rows.h"
#include "kernels/cpu/quants.h"

#include <immintrin.h>

enum { TILE_ROWS = 12, CHUNK_UNITS = CM_CHUNK_INPUTS / 2 };

#define UNROLL_ROWS _Pragma("GCC unroll 12")

static void pack_pairs(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    for (uint32_t t = 0; t < rows; t++) {
        const float *row = x + (size_t)t * n_in;
        uint32_t *out = (uint32_t *)tile + t;
        for (uint32_t k = 0; k + 1 < n_in; k += 2) {
            *out = cm_bf16_from_float(row[k]) | (uint32_t)cm_bf16_from_float(row[k + 1]) << 16;
            out += rows;
        }
        if (n_in % 2 != 0) {
            *out = cm_bf16_from_float(row[n_in - 1]);
        }
    }
}

/* sums[i] += w[2i+1] * x[1] + w[2i] * x[0]; inline assembly for the same reason as in
 * matmul_avx512.c. */
static inline __attribute__((always_inline)) void add_dots(__m512 *sums, __m512i w,
                                                           const uint32_t *x)
{
    __asm__("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(*sums) : "v"(w), "m"(*x));
}

static inline __attribute__((always_inline)) void multiply_rows(const struct cm_matmul_tile *tile,
                                                                uint32_t rows)
{
    const uint8_t *weights = tile->weights;
    const uint32_t *x = tile->x;
    const uint8_t *next = tile->next;
    for (uint32_t begin = 0; begin < tile->units_count; begin += CHUNK_UNITS) {
        uint32_t left = tile->units_count - begin;
        uint32_t units = left < CHUNK_UNITS ? left : CHUNK_UNITS;
        __m512 sums[TILE_ROWS][2];
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            sums[t][0] = sums[t][1] = _mm512_setzero_ps();
        }
        for (uint32_t u = 0; u < units; u++) {
            next = cm_matmul_fetch(next, tile->next_lines);
            __m512i w0 = _mm512_loadu_si512(weights);
            __m512i w1 = _mm512_loadu_si512(weights + 64);
            UNROLL_ROWS
            for (uint32_t t = 0; t < rows; t++) {
                add_dots(&sums[t][0], w0, x + t);
                add_dots(&sums[t][1], w1, x + t);
            }
            weights += 128;
            x += rows;
        }
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            float *out = tile->out + t * tile->out_stride;
            const float *before = begin == 0 ? tile->bias : out;
            _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(before), sums[t][0]));
            _mm512_storeu_ps(out + 16, _mm512_add_ps(_mm512_loadu_ps(before + 16), sums[t][1]));
        }
    }
}

static void multiply(const struct cm_matmul_tile *tile)
{
    switch (tile->rows) {
    case 1:
        multiply_rows(tile, 1);
        break;
    case 2:
        multiply_rows(tile, 2);
        break;
    case 3:
        multiply_rows(tile, 3);
        break;
    case 4:
        multiply_rows(tile, 4);
        break;
    case 5:
        multiply_rows(tile, 5);
        break;
    case 6:
        multiply_rows(tile, 6);
        break;
    case 7:
        multiply_rows(tile, 7);
        break;
    case 8:
        multiply_rows(tile, 8);
        break;
    case 9:
        multiply_rows(tile, 9);
        break;
    case 10:
        multiply_rows(tile, 10);
        break;
    case 11:
        multiply_rows(tile, 11);
        break;
    default:
        multiply_rows(tile, 12);
        break;
    }
}

const struct cm_matmul_kernels cm_matmul_avx512bf16 = { TILE_ROWS, 4,    pack_pairs,
                                                        multiply,  NULL, NULL };
