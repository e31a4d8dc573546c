/* What the matmul driver (matmul.c), the packing of weights (matmul_pack.c) and the kernels of each
 * instruction set agree on: layouts in memory and the table of kernels.
 *
 * Weights lie in panels of 32 output columns, padded with zeros. Rows of x are packed in tiles of
 * T = 1..tile_rows_max rows; a kernel multiplies one panel with one tile. Whatever T, each output
 * is the same sequence of operations, so a row's result does not depend on the tile it fell into.
 *
 *   format   weights of a panel                          a row's share of a tile
 *   F32      [n_in][32] float                            [n_in][T] float
 */
#ifndef CM_KERNELS_CPU_MATMUL_KERNELS_H
#define CM_KERNELS_CPU_MATMUL_KERNELS_H

#include "kernels/cpu/cpu_backend.h"

enum { CM_PANEL = 32 };

/* Float sums run in chunks of this many products, whose results are added in order: the error then
 * grows with the number of chunks and not with the number of products. */
enum { CM_F32_CHUNK = 128 };

enum cm_matrix_format {
    CM_FORMAT_F32,
};

struct cm_matrix {
    enum cm_matrix_format format;
    uint32_t n_in;
    uint32_t n_out;
    uint32_t panels_count;
    uint32_t units_count; /* n_in in the format's unit along K */
    size_t panel_bytes;
    size_t row_bytes; /* of a packed row of x */
    size_t bytes;
    uint8_t *panels; /* [panels_count][panel_bytes] */
    float *bias;     /* [panels_count * 32], zero where there is none */
    uint64_t rows_count;
};

struct cm_matmul_tile {
    const void *weights; /* one panel */
    const void *x;       /* one packed tile */
    uint32_t rows;       /* T */
    uint32_t units_count;
    const float *bias; /* [32] */
    float *out;        /* [rows][32], row stride `out_stride` floats */
    size_t out_stride;
};

struct cm_matmul_kernels {
    uint32_t tile_rows_max;
    /* Packs `rows` rows of x [rows, n_in] as one tile. */
    void (*pack)(const float *x, uint32_t n_in, uint32_t rows, void *tile);
    void (*multiply)(const struct cm_matmul_tile *tile);
};

extern const struct cm_matmul_kernels cm_matmul_f32_portable;

/* Fills panels and bias of a matrix whose sizes are set and whose memory is zeroed. */
enum cm_status cm_matrix_pack(struct cm_backend *backend, struct cm_matrix *matrix,
                              const struct cm_matrix_source *sources, size_t sources_count,
                              struct cm_error *error) CM_MUST_CHECK;

#endif
