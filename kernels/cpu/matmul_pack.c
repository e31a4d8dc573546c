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
    float *rows; /* one dequantised row per thread, [threads][n_in] */
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
        cm_int8_quantise(values, candidates[0]),
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

/* The nearest whole number, ties to even; |x| < 2^51. */
static double round_whole(double x)
{
    return x + 0x1.8p52 - 0x1.8p52;
}

/* How a group with an offset becomes codes without one: k * code + zero. */
struct folding {
    int k; /* 0: there is no way */
    int zero;
    double error; /* of all values alike, in steps of the group's scale */
};

/* Of the k that codes have room for, the one that brings k * offset nearest to a whole number of
 * steps. Four bits leave some ten to choose from. */
static struct folding fold_offset(const struct cm_quant_group *group)
{
    int lowest = group->codes[0];
    int highest = group->codes[0];
    for (int i = 1; i < CM_INT8_GROUP; i++) {
        lowest = group->codes[i] < lowest ? group->codes[i] : lowest;
        highest = group->codes[i] > highest ? group->codes[i] : highest;
    }
    struct folding best = { 0, 0, 0.0 };
    double offset = (double)group->offset / (double)group->scales[0];
    if (!(fabs(offset) <= CM_INT8_ZERO)) { /* or there are no steps */
        return best;
    }
    int k_end = UINT8_MAX / (highest > lowest ? highest - lowest : 1);
    for (int k = k_end; k > 0; k--) {
        double exact = k * offset;
        double zero = round_whole(exact);
        double error = fabs(exact - zero);
        if (k * lowest + zero >= -CM_INT8_ZERO && k * highest + zero < CM_INT8_ZERO &&
            (best.k == 0 || error < best.error * k)) {
            best = (struct folding){ k, (int)zero, error / k };
        }
    }
    return best;
}

/* Replaces codes and offset by codes alone: folded, or the nearest where that is better. Returns
 * their scale. */
static float requantise_without_offset(struct cm_quant_group *group)
{
    float values[CM_INT8_GROUP];
    int8_t nearest[CM_INT8_GROUP];
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        values[i] = group->scales[0] * (float)group->codes[i] + group->offset;
    }
    float scale = cm_int8_quantise(values, nearest);
    struct folding folding = fold_offset(group);
    double squares = 0.0;
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        double error = (double)values[i] - (double)scale * nearest[i];
        squares += error * error;
    }
    double folded = folding.error * (double)group->scales[0];
    if (folding.k == 0 || CM_INT8_GROUP * folded * folded > squares) {
        memcpy(group->codes, nearest, sizeof nearest);
        return scale;
    }
    for (int i = 0; i < CM_INT8_GROUP; i++) {
        group->codes[i] = (int8_t)(folding.k * group->codes[i] + folding.zero);
    }
    return group->scales[0] / (float)folding.k;
}

/* Group `index` of a row as int8 codes with one scale, and a minimum where `minima` says so: as in
 * the file where its type has these, else the nearest. `row` is used for types that go through
 * float32. */
static void read_int8_group(struct row_origin origin, uint32_t n_in, uint32_t index,
                            const float *row, bool minima, struct cm_quant_group *group)
{
    const struct cm_tensor *weight = origin.source->weight;
    if (cm_quants_is_block_type(weight->dtype)) {
        decode_group(origin, n_in, index, group);
        if (weight->dtype == CM_Q6_K) {
            group->scales[0] = requantise_q6_k(group, group->codes);
        } else if (!minima && cm_quants_has_offset(weight->dtype)) {
            group->scales[0] = requantise_without_offset(group);
            group->offset = 0.0f;
        }
        return;
    }
    float padded[CM_INT8_GROUP] = { 0 };
    uint32_t left = n_in - index * CM_INT8_GROUP;
    memcpy(padded, row + (size_t)index * CM_INT8_GROUP,
           (left < CM_INT8_GROUP ? left : CM_INT8_GROUP) * sizeof *row);
    group->scales[0] = cm_int8_quantise(padded, group->codes);
    group->offset = 0.0f;
}

/* Group `index` of 32 of a row as floats, all of which are there. Returns the step that they are
 * whole multiples of, the larger one where halves differ, or 0 if there is none. */
static float read_values(struct row_origin origin, uint32_t n_in, uint32_t index, const float *row,
                         float values[CM_INT8_GROUP])
{
    enum cm_dtype dtype = origin.source->weight->dtype;
    if (!cm_quants_is_block_type(dtype)) {
        memcpy(values, row + (size_t)index * CM_INT8_GROUP, CM_INT8_GROUP * sizeof *values);
        return 0.0f;
    }
    struct cm_quant_group group;
    decode_group(origin, n_in, index, &group);
    cm_quants_group_values(dtype, &group, values);
    return cm_quants_has_offset(dtype) ? 0.0f
                                       : fmaxf(fabsf(group.scales[0]), fabsf(group.scales[1]));
}

