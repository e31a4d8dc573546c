/* The ways of rows through cm_op_matmul on the CPU that test_matmul.c has no room for: results past
 * the caches, and rows that are made where they are packed. */
#include "op_common.h"

#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"

#include <string.h>

enum { ROWS_MAX = 65 };

static const uint32_t rows_counts[] = { 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65 };

static struct cm_tensor tensor_of(const float *values, uint64_t rows, uint64_t columns)
{
    return (struct cm_tensor){ .name = "w",
                               .dtype = CM_F32,
                               .n_dims = 2,
                               .dims = { rows, columns },
                               .data = values,
                               .bytes = rows * columns * sizeof *values };
}

static struct cm_matrix *create_matrix(struct cm_backend *backend,
                                       const struct cm_matrix_source *source)
{
    struct cm_matrix *matrix = NULL;
    struct cm_error error;
    assert_int_equal(cm_matrix_create(backend, source, 1, &matrix, &error), CM_OK);
    return matrix;
}

/* y [ROWS_MAX, n_out] = x * weight^T; rows alone have the same bits. */
static void multiply_and_close(struct cm_backend *backend, const struct cm_tensor *weight,
                               const float *x, float *y)
{
    uint64_t n_out = weight->dims[0];
    uint64_t n_in = weight->dims[1];
    struct cm_matrix_source source = { weight, NULL, false, false };
    struct cm_matrix *matrix = create_matrix(backend, &source);
    float *alone = cm_alloc(n_out, sizeof *alone);
    cm_op_matmul(backend, matrix, x, ROWS_MAX, y);
    for (uint32_t row = 0; row < ROWS_MAX; row += 16) {
        cm_op_matmul(backend, matrix, x + row * n_in, 1, alone);
        assert_memory_equal(y + row * n_out, alone, sizeof *alone * n_out);
    }
    cm_free(alone);
    cm_matrix_close(matrix);
    cm_backend_close(backend);
}

/* An output that goes past the caches has the same bits as that of a row alone. */
static void large_outputs_are_the_same(void **state)
{
    (void)state;
    enum { N_IN = 128, N_OUT = 50000 / 16 * 16 };
    float *w = op_random_array(1, (size_t)N_OUT * N_IN, 1.0f);
    struct cm_tensor weight = tensor_of(w, N_OUT, N_IN);
    float *x = op_random_array(2, (size_t)ROWS_MAX * N_IN, 1.0f);
    float *y = cm_alloc_aligned((size_t)ROWS_MAX * N_OUT, sizeof *y);
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        multiply_and_close(op_backend((enum cm_cpu_isa)isa, 2, CM_PRECISION_INT8), &weight, x, y);
    }
    cm_free(y);
    cm_free(x);
    cm_free(w);
}

/* A norm and a gate that are made where rows are packed leave the bits that they leave alone. */
static void rows_made_on_the_way_are_the_same(void **state)
{
    (void)state;
    enum { N_IN = 96, N_OUT = 70 };
    float *w = op_random_array(1, (size_t)N_OUT * N_IN, 1.0f);
    struct cm_tensor weight = tensor_of(w, N_OUT, N_IN);
    struct cm_matrix_source source = { &weight, NULL, false, false };
    float *x = op_random_array(2, (size_t)ROWS_MAX * 2 * N_IN, 1.0f);
    float *residual = op_random_array(2, (size_t)ROWS_MAX * N_IN, 1.0f);
    float *scale = op_random_array(3, N_IN, 1.0f);
    static float sums[2][ROWS_MAX * N_IN];
    static float made[2][ROWS_MAX * N_IN];
    static float y[2][ROWS_MAX * N_OUT];
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            struct cm_backend *backend =
                op_backend((enum cm_cpu_isa)isa, threads, CM_PRECISION_INT8);
            struct cm_matrix *matrix = create_matrix(backend, &source);
            for (size_t i = 0; i < sizeof rows_counts / sizeof *rows_counts; i++) {
                uint32_t rows = rows_counts[i];
                struct cm_norm_args norm[2];
                for (int j = 0; j < 2; j++) {
                    memcpy(sums[j], x, sizeof sums[j]);
                    norm[j] = (struct cm_norm_args){ .kind = CM_NORM_RMS,
                                                     .epsilon = 1e-5f,
                                                     .n_rows = rows,
                                                     .dim = N_IN,
                                                     .weight = scale,
                                                     .x = sums[j],
                                                     .residual = residual,
                                                     .out = made[j] };
                }
                cm_op_norm(backend, &norm[0]);
                cm_op_matmul(backend, matrix, made[0], rows, y[0]);
                cm_op_norm_matmul(backend, &norm[1], matrix, y[1]);
                assert_memory_equal(y[0], y[1], rows * N_OUT * sizeof **y);
                assert_memory_equal(sums[0], sums[1], rows * N_IN * sizeof **sums);
                cm_op_gated(backend, CM_ACTIVATION_SILU, x, rows, N_IN, made[0]);
                cm_op_matmul(backend, matrix, made[0], rows, y[0]);
                cm_op_gated_matmul(backend, CM_ACTIVATION_SILU, x, rows, made[1], matrix, y[1]);
                assert_memory_equal(y[0], y[1], rows * N_OUT * sizeof **y);
            }
            cm_matrix_close(matrix);
            cm_backend_close(backend);
        }
    }
    cm_free(scale);
    cm_free(residual);
    cm_free(x);
    cm_free(w);
}

