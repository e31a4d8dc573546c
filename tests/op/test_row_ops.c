/* Ops that work row by row, each against float64, and each row alone against all rows together. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <string.h>

static const uint32_t dims[] = { 1, 7, 16, 17, 48, 65, 100, 576, 1000 };
static const uint32_t row_counts[] = { 1, 2, 5, 65 };

enum { DIM_MAX = 1000, ROWS_MAX = 65, DIMS_COUNT = 9, ROW_COUNTS_COUNT = 4 };

static void oracle_norm(const struct cm_norm_args *args, const float *x, double *out)
{
    double mean = 0;
    double square = 0;
    for (uint32_t i = 0; i < args->dim && args->kind == CM_NORM_LAYER; i++) {
        mean += x[i] / (double)args->dim;
    }
    for (uint32_t i = 0; i < args->dim; i++) {
        square += (x[i] - mean) * (x[i] - mean) / args->dim;
    }
    for (uint32_t i = 0; i < args->dim; i++) {
        double weight = args->weight[i] + (args->kind == CM_NORM_RMS_PLUS ? 1.0 : 0.0);
        out[i] = (x[i] - mean) / sqrt(square + args->epsilon) * weight +
                 (args->bias != NULL ? args->bias[i] : 0.0);
    }
}

static void check_norm(struct cm_backend *backend, struct cm_norm_args args, bool with_residual)
{
    size_t n = (size_t)args.n_rows * args.dim;
    float *x = op_random_array(args.dim, n, 3.0f);
    float *one = op_random_array(args.dim, n, 3.0f);
    float *residual = op_random_array(args.n_rows, n, 1.0f);
    float *out = op_random_array(1, n, 1.0f);
    float *out_one = op_random_array(2, n, 1.0f);
    args.x = x;
    args.out = out;
    args.residual = with_residual ? residual : NULL;
    op_norm(backend, &args);
    double expected[DIM_MAX];
    for (size_t i = 0; i < n; i++) {
        float sum = one[i] + (with_residual ? residual[i] : 0.0f);
        assert_memory_equal(&x[i], &sum, sizeof sum);
        if (i % args.dim == 0) {
            oracle_norm(&args, x + i, expected);
        }
        op_assert_near("norm", i, out[i], expected[i % args.dim], 2e-6, 2e-6);
    }
    struct cm_norm_args alone = args;
    alone.n_rows = 1;
    for (size_t row = 0; row < args.n_rows; row++) {
        alone.x = one + row * args.dim;
        alone.out = out_one + row * args.dim;
        alone.residual = with_residual ? residual + row * args.dim : NULL;
        op_norm(backend, &alone);
    }
    assert_memory_equal(out, out_one, n * sizeof *out);
    if (!with_residual) { /* in place */
        args.out = x;
        op_norm(backend, &args);
        assert_memory_equal(out, x, n * sizeof *out);
    }
    cm_free(x);
    cm_free(one);
    cm_free(residual);
    cm_free(out);
    cm_free(out_one);
}

static void norms_match_float64(struct cm_backend *backend)
{
    float *weight = op_random_array(3, DIM_MAX, 1.0f);
    float *bias = op_random_array(4, DIM_MAX, 1.0f);
    for (size_t i = 0; i < DIMS_COUNT * ROW_COUNTS_COUNT * 3; i++) {
        struct cm_norm_args args = {
            .kind = (enum cm_norm_kind)(i % 3),
            .epsilon = 1e-5f,
            .dim = dims[i / 3 % DIMS_COUNT],
            .n_rows = row_counts[i / 3 / DIMS_COUNT],
            .weight = weight,
            .bias = i % 3 == CM_NORM_LAYER ? bias : NULL,
        };
        check_norm(backend, args, false);
        check_norm(backend, args, true);
    }
    cm_free(weight);
    cm_free(bias);
}

static double oracle_activation(enum cm_activation_kind kind, double x)
{
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case CM_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
        return 0.5 * x * erfc(-x / sqrt(2));
    }
}

static void activations_match_float64(struct cm_backend *backend)
{
    for (int k = 0; k < 3; k++) {
        for (size_t d = 0; d < DIMS_COUNT; d++) {
            enum cm_activation_kind kind = (enum cm_activation_kind)k;
            uint32_t dim = dims[d];
            size_t n = (size_t)ROWS_MAX * dim;
            float *x = op_random_array(dim, 2 * n, 12.0f);
            float *out = op_random_array(1, n, 1.0f);
            float *alone = op_random_array(2, n, 1.0f);
            op_gated(backend, kind, x, ROWS_MAX, dim, out);
            for (size_t i = 0; i < n; i++) {
                const float *gate = x + i / dim * 2 * dim + i % dim;
                double expected = oracle_activation(kind, gate[0]) * gate[dim];
                op_assert_near("gated", i, out[i], expected, 4e-6, 4e-6);
            }
            for (size_t row = 0; row < ROWS_MAX; row++) {
                op_gated(backend, kind, x + row * 2 * dim, 1, dim, alone + row * dim);
            }
            assert_memory_equal(out, alone, n * sizeof *out);
            op_activation(backend, kind, x, ROWS_MAX, dim, out);
            for (size_t i = 0; i < n; i++) {
                op_assert_near("plain", i, out[i], oracle_activation(kind, x[i]), 1e-6, 2e-6);
            }
            op_activation(backend, kind, x, ROWS_MAX, dim, x);
            assert_memory_equal(out, x, n * sizeof *out);
            cm_free(x);
            cm_free(out);
            cm_free(alone);
        }
    }
}

