/* The steps of a matmul, for ops that put others between them. */
#ifndef CM_KERNELS_CPU_MATMUL_OP_H
#define CM_KERNELS_CPU_MATMUL_OP_H

#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/panel_work.h"
#include "kernels/cpu/row_work.h"

/* What is packed may first be made: a norm, or an activation. */
struct cm_matmul {
    const struct cm_matmul_kernels *kernels;
    struct cm_matrix *matrix;
    struct cm_coming_pages *coming;
    const struct cm_rows_maker *maker; /* of x; NULL: x is there */
    const float *x;
    bool past_caches; /* y is too large for them */
    bool many;        /* rows, so that a table of a panel's scales pays */
    uint32_t n_rows;
    uint32_t tiles_count;
    uint32_t tile_height; /* rows of a tile; the first `higher_tiles` have one more */
    uint32_t higher_tiles;
    uint8_t *tables;  /* [threads][cm_matrix_table_bytes] */
    uint8_t *staging; /* [threads][tile_rows_max][row_bytes] */
    uint8_t *packed;  /* [n_rows][row_bytes], tile by tile */
    float *y;
    struct cm_pool_work packing;
    struct cm_panel_work work;
};

/* Per row and thread of a gated block: a panel of the gate and one of up, and a unit, at most, of
 * what they make. */
enum { CM_GATED_ROW_BYTES = (2 * CM_PANEL + CM_ROTATED_MAX) * sizeof(float) };

static inline size_t cm_matrix_table_bytes(const struct cm_matrix *matrix)
{
    return matrix->kernels->multiply_many != NULL
               ? (size_t)matrix->units_count * CM_TABLE_UNIT_BYTES
               : 0;
}

/* The scratch memory from `scratch` on serves it up to cm_matmul_end. n_rows > 0. */
void cm_matmul_init(struct cm_matmul *matmul, struct cm_backend *backend, struct cm_matrix *matrix,
                    uint8_t *scratch, uint32_t n_rows);
uint8_t *cm_matmul_end(const struct cm_matmul *matmul);

struct cm_pool_range cm_matmul_tile_rows(const struct cm_matmul *matmul, uint32_t tile);

/* Where the packed rows of a tile lie; of the tile past the last: their end. */
uint8_t *cm_matmul_tile_packed(const struct cm_matmul *matmul, uint32_t tile);

/* Packs x, made by `maker` unless that is NULL. */
void cm_matmul_pack(struct cm_backend *backend, struct cm_matmul *matmul, const float *x,
                    const struct cm_rows_maker *maker);

/* One panel with some tiles; `next_panel` is fetched meanwhile, and the rows, if this is the first
 * panel that the thread multiplies with them. Row r of the result is at out + r * out_stride. */
void cm_matmul_panel(const struct cm_matmul *matmul, uint32_t thread_index, uint32_t panel,
                     uint32_t next_panel, struct cm_pool_range tiles, bool first, float *out,
                     size_t out_stride);

/* y, by all threads, once the rows are packed. */
void cm_matmul_multiply(struct cm_backend *backend, struct cm_matmul *matmul, float *y);

#endif
