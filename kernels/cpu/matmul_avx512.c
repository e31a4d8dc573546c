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

enum way {
    FEW_ROWS,
    MANY_ROWS,       /* scales come from the table */
    MANY_ROWS_FIRST, /* which has to be filled: by the way, as there is room between the dots */
};

/* One step's scales of a unit of the table from those of the panel. */
INSTANCE void fill_step(const float *scales, uint32_t step, float *table)
{
    __m512 factor = _mm512_set1_ps(1.0f + (float)step / CM_SCALE_STEPS);
    table += step * CM_PANEL;
    _mm512_store_ps(table, _mm512_mul_ps(_mm512_loadu_ps(scales), factor));
    _mm512_store_ps(table + 16, _mm512_mul_ps(_mm512_loadu_ps(scales + 16), factor));
}

/* dots[t][:] += codes . x[t] over eight quads */
INSTANCE void add_dots_of_quads(const uint8_t *codes, const int32_t *x, uint32_t rows,
                                const float *scales, float *table, __m512i dots[INT8_ROWS][2])
{
    _Pragma("GCC unroll 8") for (uint32_t q = 0; q < CM_INT8_QUADS; q++)
    {
        __m512i w0 = _mm512_loadu_si512(codes + (size_t)q * CM_PANEL * 4);
        __m512i w1 = _mm512_loadu_si512(codes + (size_t)q * CM_PANEL * 4 + 64);
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            add_dots(&dots[t][0], w0, x + q * rows + t);
            add_dots(&dots[t][1], w1, x + q * rows + t);
        }
        if (table != NULL) {
            fill_step(scales, q, table);
        }
    }
}

/* Row `t` of what will be written. It often lies past the second cache, or in another core's. */
INSTANCE void fetch_out(const struct cm_matmul_tile *tile, uint32_t t)
{
    __builtin_prefetch(tile->out + t * tile->out_stride, 1, 3);
    __builtin_prefetch(tile->out + t * tile->out_stride + 16, 1, 3);
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

/* The same by way of a table. */
INSTANCE void look_up_scales(const float *table, const float *magics, const uint32_t *steps,
                             uint32_t rows, const __m512i dots[INT8_ROWS][2],
                             __m512 sums[INT8_ROWS][2])
{
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        const float *scales = (const void *)((const char *)table + steps[t]);
        __m512 magic = _mm512_set1_ps(magics[t]);
        sums[t][0] = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_castsi512_ps(dots[t][0]), magic),
                                     _mm512_loadu_ps(scales), sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_castsi512_ps(dots[t][1]), magic),
                                     _mm512_loadu_ps(scales + 16), sums[t][1]);
    }
}

INSTANCE void multiply_rotated_rows(const struct cm_matmul_tile *tile, uint32_t rows, uint32_t n,
                                    enum way way)
{
    const bool many = way != FEW_ROWS;
    const uint8_t *weights = tile->weights;
    const int32_t *x = tile->x;
    float *table = tile->table;
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
        if (many) {
            coming = cm_matmul_fetch(coming, tile->coming_lines);
        }
        if (many && u < rows && !tile->past_caches) {
            fetch_out(tile, u);
        }
        const int32_t *fields = x + n / 4 * rows;
        const float *scales = float_at(weights, n / 4 * CM_PANEL);
        __m512i dots[INT8_ROWS][2];
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            dots[t][0] = dots[t][1] = _mm512_set1_epi32(fields[t]);
        }
        add_dots_of_quads(weights, x, rows, scales, way == MANY_ROWS_FIRST ? table : NULL, dots);
        for (uint32_t q = CM_INT8_QUADS; q < n / 4; q += CM_INT8_QUADS) {
            add_dots_of_quads(weights + (size_t)q * CM_PANEL * 4, x + q * rows, rows, NULL, NULL,
                              dots);
        }
        if (many) {
            look_up_scales(table, float_at(fields, FIELD_MAGICS * rows),
                           (const uint32_t *)fields + FIELD_STEPS * rows, rows, dots, sums);
            table += CM_SCALE_STEPS * CM_PANEL;
        } else {
            scale_dots(scales, float_at(fields, FIELD_SCALES * rows), rows, dots, sums);
        }
        weights += CM_PANEL * (n + sizeof(float));
        x = fields + fields_count(many) * rows;
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

INSTANCE void multiply_few(const struct cm_matmul_tile *tile, uint32_t n)
{
    switch (tile->rows) {
    case 1:
        multiply_rotated_rows(tile, 1, n, FEW_ROWS);
        break;
    case 2:
        multiply_rotated_rows(tile, 2, n, FEW_ROWS);
        break;
    case 3:
        multiply_rotated_rows(tile, 3, n, FEW_ROWS);
        break;
    case 4:
        multiply_rotated_rows(tile, 4, n, FEW_ROWS);
        break;
    case 5:
        multiply_rotated_rows(tile, 5, n, FEW_ROWS);
        break;
    case 6:
        multiply_rotated_rows(tile, 6, n, FEW_ROWS);
        break;
    default:
        multiply_rotated_rows(tile, 7, n, FEW_ROWS);
        break;
    }
}

INSTANCE void multiply_many(const struct cm_matmul_tile *tile, uint32_t n, enum way way)
{
    switch (tile->rows) {
    case CM_MANY_ROWS_MIN:
        multiply_rotated_rows(tile, 5, n, way);
        break;
    case 6:
        multiply_rotated_rows(tile, 6, n, way);
        break;
    default:
        multiply_rotated_rows(tile, 7, n, way);
        break;
    }
}

#define KERNELS(n)                                                                      \
    static void pack_##n(const float *x, uint32_t n_in, uint32_t rows, void *tile)      \
    {                                                                                   \
        pack_rotated(x, n_in, rows, n, false, tile);                                    \
    }                                                                                   \
    static void pack_many_##n(const float *x, uint32_t n_in, uint32_t rows, void *tile) \
    {                                                                                   \
        pack_rotated(x, n_in, rows, n, true, tile);                                     \
    }                                                                                   \
    static void multiply_##n(const struct cm_matmul_tile *tile)                         \
    {                                                                                   \
        multiply_few(tile, n);                                                          \
    }                                                                                   \
    static void multiply_many_##n(const struct cm_matmul_tile *tile)                    \
    {                                                                                   \
        if (tile->fills_table) {                                                        \
            multiply_many(tile, n, MANY_ROWS_FIRST);                                    \
        } else {                                                                        \
            multiply_many(tile, n, MANY_ROWS);                                          \
        }                                                                               \
    }

KERNELS(64)
KERNELS(128)

#define ROTATED_KERNELS(n)                                                             \
    {                                                                                  \
        INT8_ROWS, n + CM_ROTATED_FIELDS_BYTES, pack_##n, multiply_##n, pack_many_##n, \
            multiply_many_##n                                                          \
    }

/* The other formats of integers are for other instruction sets. */
const struct cm_matmul_kernels cm_matmul_avx512[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32, NULL, NULL },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16, NULL, NULL },
    [CM_FORMAT_ROTATED_64] = ROTATED_KERNELS(64),
    [CM_FORMAT_ROTATED_128] = ROTATED_KERNELS(128),
};