/* Far below zero x / (1 + exp(-x)) is x exp(x), so this holds the vector exp to a few ulp. */
static void exp_is_accurate(struct cm_backend *backend)
{
    enum { COUNT = 20000 };
    float *x = op_random_array(9, COUNT, 40.0f);
    float *out = op_random_array(9, COUNT, 1.0f);
    op_activation(backend, CM_ACTIVATION_SILU, x, 1, COUNT, out);
    for (size_t i = 0; i < COUNT; i++) {
        double expected = oracle_activation(CM_ACTIVATION_SILU, x[i]);
        op_assert_near("silu", i, out[i], expected, 0, 4.5e-7);
    }
    cm_free(x);
    cm_free(out);
}

static void activations_survive_extremes(struct cm_backend *backend)
{
    float x[] = { 0.0f, -0.0f, 1e30f, -1e30f, 3e38f, -3e38f, 1e-40f, 88.8f, -88.8f, -104.5f };
    enum { COUNT = sizeof x / sizeof x[0] };
    float out[COUNT];
    for (int kind = 0; kind < 3; kind++) {
        op_activation(backend, (enum cm_activation_kind)kind, x, 1, COUNT, out);
        for (size_t i = 0; i < COUNT; i++) {
            float expected = x[i] > 0 ? x[i] : 0.0f;
            op_assert_near("extreme", i, out[i], expected, 1e-30, 1e-6);
        }
    }
}

static void addition_and_gather_are_exact(struct cm_backend *backend)
{
    enum { ROWS = 65, DIM = 100, PICKED = 4 };
    float *x = op_random_array(1, ROWS * DIM, 1.0f);
    float *y = op_random_array(2, ROWS * DIM, 1.0f);
    float *sum = op_random_array(1, ROWS * DIM, 1.0f);
    op_add(backend, sum, y, ROWS, DIM);
    for (size_t i = 0; i < ROWS * DIM; i++) {
        float expected = x[i] + y[i];
        assert_memory_equal(&sum[i], &expected, sizeof expected);
    }
    const int32_t picked[PICKED] = { 64, 0, 7, 7 };
    float out[PICKED * DIM];
    op_gather(backend, x, ROWS, DIM, picked, PICKED, out);
    for (size_t i = 0; i < PICKED; i++) {
        assert_memory_equal(out + i * DIM, x + picked[i] * DIM, DIM * sizeof *x);
    }
    cm_free(x);
    cm_free(y);
    cm_free(sum);
}

static void embedding_looks_rows_up(struct cm_backend *backend)
{
    enum { ROWS = 70, DIM = 96, PICKED = 65 };
    float *values = op_random_array(1, ROWS * DIM, 1.0f);
    uint16_t *halves = cm_alloc(ROWS * DIM, sizeof *halves);
    float *out = op_random_array(2, PICKED * DIM, 1.0f);
    int32_t tokens[PICKED];
    assert_non_null(halves);
    for (size_t i = 0; i < ROWS * DIM; i++) {
        halves[i] = cm_half_from_float(values[i]);
    }
    for (int32_t i = 0; i < PICKED; i++) {
        tokens[i] = i * 11 % ROWS;
    }
    for (int half = 0; half < 2; half++) {
        struct cm_tensor tensor = { .name = "table",
                                    .dtype = half ? CM_F16 : CM_F32,
                                    .n_dims = 2,
                                    .dims = { ROWS, DIM },
                                    .data = half ? (void *)halves : (void *)values,
                                    .bytes = ROWS * DIM * (half ? 2 : 4) };
        struct cm_table *table = NULL;
        struct cm_error error;
        assert_int_equal(cm_table_create(backend, &tensor, &table, &error), CM_OK);
        op_embed(backend, table, tokens, PICKED, DIM, 3.0f, out);
        for (size_t i = 0; i < PICKED * DIM; i++) {
            size_t from = (size_t)tokens[i / DIM] * DIM + i % DIM;
            float expected = 3.0f * (half ? cm_float_from_f16(halves[from]) : values[from]);
            assert_memory_equal(&out[i], &expected, sizeof expected);
        }
        cm_table_close(table);
    }
    cm_free(values);
    cm_free(halves);
    cm_free(out);
}

