/* Weights from a model file into memory of the device, in the format of the matrix. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/integer_format.h"
#include "kernels/matrix_source.h"
#include "kernels/roofline.h"

#include <math.h>
#include <string.h>

enum {
    ALIGNMENT_BYTES = 16, /* of rows: what tensor cores want */
    PACK_BYTES_MAX = 4 << 20,
};

/* --- Which format --- */

static struct cm_cuda_integers integers_of(const struct cm_matrix *matrix,
                                           const struct cm_matrix_source *sources,
                                           size_t sources_count)
{
    struct cm_integer_format format =
        cm_integer_format(matrix->backend->precision, sources[0].weight->dtype);
    for (size_t i = 1; i < sources_count; i++) {
        cm_integer_format_add(&format, sources[i].weight->dtype);
    }
    return (struct cm_cuda_integers){
        .units_count = (matrix->n_in + CM_QUANT_GROUP - 1) / CM_QUANT_GROUP,
        .unit_bytes = cm_integer_unit_bytes(&format),
        .n_out = matrix->n_out,
        .bits = format.bits,
        .scales = format.scales,
        .zero = format.zero,
        .has_minima = format.has_minima,
    };
}

void cm_cuda_matrix_choose_format(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                  size_t sources_count)
{
    switch (matrix->backend->precision) {
    case CM_PRECISION_EXACT:
        matrix->format = CM_CUDA_F32;
        break;
    case CM_PRECISION_FP16:
        matrix->format = CM_CUDA_F16;
        break;
    case CM_PRECISION_FP8: /* shapes that the library does not take in e4m3 stay bfloat16 */
        matrix->format = matrix->n_out % CM_FP8_OUTPUTS_MULTIPLE == 0 ? CM_CUDA_FP8 : CM_CUDA_BF16;
        break;
    case CM_PRECISION_INT8:
    case CM_PRECISION_INT4:
        matrix->format = CM_CUDA_INTEGERS;
        matrix->integers = integers_of(matrix, sources, sources_count);
        break;
    default:
        matrix->format = CM_CUDA_BF16;
    }
}

/* --- Floating types --- */

size_t cm_cuda_element_bytes(enum cm_cuda_format format)
{
    return format == CM_CUDA_F32 ? 4 : format == CM_CUDA_FP8 ? 1 : 2;
}

static void convert_row(const struct cm_matrix *matrix, const float *row, unsigned char *to)
{
    uint16_t *halves = (void *)to;
    if (matrix->format == CM_CUDA_F32) {
        memcpy(to, row, matrix->padded * sizeof *row);
        return;
    }
    for (uint32_t k = 0; k < matrix->padded; k++) {
        halves[k] = matrix->format == CM_CUDA_BF16 ? cm_bf16_from_float(row[k])
                                                   : cm_half_from_float(row[k]);
    }
}

/* Some rows at a time in host memory, then uploaded. */
static enum cm_status pack_floats(struct cm_matrix *matrix, const struct cm_matrix_source *sources)
{
    struct cm_backend *backend = matrix->backend;
    size_t row_bytes = matrix->padded * cm_cuda_element_bytes(matrix->format);
    uint32_t rows_max = (uint32_t)(PACK_BYTES_MAX / row_bytes);
    rows_max = rows_max > 0 ? rows_max : 1;
    float *row = cm_alloc(matrix->padded, sizeof *row);
    unsigned char *rows = cm_alloc(rows_max, row_bytes);
    enum cm_status status = row == NULL || rows == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t begin = 0; status == CM_OK && begin < matrix->n_out;) {
        uint32_t count = matrix->n_out - begin < rows_max ? matrix->n_out - begin : rows_max;
        for (uint32_t i = 0; i < count; i++) {
            cm_matrix_source_row(sources, begin + i, matrix->n_in, row);
            convert_row(matrix, row, rows + i * row_bytes);
        }
        cm_cuda_backend_upload(backend, (unsigned char *)matrix->weights + begin * row_bytes, rows,
                               count * row_bytes);
        begin += count;
    }
    cm_free(row);
    cm_free(rows);
    return status;
}

/* e4m3 with a scale for each row: rows of float32 go over, and the device rounds them as it does
 * those of x. */
