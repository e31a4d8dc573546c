/* Ops that work row by row. */
#include "kernels/selftest/trial.h"

#include <math.h>

/* Around the sizes of warps, blocks and vectors. */
static const uint32_t dims[] = { 1, 7, 64, 257, 576, 1024, 4100 };
static const uint32_t row_counts[] = { 1, 5, 65 };

enum {
    DIMS_COUNT = sizeof dims / sizeof dims[0],
    ROW_COUNTS_COUNT = sizeof row_counts / sizeof row_counts[0],
    ROW_SHAPES = DIMS_COUNT * ROW_COUNTS_COUNT,
};

static uint32_t dim_of(uint32_t shape)
{
    return dims[shape % DIMS_COUNT];
}

static uint32_t rows_of(uint32_t shape)
{
    return row_counts[shape / DIMS_COUNT % ROW_COUNTS_COUNT];
}

/* All kinds, with and without a residual, by the number of the shape. */
static void norm(struct cm_trial *trial, uint32_t shape)
{
    uint32_t dim = dim_of(shape);
    uint32_t n_rows = rows_of(shape);
    size_t n = (size_t)n_rows * dim;
    uint32_t kind = shape / ROW_SHAPES % 3;
    bool with_residual = shape / ROW_SHAPES >= 3;
    struct cm_norm_args args = {
        .kind = (enum cm_norm_kind)kind,
        .epsilon = 1e-5f,
        .n_rows = n_rows,
        .dim = dim,
        .weight = cm_trial_random(trial, 1, dim, 1.0f),
        .bias = kind == CM_NORM_LAYER ? cm_trial_random(trial, 2, dim, 1.0f) : NULL,
        .x = cm_trial_random(trial, shape, n, 3.0f),
        .residual = with_residual ? cm_trial_random(trial, 4, n, 1.0f) : NULL,
        .out = cm_trial_floats(trial, "norm", n, 4e-6, 4e-6),
    };
    cm_trial_expose(trial, "sum", args.x, n, 0, 1e-7);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_norm(trial->backend, &args);
    cm_trial_end(trial);
}

static void add(struct cm_trial *trial, uint32_t shape)
{
    size_t n = (size_t)rows_of(shape) * dim_of(shape);
    float *x = cm_trial_random(trial, 1, n, 1.0f);
    const float *y = cm_trial_random(trial, 2, n, 1.0f);
    cm_trial_expose(trial, "sum", x, n, 0, 1e-7);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_add(trial->backend, x, y, rows_of(shape), dim_of(shape));
    cm_trial_end(trial);
}

static void activation(struct cm_trial *trial, uint32_t shape)
{
    uint32_t dim = dim_of(shape);
    uint32_t n_rows = rows_of(shape);
    size_t n = (size_t)n_rows * dim;
    enum cm_activation_kind kind = (enum cm_activation_kind)(shape / ROW_SHAPES);
    const float *x = cm_trial_random(trial, shape, 2 * n, 12.0f);
    float *plain = cm_trial_floats(trial, "plain", n, 2e-6, 3e-6);
    float *gated = cm_trial_floats(trial, "gated", n, 8e-6, 4e-6);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_activation(trial->backend, kind, x, n_rows, dim, plain);
    cm_op_gated(trial->backend, kind, x, n_rows, dim, gated);
    cm_trial_end(trial);
}

/* What a model never makes, but a broken one would. */
static void extremes(struct cm_trial *trial, uint32_t shape)
{
    const float values[] = { 0.0f,   -0.0f,  1e30f, -1e30f, 3e38f,
                             -3e38f, 1e-40f, 88.8f, -88.8f, -104.5f };
    enum { COUNT = sizeof values / sizeof values[0] };
    const float *x = cm_trial_input(trial, values, sizeof values);
    float *out = cm_trial_floats(trial, "activation", COUNT, 1e-30, 1e-6);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_activation(trial->backend, (enum cm_activation_kind)shape, x, 1, COUNT, out);
    cm_trial_end(trial);
}

static void gather(struct cm_trial *trial, uint32_t shape)
{
    enum { ROWS = 65, PICKED = 4 };
    const int32_t picked[PICKED] = { 64, 0, 7, 7 };
    uint32_t dim = dim_of(shape);
    const float *x = cm_trial_random(trial, 1, (size_t)ROWS * dim, 1.0f);
    const int32_t *rows = cm_trial_input(trial, picked, sizeof picked);
    float *out = cm_trial_floats(trial, "gather", (size_t)PICKED * dim, 1e-30, 0);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_gather(trial->backend, x, dim, rows, PICKED, out);
    cm_trial_end(trial);
}

static void embed(struct cm_trial *trial, uint32_t shape)
{
    enum { ROWS = 70, DIM = 96, PICKED = 65 };
    static const enum cm_dtype dtypes[] = { CM_F32, CM_F16, CM_BF16 };
    enum cm_dtype dtype = dtypes[shape];
    static float values[ROWS * DIM];
    static uint16_t halves[ROWS * DIM];
    int32_t tokens[PICKED];
    struct cm_table *table = NULL;
    struct cm_error error = { 0 };
    cm_trial_numbers(1, ROWS * DIM, 1.0f, values);
    for (uint32_t i = 0; i < ROWS * DIM; i++) { /* any finite number will do */
        halves[i] = (uint16_t)(i * 40503u & 0xBBFFu);
    }
    for (int32_t i = 0; i < PICKED; i++) {
        tokens[i] = i * 11 % ROWS;
    }
    const struct cm_tensor tensor = { .name = "table",
                                      .dtype = dtype,
                                      .n_dims = 2,
                                      .dims = { ROWS, DIM },
                                      .data = dtype == CM_F32 ? (void *)values : (void *)halves,
                                      .bytes = sizeof values / (dtype == CM_F32 ? 1 : 2) };
    const int32_t *picked = cm_trial_input(trial, tokens, sizeof tokens);
    float *out = cm_trial_floats(trial, "embed", (size_t)PICKED * DIM, 1e-30, 1e-7);
    if (cm_table_create(trial->backend, &tensor, &table, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
    if (!cm_trial_failed(trial)) {
        cm_trial_begin(trial);
        cm_op_embed(trial->backend, table, picked, PICKED, 3.0f, out);
        cm_trial_end(trial);
    }
    cm_table_close(table);
}

const struct cm_trial_case CM_ROW_CASES[] = {
    { "norm", 6 * ROW_SHAPES, norm, 31 },
    { "add", ROW_SHAPES, add, 8 },
    { "activation", 3 * ROW_SHAPES, activation, 31 },
    { "activation, extreme values", 3, extremes, 3 },
    { "gather", DIMS_COUNT, gather, 5 },
    { "embed f32, f16, bf16", 3, embed, 1 },
    { 0 },
};