/* A gated block in one op leaves the bits of its parts, whether units of packed rows, of 128, 64 or
 * 32 inputs, divide its width or not. */
static void feed_forward_is_the_same(void **state)
{
    (void)state;
    enum { N_EMBD = 70, N_FF_MAX = 384 };
    static const uint32_t widths[] = { N_FF_MAX, 192, 160, 80, 32 };
    float *w = op_random_array(1, (size_t)3 * N_FF_MAX * N_EMBD, 1.0f);
    float *input = op_random_array(2, (size_t)2 * ROWS_MAX * N_EMBD, 1.0f);
    static float x[2][ROWS_MAX * N_EMBD];
    static float normed[ROWS_MAX * N_EMBD];
    static float products[ROWS_MAX * 2 * N_FF_MAX];
    static float hidden[ROWS_MAX * N_FF_MAX];
    static float y[2][ROWS_MAX * N_EMBD];
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (size_t i = 0; i < 3 * sizeof widths / sizeof *widths; i++) {
            uint32_t n_ff = widths[i / 3];
            struct cm_backend *backend =
                op_backend((enum cm_cpu_isa)isa, (uint32_t)i % 3 + 1, CM_PRECISION_INT8);
            struct cm_tensor weights[] = { tensor_of(w, 2 * (uint64_t)n_ff, N_EMBD),
                                           tensor_of(w, N_EMBD, n_ff) };
            struct cm_matrix *gate_up = create_matrix(
                backend, &(struct cm_matrix_source){ &weights[0], NULL, false, false });
            struct cm_matrix *down = create_matrix(
                backend, &(struct cm_matrix_source){ &weights[1], NULL, false, false });
            for (size_t k = 0; k < sizeof rows_counts / sizeof *rows_counts; k++) {
                struct cm_norm_args norm = { .kind = CM_NORM_RMS,
                                             .epsilon = 1e-5f,
                                             .n_rows = rows_counts[k],
                                             .dim = N_EMBD,
                                             .weight = w,
                                             .residual = input + ROWS_MAX * N_EMBD,
                                             .out = normed };
                memcpy(x[0], input, sizeof x[0]);
                memcpy(x[1], input, sizeof x[1]);
                norm.x = x[0];
                cm_op_norm(backend, &norm);
                cm_op_matmul(backend, gate_up, normed, norm.n_rows, products);
                cm_op_gated(backend, CM_ACTIVATION_SILU, products, norm.n_rows, n_ff, hidden);
                cm_op_matmul(backend, down, hidden, norm.n_rows, y[0]);
                norm.x = x[1];
                cm_op_feed_forward(backend, &(struct cm_feed_forward_args){
                                                .norm = &norm,
                                                .gate_up = gate_up,
                                                .kind = CM_ACTIVATION_SILU,
                                                .down = down,
                                                .products = products,
                                                .hidden = hidden,
                                                .y = y[1],
                                            });
                assert_memory_equal(y[0], y[1], norm.n_rows * N_EMBD * sizeof **y);
                assert_memory_equal(x[0], x[1], sizeof x[0]);
            }
            cm_matrix_close(gate_up);
            cm_matrix_close(down);
            cm_backend_close(backend);
        }
    }
    cm_free(input);
    cm_free(w);
}

/* Where rows are rotated, a narrow model's shorter units lose less of them; elsewhere units are the
 * same in all models. */
static void narrow_models_lose_less(void **state)
{
    (void)state;
    enum { N_IN = 256, N_OUT = 70 };
    float *w = op_random_array(1, (size_t)N_OUT * N_IN, 1.0f);
    float *x = op_random_array(2, (size_t)ROWS_MAX * N_IN, 1.0f);
    struct cm_tensor weight = tensor_of(w, N_OUT, N_IN);
    static float exact[ROWS_MAX * N_OUT];
    static float y[2][ROWS_MAX * N_OUT];
    multiply_and_close(op_backend(CM_CPU_PORTABLE, 1, CM_PRECISION_EXACT), &weight, x, exact);
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        double errors[2] = { 0, 0 };
        multiply_and_close(op_backend((enum cm_cpu_isa)isa, 2, CM_PRECISION_INT8), &weight, x,
                           y[0]);
        multiply_and_close(op_backend_narrow((enum cm_cpu_isa)isa, 2), &weight, x, y[1]);
        for (size_t i = 0; i < (size_t)ROWS_MAX * N_OUT; i++) {
            for (int narrow = 0; narrow < 2; narrow++) {
                double error = (double)y[narrow][i] - (double)exact[i];
                errors[narrow] += error * error;
            }
        }
        if (isa >= (int)CM_CPU_AVX512VNNI) {
            assert_true(errors[1] < errors[0]);
        } else {
            assert_memory_equal(y[0], y[1], sizeof y[0]);
        }
    }
    cm_free(x);
    cm_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_outputs_are_the_same),
        cmocka_unit_test(rows_made_on_the_way_are_the_same),
        cmocka_unit_test(feed_forward_is_the_same),
        cmocka_unit_test(narrow_models_lose_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