static enum cm_status pack_fp8(struct cm_matrix *matrix, const struct cm_matrix_source *sources)
{
    struct cm_backend *backend = matrix->backend;
    const size_t row_bytes = matrix->padded * sizeof(float);
    uint32_t rows_max = (uint32_t)(PACK_BYTES_MAX / row_bytes);
    rows_max = rows_max > 0 ? rows_max : 1;
    float *rows = cm_alloc(rows_max, row_bytes);
    float *device_rows = cm_cuda_reserve(backend, rows_max * row_bytes);
    enum cm_status status = rows == NULL || device_rows == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t begin = 0; status == CM_OK && begin < matrix->n_out; begin += rows_max) {
        uint32_t count = matrix->n_out - begin < rows_max ? matrix->n_out - begin : rows_max;
        for (uint32_t i = 0; i < count; i++) {
            cm_matrix_source_row(sources, begin + i, matrix->n_in,
                                 rows + (size_t)i * matrix->padded);
        }
        cm_cuda_backend_upload(backend, device_rows, rows, count * row_bytes);
        cm_cuda_check(
            backend,
            cm_cuda_narrow_fp8(device_rows, count, matrix->padded, matrix->padded,
                               (unsigned char *)matrix->weights + (size_t)begin * matrix->padded,
                               matrix->scales + begin, backend->stream),
            "rounding weights");
    }
    cm_cuda_backend_free(backend, device_rows);
    cm_free(rows);
    return status;
}

/* --- Integers --- */

/* Code i of a column, where the fragments of mma m16n8k16 want it: lane (column % 8, i % 8 / 2),
 * register i % 16 / 8 of step i / 16, half i % 2 of the register. */
static void place_code(const struct cm_cuda_integers *integers, uint8_t *unit, uint32_t column,
                       uint32_t i, int code)
{
    uint32_t tile = column / 8;
    uint32_t lane = column % 8 * 4 + i % 8 / 2;
    uint32_t pair = i / 8; /* step and register */
    uint32_t half = i % 2;
    if (integers->bits == 4) { /* a word a tile: pairs from the lowest bits up in each half */
        uint32_t nibble = pair + 4 * half;
        unit[lane * 16 + tile * 4 + nibble / 2] |=
            (uint8_t)((code + (int)integers->zero) << nibble % 2 * 4);
        return;
    }
    unit += tile / 2 * 512 + lane * 16 + tile % 2 * 8; /* a word a step: registers in turn */
    unit[pair / 2 * 4 + pair % 2 + 2 * half] = (uint8_t)code;
}

/* The nearest codes and their scale, of what no file has quantised. */
static void quantise(const float *values, uint32_t count, struct cm_quant_group *group)
{
    float largest = 0.0f;
    *group = (struct cm_quant_group){ 0 };
    for (uint32_t i = 0; i < count; i++) {
        largest = fmaxf(largest, fabsf(values[i]));
    }
    float scale = largest / 127.0f;
    for (uint32_t i = 0; i < count && scale > 0.0f; i++) {
        float code = rintf(values[i] / scale);
        group->codes[i] = (int8_t)fminf(fmaxf(code, -127.0f), 127.0f);
    }
    group->scales[0] = scale;
    group->scales[1] = scale;
}

/* All units of one output; `row` is scratch of n_in floats. */
static void pack_column(const struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                        uint32_t output, float *row, uint8_t *panel)
{
    const struct cm_cuda_integers *integers = &matrix->integers;
    uint32_t column = output % CM_CUDA_PANEL;
    uint64_t source_row = output;
    const uint8_t *blocks = cm_matrix_source_blocks(&sources, &source_row, matrix->n_in);
    enum cm_dtype dtype = sources->weight->dtype;
    if (blocks == NULL) {
        cm_matrix_source_row(sources, source_row, matrix->n_in, row);
    }
    for (uint32_t u = 0; u < integers->units_count; u++) {
        uint8_t *unit = panel + (size_t)u * integers->unit_bytes;
        float *sets = (void *)(unit + integers->bits * CM_CUDA_PANEL * CM_QUANT_GROUP / 8);
        struct cm_quant_group group;
        if (blocks != NULL) {
            cm_quants_decode_group(dtype, blocks, u, &group);
        } else {
            uint32_t left = matrix->n_in - u * CM_QUANT_GROUP;
            quantise(row + u * CM_QUANT_GROUP, left < CM_QUANT_GROUP ? left : CM_QUANT_GROUP,
                     &group);
        }
        for (uint32_t i = 0; i < CM_QUANT_GROUP; i++) {
            place_code(integers, unit, column, i, group.codes[i]);
        }
        for (uint32_t i = 0; i < integers->scales; i++) {
            sets[i * CM_CUDA_PANEL + column] = group.scales[i];
        }
        if (integers->has_minima) {
            sets[integers->scales * CM_CUDA_PANEL + column] = group.offset;
        }
    }
}

