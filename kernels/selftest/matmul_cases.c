/* Products: plain and stacked, biased and transposed, weights of a file's block types, and a row by
 * itself against the same row in company. All numbers are ones that the precision holds exactly, so
 * that float32 on the CPU is an oracle for each: they differ by the rounding of sums alone, but for
 * integers on AVX-512. */
#include "kernels/selftest/trial.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

struct shape {
    uint32_t n_in;
    uint32_t n_out;
    bool with_bias;
    bool transposed;
};

static const struct shape shapes[] = {
    { 64, 96, false, false },  { 1, 1, true, false },       { 37, 65, true, false },
    { 200, 3, false, true },   { 129, 150, true, true },    { 576, 960, true, false },
    { 768, 250, false, true }, { 1024, 512, false, false },
};
static const uint32_t row_counts[] = { 1, 2, 7, 16, 33, 64, 65 };

enum {
    SHAPES_COUNT = sizeof shapes / sizeof shapes[0],
    ROW_COUNTS_COUNT = sizeof row_counts / sizeof row_counts[0],
    ROWS_MAX = 65,
};

static struct cm_tensor tensor_of(const char *name, const float *values, uint32_t rows,
                                  uint32_t columns)
{
    struct cm_tensor tensor = { .name = name, .dtype = CM_F32, .data = values };
    tensor.n_dims = columns == 0 ? 1 : 2;
    tensor.dims[0] = rows;
    tensor.dims[1] = columns;
    tensor.bytes = sizeof(float) * rows * (columns == 0 ? 1 : columns);
    return tensor;
}

/* The k-th of a row's numbers: in e4m3 three bits behind the first one, and 1.75 at the start to
 * make the row's scale a power of two; else multiples of 1/64 up to 127/64, which the first of each
 * group of 32 reaches, so that codes of 8 bits hold the group. */
static float number_of(enum cm_precision precision, float uniform, uint32_t k)
{
    float magnitude = fabsf(uniform);
    if (precision == CM_PRECISION_FP8) {
        uint32_t choice = (uint32_t)(magnitude * 28.0f) % 28;
        float eighths = (float)(8 + choice % 7);
        magnitude = k == 0 ? 1.75f : ldexpf(eighths / 8.0f, -(int)(choice / 7));
    } else {
        magnitude = k % 32 == 0 ? 127.0f / 64.0f : roundf(magnitude * 127.0f) / 64.0f;
    }
    return uniform < 0.0f ? -magnitude : magnitude;
}

/* [rows, n_in] of such numbers, times the factor and a power of two of each row's own. */
static void fill(enum cm_precision precision, uint64_t seed, uint32_t rows, uint32_t n_in,
                 float factor, float *numbers)
{
    cm_trial_numbers(seed, (size_t)rows * n_in, 1.0f, numbers);
    for (size_t i = 0; i < (size_t)rows * n_in; i++) {
        float scale = ldexpf(factor, -(int)(i / n_in % 4));
        numbers[i] = scale * number_of(precision, numbers[i], (uint32_t)(i % n_in));
    }
}

static void transpose(const float *from, uint32_t rows, uint32_t columns, float *to)
{
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t j = 0; j < columns; j++) {
            to[(size_t)j * rows + i] = from[(size_t)i * columns + j];
        }
    }
}