/* Rows of blocks: the format's values, on a CUDA device that computes in bfloat16 rounded to it. */
static void embedding_dequantises(struct cm_backend *backend)
{
    enum { ROWS = 9, DIM = 512, PICKED = 5 };
    const int32_t tokens[PICKED] = { 8, 0, 3, 3, 7 };
    bool is_rounded = op_is_cuda(backend) && cm_backend_precision(backend) != CM_PRECISION_EXACT;
    float *out = op_random_array(2, PICKED * DIM, 1.0f);
    float expected[DIM];
    for (int dtype = 0; dtype < CM_DTYPE_COUNT; dtype++) {
        const struct cm_dtype_info *info = cm_dtype_info((enum cm_dtype)dtype);
        if (!cm_quants_is_block_type((enum cm_dtype)dtype)) {
            continue;
        }
        size_t row_bytes = DIM / info->block_elements * info->block_bytes;
        uint8_t *blocks = cm_alloc(ROWS, row_bytes);
        assert_non_null(blocks);
        uint64_t seed = (uint64_t)dtype;
        for (size_t i = 0; i < ROWS * row_bytes; i++) { /* as float16 no scale is infinite */
            blocks[i] = (uint8_t)(64.0f + 60.0f * op_random(&seed));
        }
        const struct cm_tensor tensor = { "table", (enum cm_dtype)dtype, 2, { ROWS, DIM },
                                          blocks,  ROWS * row_bytes };
        struct cm_table *table = NULL;
        assert_int_equal(cm_table_create(backend, &tensor, &table, NULL), CM_OK);
        op_embed(backend, table, tokens, PICKED, DIM, 0.5f, out);
        for (size_t i = 0; i < PICKED * DIM; i++) {
            if (i % DIM == 0) {
                const uint8_t *row = blocks + (size_t)tokens[i / DIM] * row_bytes;
                cm_quants_dequantise((enum cm_dtype)dtype, row, DIM, expected);
            }
            float value = expected[i % DIM];
            value = 0.5f * (is_rounded ? cm_float_from_bf16(cm_bf16_from_float(value)) : value);
            assert_true(isfinite(value));
            assert_memory_equal(&out[i], &value, sizeof value);
        }
        cm_table_close(table);
        cm_free(blocks);
    }
    cm_free(out);
}

static void for_each_backend(void (*check)(struct cm_backend *))
{
    for (int isa = 0; isa < CM_CPU_ISA_COUNT; isa++) {
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            struct cm_backend *backend =
                op_backend((enum cm_cpu_isa)isa, threads, CM_PRECISION_EXACT);
            if (backend == NULL) {
                print_message("no %s here: not tested\n", cm_cpu_isa_name((enum cm_cpu_isa)isa));
                break;
            }
            check(backend);
            cm_backend_close(backend);
        }
    }
    struct cm_backend *cuda = op_cuda_backend(CM_PRECISION_EXACT, ROWS_MAX);
    if (cuda != NULL) {
        check(cuda);
        cm_backend_close(cuda);
    }
}

static void norms(void **state)
{
    (void)state;
    for_each_backend(norms_match_float64);
}

static void activations(void **state)
{
    (void)state;
    for_each_backend(activations_match_float64);
    for_each_backend(exp_is_accurate);
    for_each_backend(activations_survive_extremes);
}

static void plain_moves(void **state)
{
    (void)state;
    for_each_backend(embedding_looks_rows_up);
    for_each_backend(embedding_dequantises);
    struct cm_backend *cuda = op_cuda_backend(CM_PRECISION_BF16, ROWS_MAX);
    if (cuda != NULL) {
        embedding_dequantises(cuda);
        cm_backend_close(cuda);
    }
    for_each_backend(addition_and_gather_are_exact);
}

/* All 65,536 halves survive the way to float and back; floats between two halves go to the nearer
 * one, and from the middle to the even one. */
static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        float low = cm_float_from_f16((uint16_t)bits);
        double high = bits == 0x7BFF ? 65536.0 : (double)cm_float_from_f16((uint16_t)(bits + 1));
        float middle = (float)((low + high) / 2);
        uint32_t even = bits + (bits & 1);
        assert_int_equal(cm_half_from_float(low), bits);
        assert_int_equal(cm_half_from_float(-low), bits | 0x8000);
        assert_int_equal(cm_half_from_float(middle), even);
        assert_int_equal(cm_half_from_float(nextafterf(middle, 0)), bits);
        assert_int_equal(cm_half_from_float(nextafterf(middle, INFINITY)), bits + 1);
    }
    assert_int_equal(cm_half_from_float(INFINITY), 0x7C00);
    assert_true(isinf(cm_float_from_f16(0xFC00)));
    assert_true(isnan(cm_float_from_f16(cm_half_from_float(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms),
        cmocka_unit_test(activations),
        cmocka_unit_test(plain_moves),
        cmocka_unit_test(halves_round_to_nearest_even),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