static enum cm_status pack_integers(struct cm_matrix *matrix,
                                    const struct cm_matrix_source *sources)
{
    const struct cm_cuda_integers *integers = &matrix->integers;
    size_t panel_bytes = (size_t)integers->units_count * integers->unit_bytes;
    float *row = cm_alloc(matrix->n_in, sizeof *row);
    uint8_t *panel = cm_alloc(panel_bytes, 1);
    enum cm_status status = row == NULL || panel == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t begin = 0; status == CM_OK && begin < matrix->n_out; begin += CM_CUDA_PANEL) {
        memset(panel, 0, panel_bytes);
        for (uint32_t i = begin; i < begin + CM_CUDA_PANEL && i < matrix->n_out; i++) {
            pack_column(matrix, sources, i, row, panel);
        }
        cm_cuda_backend_upload(matrix->backend,
                               (uint8_t *)matrix->weights + begin / CM_CUDA_PANEL * panel_bytes,
                               panel, panel_bytes);
    }
    cm_free(row);
    cm_free(panel);
    return status;
}

/* --- All --- */

static enum cm_status pack_bias(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                size_t sources_count)
{
    float *bias = cm_alloc(matrix->n_out, sizeof *bias);
    enum cm_status status = bias == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    if (status == CM_OK && cm_matrix_source_bias(sources, sources_count, bias)) {
        matrix->bias = cm_cuda_reserve(matrix->backend, matrix->n_out * sizeof *bias);
        if (matrix->bias == NULL) {
            status = CM_OUT_OF_MEMORY;
        } else {
            cm_cuda_backend_upload(matrix->backend, matrix->bias, bias,
                                   matrix->n_out * sizeof *bias);
        }
    }
    cm_free(bias);
    return status;
}

static enum cm_status reserve_weights(struct cm_matrix *matrix)
{
    if (matrix->format == CM_CUDA_INTEGERS) {
        size_t panels = (matrix->n_out + CM_CUDA_PANEL - 1) / CM_CUDA_PANEL;
        matrix->padded = matrix->integers.units_count * CM_QUANT_GROUP;
        matrix->bytes = panels * matrix->integers.units_count * matrix->integers.unit_bytes;
    } else {
        size_t bytes = cm_cuda_element_bytes(matrix->format);
        uint32_t multiple = matrix->format == CM_CUDA_F32 ? 1 : (uint32_t)(ALIGNMENT_BYTES / bytes);
        matrix->padded = (matrix->n_in + multiple - 1) / multiple * multiple;
        matrix->bytes = (size_t)matrix->n_out * matrix->padded * bytes;
    }
    matrix->weights = cm_cuda_reserve(matrix->backend, matrix->bytes);
    if (matrix->format == CM_CUDA_FP8) {
        matrix->scales = cm_cuda_reserve(matrix->backend, matrix->n_out * sizeof(float));
        matrix->bytes += matrix->n_out * sizeof(float);
    }
    bool failed =
        matrix->weights == NULL || (matrix->format == CM_CUDA_FP8 && matrix->scales == NULL);
    return failed ? CM_OUT_OF_MEMORY : CM_OK;
}

enum cm_status cm_cuda_matrix_pack(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                   size_t sources_count)
{
    enum cm_status status = reserve_weights(matrix);
    if (status == CM_OK) {
        status = matrix->format == CM_CUDA_INTEGERS ? pack_integers(matrix, sources)
                 : matrix->format == CM_CUDA_FP8    ? pack_fp8(matrix, sources)
                                                    : pack_floats(matrix, sources);
    }
    if (status == CM_OK) {
        status = pack_bias(matrix, sources, sources_count);
    }
    matrix->integers.units = matrix->weights;
    matrix->integers.bias = matrix->bias;
    return status;
}