/* NULL, with the trial failed, where it cannot be made. */
static struct cm_matrix *create(struct cm_trial *trial, const struct shape *shape)
{
    enum cm_precision precision = trial->precision;
    size_t weights_count = (size_t)shape->n_in * shape->n_out;
    float *values = cm_alloc(weights_count + shape->n_out, sizeof *values);
    float *rows_of_n_in = cm_alloc(weights_count, sizeof *rows_of_n_in);
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    if (values == NULL || rows_of_n_in == NULL) {
        cm_trial_fail(trial, "out of memory");
        goto done;
    }
    fill(precision, 1, shape->n_out, shape->n_in, 0.5f, rows_of_n_in);
    if (shape->transposed) {
        transpose(rows_of_n_in, shape->n_out, shape->n_in, values);
    } else {
        memcpy(values, rows_of_n_in, weights_count * sizeof *values);
    }
    cm_trial_numbers(2, shape->n_out, 1.0f, values + weights_count);
    uint32_t rows = shape->transposed ? shape->n_in : shape->n_out;
    uint32_t columns = shape->transposed ? shape->n_out : shape->n_in;
    const struct cm_tensor weight = tensor_of("weight", values, rows, columns);
    const struct cm_tensor bias = tensor_of("bias", values + weights_count, shape->n_out, 0);
    const struct cm_matrix_source source = { .weight = &weight,
                                             .bias = shape->with_bias ? &bias : NULL,
                                             .transposed = shape->transposed };
    if (cm_matrix_create(trial->backend, &source, 1, &matrix, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
done:
    cm_free(values);
    cm_free(rows_of_n_in);
    return matrix;
}

/* x [n_rows, n_in] on the device. */
static const float *put_x(struct cm_trial *trial, uint32_t n_rows, uint32_t n_in)
{
    size_t count = (size_t)n_rows * n_in;
    float *numbers = cm_alloc(count, sizeof *numbers);
    if (numbers == NULL) {
        cm_trial_fail(trial, "out of memory");
        return NULL;
    }
    fill(trial->precision, 3, n_rows, n_in, 1.0f, numbers);
    const float *x = cm_trial_input(trial, numbers, count * sizeof *numbers);
    cm_free(numbers);
    return x;
}

/* Sums of n products of numbers up to 1 and 2: their rounding grows like the root of n. Tensor
 * cores cut off where float32 would round, those for e4m3 after some 13 bits. */
static double tolerance_of(const struct cm_trial *trial, uint32_t n_in)
{
    switch (trial->precision) {
    case CM_PRECISION_EXACT:
        return 4e-6 * sqrt((double)n_in);
    case CM_PRECISION_FP8:
        return 0x1p-13 * n_in;
    default:
        return 2e-5 * sqrt((double)n_in);
    }
}

/* AVX-512 rounds rotated numbers, which eight bits do not hold exactly: x up to 2 and weights up to
 * w_largest are off by steps of a hundredth of their size, of which products add up n_in. Six times
 * what that makes on average. */
static double rotation_error(const struct cm_trial *trial, uint32_t n_in, double w_largest)
{
    bool rotates = trial->precision == CM_PRECISION_INT8 &&
                   strncmp(cm_backend_variant(trial->backend), "cpu-avx512", 10) == 0;
    return rotates ? 0.05 * sqrt((double)n_in) * w_largest : 0.0;
}

/* The op under trial, unless something before it has failed; closes the matrix. */
static void multiply(struct cm_trial *trial, struct cm_matrix *matrix, const float *x,
                     uint32_t n_rows, float *y)
{
    if (!cm_trial_failed(trial)) {
        cm_trial_begin(trial);
        cm_op_matmul(trial->backend, matrix, x, n_rows, y);
        cm_trial_end(trial);
    }
    cm_matrix_close(matrix);
}

static void matmul(struct cm_trial *trial, uint32_t number)
{
    const struct shape *shape = &shapes[number % SHAPES_COUNT];
    uint32_t n_rows = row_counts[number / SHAPES_COUNT];
    struct cm_matrix *matrix = create(trial, shape);
    const float *x = put_x(trial, n_rows, shape->n_in);
    float *y = cm_trial_floats(
        trial, "y", (size_t)n_rows * shape->n_out,
        tolerance_of(trial, shape->n_in) + rotation_error(trial, shape->n_in, 1.0), 0);
    multiply(trial, matrix, x, n_rows, y);
}

/* The promise that a text does not depend on the batch stands on this. */
static void rows_alone(struct cm_trial *trial, uint32_t number)
{
    const struct shape *shape = &shapes[number];
    struct cm_matrix *matrix = create(trial, shape);
    const float *x = put_x(trial, ROWS_MAX, shape->n_in);
    size_t y_count = (size_t)ROWS_MAX * shape->n_out;
    float *together = cm_trial_floats(
        trial, "y", y_count,
        tolerance_of(trial, shape->n_in) + rotation_error(trial, shape->n_in, 1.0), 0);
    float *some = cm_trial_random(trial, 4, y_count, 1.0f);
    if (!cm_trial_failed(trial)) {
        cm_op_matmul(trial->backend, matrix, x, ROWS_MAX, together);
    }
    for (uint32_t i = 0; i < ROW_COUNTS_COUNT && !cm_trial_failed(trial); i++) {
        size_t first = ROWS_MAX - row_counts[i];
        cm_op_matmul(trial->backend, matrix, x + first * shape->n_in, row_counts[i], some);
        cm_trial_same(trial, "a row's product", some, together + first * shape->n_out,
                      (size_t)row_counts[i] * shape->n_out);
    }
    cm_matrix_close(matrix);
}

/* A block type and a plain one with a bias, stacked; each row of blocks holds a float16 scale,
 * a power of two, and 32 codes, twice. */
static void stacked(struct cm_trial *trial, uint32_t number)
{
    enum { N_IN = 64, BLOCK_ROWS = 37, PLAIN_ROWS = 9, ROW_BYTES = 2 * 34 };
    static uint8_t blocks[BLOCK_ROWS * ROW_BYTES];
    static float plain[PLAIN_ROWS * N_IN];
    static float bias_values[PLAIN_ROWS];
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    for (size_t i = 0; i < sizeof blocks; i++) {
        blocks[i] = (uint8_t)(i % 34 == 0 ? 0 : i % 34 == 1 ? 0x2c : i * 37);
    }
    fill(trial->precision, 1, PLAIN_ROWS, N_IN, 0.5f, plain);
    cm_trial_numbers(2, PLAIN_ROWS, 1.0f, bias_values);
    const struct cm_tensor quantised = { "quantised",          CM_Q8_0, 2,
                                         { BLOCK_ROWS, N_IN }, blocks,  sizeof blocks };
    const struct cm_tensor second = tensor_of("plain", plain, PLAIN_ROWS, N_IN);
    const struct cm_tensor bias = tensor_of("bias", bias_values, PLAIN_ROWS, 0);
    const struct cm_matrix_source sources[] = { { .weight = &quantised },
                                                { .weight = &second, .bias = &bias } };
    uint32_t n_rows = row_counts[number];
    const float *x = put_x(trial, n_rows, N_IN);
    float *y = cm_trial_floats(trial, "y", (size_t)n_rows * (BLOCK_ROWS + PLAIN_ROWS),
                               1e-3 + rotation_error(trial, N_IN, 8.0), 0);
    if (cm_matrix_create(trial->backend, sources, 2, &matrix, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
    multiply(trial, matrix, x, n_rows, y);
}

/* --- Block types --- */

/* Which of them, and how large their values get with the scales of cm_trial_weights. */
static const struct block_type {
    enum cm_dtype dtype;
    double largest;
} block_types[] = {
    { CM_Q4_0, 0.25 }, { CM_Q4_1, 0.25 }, { CM_Q5_0, 0.25 }, { CM_Q5_1, 0.5 },
    { CM_Q8_0, 2.0 },  { CM_Q4_K, 16.0 }, { CM_Q5_K, 32.0 }, { CM_Q6_K, 64.0 },
};
enum { BLOCK_TYPES_COUNT = sizeof block_types / sizeof block_types[0] };
static const uint32_t block_row_counts[] = { 1, 17, 33, 65 };
enum { BLOCK_ROW_COUNTS = sizeof block_row_counts / sizeof block_row_counts[0] };

static void blocks(struct cm_trial *trial, uint32_t number)
{
    enum { N_IN = 512, N_OUT = 70 };
    const struct block_type *type = &block_types[number % BLOCK_TYPES_COUNT];
    uint32_t n_rows = block_row_counts[number / BLOCK_TYPES_COUNT];
    struct cm_tensor tensor = { .name = "weight", .dtype = type->dtype, .n_dims = 2 };
    const struct cm_matrix_source source = { .weight = &tensor };
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    tensor.dims[0] = N_OUT;
    tensor.dims[1] = N_IN;
    void *weights = NULL;
    if (cm_tensor_bytes(tensor.dtype, 2, tensor.dims, &tensor.bytes) == CM_OK) {
        weights = cm_trial_weights(tensor.dtype, tensor.bytes, 1 + number);
    }
    tensor.data = weights;
    const float *x = put_x(trial, n_rows, N_IN);
    float *y = cm_trial_floats(trial, "y", (size_t)n_rows * N_OUT,
                               2 * type->largest * tolerance_of(trial, N_IN) +
                                   rotation_error(trial, N_IN, type->largest),
                               0);
    if (weights == NULL) {
        cm_trial_fail(trial, "out of memory");
    } else if (cm_matrix_create(trial->backend, &source, 1, &matrix, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
    multiply(trial, matrix, x, n_rows, y);
    cm_free(weights);
}

const struct cm_trial_case CM_MATMUL_CASES[] = {
    { "matmul", SHAPES_COUNT *ROW_COUNTS_COUNT, matmul, 5 },
    { "matmul, rows by themselves", SHAPES_COUNT, rows_alone, 0 },
    { "matmul, stacked Q8_0 and f32", ROW_COUNTS_COUNT, stacked, 3 },
    { 0 },
};

const struct cm_trial_case CM_BLOCK_CASES[] = {
    { "matmul, block types", BLOCK_TYPES_COUNT *BLOCK_ROW_COUNTS, blocks, 9 },
    { 0 },
};
