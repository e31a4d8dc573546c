/* Matmul kernels in plain C: the reference for the others, and what runs on any processor. */
#include "kernels/cpu/matmul_kernels.h"

#include <string.h>

enum { TILE_ROWS = 4 };

static void pack_f32(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    float *out = tile;
    for (uint32_t k = 0; k < n_in; k++) {
        for (uint32_t t = 0; t < rows; t++) {
            *out++ = x[(size_t)t * n_in + k];
        }
    }
}

/* sums[c] = sum over k of weights[k][c] * x[k * x_stride], k rising. */
static void dot_chunk_f32(const float *weights, const float *x, uint32_t x_stride, uint32_t n,
                          float *sums)
{
    memset(sums, 0, CM_PANEL * sizeof *sums);
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t c = 0; c < CM_PANEL; c++) {
            sums[c] += weights[k * CM_PANEL + c] * x[k * x_stride];
        }
    }
}

static void multiply_f32(const struct cm_matmul_tile *tile)
{
    const float *weights = tile->weights;
    for (uint32_t t = 0; t < tile->rows; t++) {
        const float *x = (const float *)tile->x + t;
        float total[CM_PANEL] = { 0 };
        for (uint32_t k = 0; k < tile->units_count; k += CM_F32_CHUNK) {
            uint32_t left = tile->units_count - k;
            uint32_t n = left < CM_F32_CHUNK ? left : CM_F32_CHUNK;
            float sums[CM_PANEL];
            dot_chunk_f32(weights + (size_t)k * CM_PANEL, x + (size_t)k * tile->rows, tile->rows, n,
                          sums);
            for (uint32_t c = 0; c < CM_PANEL; c++) {
                total[c] += sums[c];
            }
        }
        float *out = tile->out + t * tile->out_stride;
        for (uint32_t c = 0; c < CM_PANEL; c++) {
            out[c] = total[c] + tile->bias[c];
        }
    }
}

const struct cm_matmul_kernels cm_matmul_f32_portable = { TILE_ROWS, pack_f32, multiply_f32 };