/* The nearest codes. Returns the sum of squared errors. */
static float round_wide(const float values[CM_INT8_WIDE_GROUP], float scale,
                        int8_t codes[CM_INT8_WIDE_GROUP])
{
    enum { LANES = 8 }; /* sums that a compiler may keep side by side */
    float squares[LANES] = { 0 };
    float inverse = 1.0f / scale;
    cm_int8_round(values, 0.0f, inverse, codes);
    cm_int8_round(values + CM_INT8_GROUP, 0.0f, inverse, codes + CM_INT8_GROUP);
    for (int i = 0; i < CM_INT8_WIDE_GROUP; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            float error = values[i + j] - scale * (float)codes[i + j];
            squares[j] += error * error;
        }
    }
    float sum = 0.0f;
    for (int j = 0; j < LANES; j++) {
        sum += squares[j];
    }
    return sum;
}

/* Group `index` of 64 of a row as the nearest int8 codes. Returns their scale: that of the largest
 * value, or one that makes the codes of its half exact, whichever is best. */
static float read_wide_group(struct row_origin origin, uint32_t n_in, uint32_t index,
                             const float *row, int8_t codes[CM_INT8_WIDE_GROUP])
{
    float values[CM_INT8_WIDE_GROUP];
    float *halves[2] = { values, values + CM_INT8_GROUP };
    float steps[2];
    float largest[2];
    for (uint32_t i = 0; i < 2; i++) {
        steps[i] = read_values(origin, n_in, 2 * index + i, row, halves[i]);
        largest[i] = cm_int8_largest(halves[i]);
    }
    int larger = !(largest[1] <= largest[0]); /* or not a number */
    if (largest[larger] < CM_INT8_LEAST) {
        memset(codes, 0, CM_INT8_WIDE_GROUP);
        return 0.0f;
    }
    float step = steps[larger];
    float best_scale = largest[larger] / 127.0f;
    float best_error = round_wide(values, best_scale, codes);
    int k_end = step >= best_scale ? (int)(step / best_scale) : 0;
    for (int k = k_end; k > k_end / 2; k--) {
        int8_t tried[CM_INT8_WIDE_GROUP];
        float error = round_wide(values, step / (float)k, tried);
        if (error < best_error) {
            best_error = error;
            best_scale = step / (float)k;
            memcpy(codes, tried, sizeof tried);
        }
    }
    return best_scale;
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

/* A unit of a column. */
struct unit {
    int8_t codes[CM_INT8_WIDE_GROUP];
    float scale;
    float offset;
};

static void read_unit(const struct cm_matrix *matrix, struct row_origin origin, uint32_t index,
                      const float *row, struct unit *unit)
{
    if (cm_format_is_wide(matrix->format)) {
        unit->scale = read_wide_group(origin, matrix->n_in, index, row, unit->codes);
        unit->offset = 0.0f;
        return;
    }
    struct cm_quant_group group;
    read_int8_group(origin, matrix->n_in, index, row, cm_format_has_minima(matrix->format), &group);
    memcpy(unit->codes, group.codes, sizeof group.codes);
    unit->scale = group.scales[0];
    unit->offset = group.offset;
}

/* The sum of the weights of `inputs` inputs. */
static float total_of(const struct unit *unit, uint32_t inputs)
{
    int sum = 0;
    for (uint32_t i = 0; i < inputs; i++) {
        sum += unit->codes[i];
    }
    return (float)((double)unit->scale * sum + (double)unit->offset * inputs);
}

static void pack_column_integers(const struct packing *packing, uint8_t *panel, uint32_t column,
                                 struct row_origin origin, float *row)
{
    const struct cm_matrix *matrix = packing->matrix;
    if (!cm_quants_is_block_type(origin.source->weight->dtype)) {
        read_row(origin, matrix->n_in, row);
    }
    const uint32_t inputs = cm_format_group(matrix->format);
    for (uint32_t u = 0; u < matrix->units_count; u++) {
        uint8_t *bytes = panel + u * cm_format_unit_bytes(matrix->format);
        float *scales = (void *)(bytes + cm_format_codes_bytes(matrix->format));
        struct unit unit;
        read_unit(matrix, origin, u, row, &unit);
        for (uint32_t i = 0; i < inputs; i++) {
            store_code(bytes, matrix->format, column, i, unit.codes[i]);
        }
        scales[column] = unit.scale;
        if (cm_format_has_minima(matrix->format)) {
            scales += CM_PANEL;
            scales[column] = unit.offset;
        }
        if (cm_format_has_offsets(matrix->format)) {
            scales[CM_PANEL + column] = total_of(&unit, inputs);
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
        if (matrix->format >= CM_FORMAT_INT8) {
            pack_column_integers(packing, bytes, c, origin, row);
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
    float *row = packing->rows + (size_t)thread_index * packing->matrix->n_in;
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
    packing.rows =
        cm_alloc((size_t)cm_pool_threads(backend->pool) * matrix->n_in, sizeof *packing.rows);
    if (packing.rows == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory to pack a matrix");
    }
    cm_pool_work_init(&packing.work, cm_pool_threads(backend->pool), matrix->panels_count, 1);
    cm_pool_run_work(backend->pool, pack_panels, &packing);
    cm_free(packing.rows);
    pack_bias(matrix, sources, sources_count);
    return CM_OK;
}
