/* Weights from a model file into the panels of matmul_kernels.h. */
#include "base/memory.h"
#include "kernels/cpu/matmul_rows.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <string.h>

/* Where output row `row` of the matrix comes from. */
struct row_origin {
    const struct cm_matrix_source *source;
    uint64_t row;
};

struct packing {
    struct cm_matrix *matrix;
    const struct cm_matrix_source *sources;
    float *rows;       /* one dequantised row per thread, [threads][row_floats] */
    size_t row_floats; /* n_in, in whole units of a rotated format */
    struct cm_pool_work work;
};

static uint64_t source_rows(const struct cm_matrix_source *source)
{
    return source->weight->dims[source->transposed ? 1 : 0];
}

static struct row_origin find_row(const struct cm_matrix_source *sources, uint64_t row)
{
    while (row >= source_rows(sources)) {
        row -= source_rows(sources);
        sources++;
    }
    return (struct row_origin){ sources, row };
}

static void read_row(struct row_origin origin, uint32_t n_in, float *out)
{
    const struct cm_tensor *weight = origin.source->weight;
    const struct cm_dtype_info *info = cm_dtype_info(weight->dtype);
    const uint8_t *data = weight->data;
    if (origin.source->transposed) {
        for (uint32_t k = 0; k < n_in; k++) {
            size_t element = (size_t)k * weight->dims[1] + origin.row;
            cm_quants_dequantise(weight->dtype, data + element * info->block_bytes, 1, out + k);
        }
    } else {
        size_t row_bytes = (size_t)(n_in / info->block_elements) * info->block_bytes;
        cm_quants_dequantise(weight->dtype, data + origin.row * row_bytes, n_in, out);
    }
}

/* Group `index` of 32 of a row of a block type, as in the file. */
static void decode_group(struct row_origin origin, uint32_t n_in, uint32_t index,
                         struct cm_quant_group *group)
{
    const struct cm_tensor *weight = origin.source->weight;
    const struct cm_dtype_info *info = cm_dtype_info(weight->dtype);
    size_t row_bytes = (size_t)(n_in / info->block_elements) * info->block_bytes;
    cm_quants_decode_group(weight->dtype, (const uint8_t *)weight->data + origin.row * row_bytes,
                           index, group);
}

/* Scales of which the better one is kept: the one that spends all 127 steps on the largest value,
 * and the one that makes the half of larger scale exact. The rest of the group then rounds to a
 * step at most a third of its own. */
static float requantise_q6_k(const struct cm_quant_group *group, int8_t codes[CM_INT8_GROUP])
{
    float values[CM_INT8_GROUP];
    int largest_code[2] = { 1, 1 };
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        int code = group->codes[i] < 0 ? -group->codes[i] : group->codes[i];
        largest_code[i / 16] = code > largest_code[i / 16] ? code : largest_code[i / 16];
        values[i] = group->scales[i / 16] * (float)group->codes[i];
    }
    int coarse = fabsf(group->scales[1]) > fabsf(group->scales[0]);
    int8_t candidates[2][CM_INT8_GROUP];
    float scales[2] = {
        cm_int8_quantise(values, CM_INT8_GROUP, candidates[0]),
        fabsf(group->scales[coarse]) / (float)(127 / largest_code[coarse]),
    };
    double errors[2] = { 0, 0 };
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        float steps = scales[1] > 0 ? rintf(values[i] / scales[1]) : 0;
        candidates[1][i] = (int8_t)(steps > 127 ? 127 : steps > -127 ? steps : -127);
        for (int j = 0; j < 2; j++) {
            double error = (double)values[i] - (double)scales[j] * candidates[j][i];
            errors[j] += error * error;
        }
    }
    int better = errors[1] < errors[0];
    memcpy(codes, candidates[better], CM_INT8_GROUP);
    return scales[better];
}

/* Group `index` of a row as int8 codes with one scale, and a minimum where its type has that: as in
 * the file, else the nearest. `row` is used for types that go through float32. */
static void read_int8_group(struct row_origin origin, uint32_t n_in, uint32_t index,
                            const float *row, struct cm_quant_group *group)
{
    const struct cm_tensor *weight = origin.source->weight;
    if (cm_quants_is_block_type(weight->dtype)) {
        decode_group(origin, n_in, index, group);
        if (weight->dtype == CM_Q6_K) {
            group->scales[0] = requantise_q6_k(group, group->codes);
        }
        return;
    }
    float padded[CM_INT8_GROUP] = { 0 };
    uint32_t left = n_in - index * CM_INT8_GROUP;
    memcpy(padded, row + (size_t)index * CM_INT8_GROUP,
           (left < CM_INT8_GROUP ? left : CM_INT8_GROUP) * sizeof *row);
    group->scales[0] = cm_int8_quantise(padded, CM_INT8_GROUP, group->codes);
    group->offset = 0.0f;
}

/* Code i of a column; `codes` is the start of a unit. */
static void store_code(uint8_t *codes, enum cm_matrix_format format, uint32_t column, uint32_t i,
                       int code)
{
    size_t at = (size_t)column * 4 + i % 4;
    uint32_t quad = i / 4;
    if (cm_format_is_int4(format)) {
        int nibble = code + (cm_format_has_minima(format) ? 0 : CM_INT4_ZERO);
        at += (size_t)(quad % CM_INT4_PAIRS) * CM_PANEL * 4;
        codes[at] |= (uint8_t)(nibble << (quad < CM_INT4_PAIRS ? 0 : 4));
    } else {
        codes[at + (size_t)quad * CM_PANEL * 4] = (uint8_t)(code + CM_INT8_ZERO);
    }
}

