/* Products: plain and stacked, biased and transposed, weights of a file's block types, and a row by
 * itself against the same row in company. All numbers are ones that bfloat16 holds, so that the
 * precisions differ by the rounding of sums alone. */
#include "kernels/selftest/trial.h"

#include "base/memory.h"

#include <math.h>

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

/* NULL, with the trial failed, where it cannot be made. */
static struct cm_matrix *create(struct cm_trial *trial, const struct shape *shape)
{
    size_t weights_count = (size_t)shape->n_in * shape->n_out;
    float *values = cm_alloc(weights_count + shape->n_out, sizeof *values);
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    if (values == NULL) {
        cm_trial_fail(trial, "out of memory");
        return NULL;
    }
    cm_trial_numbers(1, weights_count + shape->n_out, 1.0f, values);
    cm_trial_round(weights_count, 0x1p-7f, values);
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
    cm_free(values);
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
    cm_trial_numbers(3, count, 2.0f, numbers);
    cm_trial_round(count, 0x1p-6f, numbers);
    const float *x = cm_trial_input(trial, numbers, count * sizeof *numbers);
    cm_free(numbers);
    return x;
}

/* Sums of n products of numbers up to 1 and 2: their rounding grows like the root of n. */
static double tolerance_of(uint32_t n_in)
{
    return 4e-6 * sqrt((double)n_in);
}

static void matmul(struct cm_trial *trial, uint32_t number)
{
    const struct shape *shape = &shapes[number % SHAPES_COUNT];
    uint32_t n_rows = row_counts[number / SHAPES_COUNT];
    struct cm_matrix *matrix = create(trial, shape);
    const float *x = put_x(trial, n_rows, shape->n_in);
    float *y =
        cm_trial_floats(trial, "y", (size_t)n_rows * shape->n_out, tolerance_of(shape->n_in), 0);
    if (!cm_trial_failed(trial)) {
        cm_trial_begin(trial);
        cm_op_matmul(trial->backend, matrix, x, n_rows, y);
        cm_trial_end(trial);
    }
    cm_matrix_close(matrix);
}

/* The promise that a text does not depend on the batch stands on this. */
static void rows_alone(struct cm_trial *trial, uint32_t number)
{
    const struct shape *shape = &shapes[number];
    struct cm_matrix *matrix = create(trial, shape);
    const float *x = put_x(trial, ROWS_MAX, shape->n_in);
    size_t y_count = (size_t)ROWS_MAX * shape->n_out;
    float *together = cm_trial_floats(trial, "y", y_count, tolerance_of(shape->n_in), 0);
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
    cm_trial_numbers(1, PLAIN_ROWS * N_IN, 1.0f, plain);
    cm_trial_round(PLAIN_ROWS * N_IN, 0x1p-7f, plain);
    cm_trial_numbers(2, PLAIN_ROWS, 1.0f, bias_values);
    const struct cm_tensor quantised = { "quantised",          CM_Q8_0, 2,
                                         { BLOCK_ROWS, N_IN }, blocks,  sizeof blocks };
    const struct cm_tensor second = tensor_of("plain", plain, PLAIN_ROWS, N_IN);
    const struct cm_tensor bias = tensor_of("bias", bias_values, PLAIN_ROWS, 0);
    const struct cm_matrix_source sources[] = { { .weight = &quantised },
                                                { .weight = &second, .bias = &bias } };
    uint32_t n_rows = row_counts[number];
    const float *x = put_x(trial, n_rows, N_IN);
    float *y = cm_trial_floats(trial, "y", (size_t)n_rows * (BLOCK_ROWS + PLAIN_ROWS), 2e-4, 0);
    if (cm_matrix_create(trial->backend, sources, 2, &matrix, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
    if (!cm_trial_failed(trial)) {
        cm_trial_begin(trial);
        cm_op_matmul(trial->backend, matrix, x, n_rows, y);
        cm_trial_end(trial);
    }
    cm_matrix_close(matrix);
}

const struct cm_trial_case CM_MATMUL_CASES[] = {
    { "matmul", SHAPES_COUNT *ROW_COUNTS_COUNT, matmul, 5 },
    { "matmul, rows by themselves", SHAPES_COUNT, rows_alone, 0 },
    { "matmul, stacked Q8_0 and f32", ROW_COUNTS_COUNT, stacked, 3 },
    { 0 },
};
