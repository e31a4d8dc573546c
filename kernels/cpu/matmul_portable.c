/* Matmul kernels in plain C: the reference for the others, and what runs on any processor. Shapes,
 * layouts and order of accumulation: matmul_kernels.h. */
#include "kernels/cpu/matmul_rows.h"
#include "kernels/cpu/quants.h"

enum { TILE_ROWS = 4 };

static void add_chunk(const float *sums, bool first, const float *bias, float *out)
{
    for (uint32_t c = 0; c < CM_PANEL; c++) {
        out[c] = (first ? bias[c] : out[c]) + sums[c];
    }
}

static void multiply_f32(const struct cm_matmul_tile *tile)
{
    const float *weights = tile->weights;
    for (uint32_t t = 0; t < tile->rows; t++) {
        const float *x = (const float *)tile->x + t;
        for (uint32_t begin = 0; begin < tile->units_count; begin += CM_CHUNK_INPUTS) {
            float sums[CM_PANEL] = { 0 };
            for (uint32_t k = begin; k < tile->units_count && k < begin + CM_CHUNK_INPUTS; k++) {
                for (uint32_t c = 0; c < CM_PANEL; c++) {
                    sums[c] += weights[(size_t)k * CM_PANEL + c] * x[(size_t)k * tile->rows];
                }
            }
            add_chunk(sums, begin == 0, tile->bias, tile->out + t * tile->out_stride);
        }
    }
}

static void multiply_bf16(const struct cm_matmul_tile *tile)
{
    const uint16_t *weights = tile->weights;
    uint32_t n_in = tile->units_count * 2;
    for (uint32_t t = 0; t < tile->rows; t++) {
        const float *x = (const float *)tile->x + t;
        for (uint32_t begin = 0; begin < n_in; begin += CM_CHUNK_INPUTS) {
            float sums[CM_PANEL] = { 0 };
            for (uint32_t k = begin; k < n_in && k < begin + CM_CHUNK_INPUTS; k++) {
                const uint16_t *pairs = weights + (size_t)(k / 2) * CM_PANEL * 2 + k % 2;
                for (uint32_t c = 0; c < CM_PANEL; c++) {
                    sums[c] += cm_float_from_bf16(pairs[2 * c]) * x[(size_t)k * tile->rows];
                }
            }
            add_chunk(sums, begin == 0, tile->bias, tile->out + t * tile->out_stride);
        }
    }
}

/* The unsigned code of column c, input 4 * quad + i. */
static int code_of(const uint8_t *codes, bool int4, int quad, int c, int i)
{
    if (int4) {
        uint8_t pair = codes[(quad % CM_INT4_PAIRS * CM_PANEL + c) * 4 + i];
        return quad < CM_INT4_PAIRS ? pair & 15 : pair >> 4;
    }
    return codes[(quad * CM_PANEL + c) * 4 + i];
}

/* sums[c] = start + sum of codes[quad][c][i] * x[quad][i] */
static void dot_unit(const uint8_t *codes, bool int4, const int8_t *x, size_t quad_stride,
                     int32_t start, int32_t *sums)
{
    for (int c = 0; c < CM_PANEL; c++) {
        sums[c] = start;
    }
    for (int q = 0; q < CM_INT8_QUADS; q++) {
        for (int c = 0; c < CM_PANEL; c++) {
            for (int i = 0; i < 4; i++) {
                sums[c] += code_of(codes, int4, q, c, i) * x[q * quad_stride + i];
            }
        }
    }
}

static int32_t start_of(enum cm_matrix_format format, int32_t start)
{
    if (cm_format_is_int4(format)) {
        return cm_format_has_minima(format) ? 0 : start / 16;
    }
    return start;
}

static void multiply_integer_row(const struct cm_matmul_tile *tile, uint32_t t,
                                 enum cm_matrix_format format)
{
    const uint8_t *weights = tile->weights;
    const uint8_t *x = (const uint8_t *)tile->x + t * 4;
    size_t stride = (size_t)tile->rows * 4; /* between the fields of one row */
    const bool minima = cm_format_has_minima(format);
    float *out = tile->out + t * tile->out_stride;
    memcpy(out, tile->bias, CM_PANEL * sizeof *out);
    for (uint32_t u = 0; u < tile->units_count; u++) {
        const uint8_t *codes = weights + u * cm_format_unit_bytes(format);
        const float *scales = (const void *)(codes + cm_format_codes_bytes(format));
        int32_t start;
        float scale;
        float scaled_sum;
        float offset = 0.0f;
        int32_t sums[CM_PANEL];
        memcpy(&start, x + CM_INT8_QUADS * stride, sizeof start);
        memcpy(&scale, x + (CM_INT8_QUADS + 1) * stride, sizeof scale);
        memcpy(&scaled_sum, x + (CM_INT8_QUADS + 2) * stride, sizeof scaled_sum);
        if (cm_format_has_offsets(format)) {
            memcpy(&offset, x + (CM_INT8_QUADS + 3) * stride, sizeof offset);
        }
        dot_unit(codes, cm_format_is_int4(format), (const int8_t *)x, stride,
                 start_of(format, start), sums);
        for (int c = 0; c < CM_PANEL; c++) {
            out[c] += (float)sums[c] * (scales[c] * scale);
            if (minima) {
                out[c] += scales[CM_PANEL + c] * scaled_sum;
            }
            if (cm_format_has_offsets(format)) {
                out[c] += scales[(minima ? 2 : 1) * CM_PANEL + c] * offset;
            }
        }
        x += tile->rows * cm_format_row_unit_bytes(format);
    }
}

#define MULTIPLY(name, format)                                     \
    static void multiply_##name(const struct cm_matmul_tile *tile) \
    {                                                              \
        for (uint32_t t = 0; t < tile->rows; t++) {                \
            multiply_integer_row(tile, t, format);                 \
        }                                                          \
    }

CM_EACH_INTEGER_FORMAT(MULTIPLY)

#define INTEGER_KERNELS(name)                                             \
    {                                                                     \
        TILE_ROWS, CM_INT8_ROW_UNIT_BYTES, cm_pack_int8, name, NULL, NULL \
    }
#define OFFSET_KERNELS(name)                                                            \
    {                                                                                   \
        TILE_ROWS, CM_INT8_OFFSET_ROW_UNIT_BYTES, cm_pack_int8_offset, name, NULL, NULL \
    }

const struct cm_matmul_kernels cm_matmul_portable[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { TILE_ROWS, 4, cm_pack_f32, multiply_f32, NULL, NULL },
    [CM_FORMAT_BF16] = { TILE_ROWS, 8, cm_pack_f32_pairs, multiply_bf16, NULL, NULL },
    [CM_FORMAT_INT8] = INTEGER_KERNELS(multiply_int8),
    [CM_FORMAT_INT8_MIN] = INTEGER_KERNELS(multiply_int8_min),
    [CM_FORMAT_INT4] = INTEGER_KERNELS(multiply_int4),
    [CM_FORMAT_INT4_MIN] = INTEGER_KERNELS(multiply_int4_min),
    [CM_FORMAT_INT8_OFFSET] = OFFSET_KERNELS(multiply_int8_offset),
    [CM_FORMAT_INT8_MIN_OFFSET] = OFFSET_KERNELS(multiply_int8_min_offset),
    [CM_FORMAT_INT4_OFFSET] = OFFSET_KERNELS(multiply_int4_offset),
    [CM_FORMAT_INT4_MIN_OFFSET] = OFFSET_KERNELS(multiply_int4_min_offset),
};