/* The sum of a group's weights. */
static float total_of(const struct cm_quant_group *group)
{
    int sum = 0;
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        sum += group->codes[i];
    }
    return (float)((double)group->scales[0] * sum + (double)group->offset * CM_INT8_GROUP);
}

static void pack_column_groups(const struct packing *packing, uint8_t *panel, uint32_t column,
                               struct row_origin origin, float *row)
{
    const struct cm_matrix *matrix = packing->matrix;
    if (!cm_quants_is_block_type(origin.source->weight->dtype)) {
        read_row(origin, matrix->n_in, row);
    }
    for (uint32_t u = 0; u < matrix->units_count; u++) {
        uint8_t *bytes = panel + u * cm_format_unit_bytes(matrix->format);
        float *scales = (void *)(bytes + cm_format_codes_bytes(matrix->format));
        struct cm_quant_group group;
        read_int8_group(origin, matrix->n_in, u, row, &group);
        for (uint32_t i = 0; i < CM_INT8_GROUP; i++) {
            store_code(bytes, matrix->format, column, i, group.codes[i]);
        }
        scales[column] = group.scales[0];
        if (cm_format_has_minima(matrix->format)) {
            scales += CM_PANEL;
            scales[column] = group.offset;
        }
        if (cm_format_has_offsets(matrix->format)) {
            scales[CM_PANEL + column] = total_of(&group);
        }
    }
}

static void pack_column_rotated(const struct packing *packing, uint8_t *panel, uint32_t column,
                                struct row_origin origin, float *row)
{
    const struct cm_matrix *matrix = packing->matrix;
    const uint32_t n = cm_format_group(matrix->format);
    read_row(origin, matrix->n_in, row);
    memset(row + matrix->n_in, 0, (matrix->units_count * n - matrix->n_in) * sizeof *row);
    for (uint32_t u = 0; u < matrix->units_count; u++) {
        uint8_t *bytes = panel + u * cm_format_unit_bytes(matrix->format);
        float *scales = (void *)(bytes + cm_format_codes_bytes(matrix->format));
        int8_t codes[CM_ROTATED_MAX];
        cm_rotate(row + u * n, n);
        scales[column] = cm_int8_quantise(row + u * n, n, codes) / (float)n;
        for (uint32_t i = 0; i < n; i++) {
            store_code(bytes, matrix->format, column, i, codes[i]);
        }
    }
}

static void pack_panel(const struct packing *packing, uint32_t panel, float *row)
{
    struct cm_matrix *matrix = packing->matrix;
    uint8_t *bytes = matrix->panels + panel * matrix->panel_bytes;
    float *floats = (void *)bytes; /* the panel holds one of these */
    uint16_t *halves = (void *)bytes;
    for (uint32_t c = 0; c < CM_PANEL && panel * CM_PANEL + c < matrix->n_out; c++) {
        struct row_origin origin = find_row(packing->sources, (uint64_t)panel * CM_PANEL + c);
        if (cm_format_is_rotated(matrix->format)) {
            pack_column_rotated(packing, bytes, c, origin, row);
            continue;
        }
        if (matrix->format >= CM_FORMAT_INT8) {
            pack_column_groups(packing, bytes, c, origin, row);
            continue;
        }
        read_row(origin, matrix->n_in, row);
        for (uint32_t k = 0; k < matrix->n_in; k++) {
            if (matrix->format == CM_FORMAT_F32) {
                floats[(size_t)k * CM_PANEL + c] = row[k];
            } else {
                size_t pair = (size_t)(k / 2) * CM_PANEL + c;
                halves[pair * 2 + k % 2] = cm_bf16_from_float(row[k]);
            }
        }
    }
}

static void pack_panels(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct packing *packing = context;
    float *row = packing->rows + thread_index * packing->row_floats;
    struct cm_pool_range range;
    while (cm_pool_work_take(&packing->work, thread_index, &range)) {
        pack_panel(packing, range.begin, row);
    }
}

static void pack_bias(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                      size_t sources_count)
{
    float *bias = matrix->bias;
    for (size_t i = 0; i < sources_count; i++) {
        uint64_t n = source_rows(&sources[i]);
        if (sources[i].bias != NULL) {
            cm_quants_dequantise(sources[i].bias->dtype, sources[i].bias->data, n, bias);
        }
        bias += n;
    }
}

enum cm_status cm_matrix_pack(struct cm_backend *backend, struct cm_matrix *matrix,
                              const struct cm_matrix_source *sources, size_t sources_count,
                              struct cm_error *error)
{
    struct packing packing = { .matrix = matrix, .sources = sources };
    packing.row_floats = (matrix->n_in + CM_ROTATED_MAX - 1) / CM_ROTATED_MAX * CM_ROTATED_MAX;
    packing.rows =
        cm_alloc(cm_pool_threads(backend->pool) * packing.row_floats, sizeof *packing.rows);
    if (packing.rows == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory to pack a matrix");
    }
    cm_pool_work_init(&packing.work, cm_pool_threads(backend->pool), matrix->panels_count, 1);
    cm_pool_run_work(backend->pool, pack_panels, &packing);
    cm_free(packing.rows);
    pack_bias(matrix, sources, sources_count);
    return CM_OK;
}
