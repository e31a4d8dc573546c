/* cm_op_matmul on a CUDA device against float64: element types, precisions, stacked, biased and
 * transposed sources, ragged shapes, and a row's bits whatever stands beside it. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <string.h>

enum { ROWS_MAX = 65, INPUTS_MAX = 200, OUTPUTS_MAX = 150 };

static const uint32_t row_counts[] = { 1, 2, 7, 16, 33, 64 };

struct shape {
    uint32_t n_in;
    uint32_t n_out;
    bool with_bias;
    bool transposed;
};

static const struct shape shapes[] = {
    { 64, 96, false, false }, { 1, 1, true, false },    { 37, 65, true, false },
    { 200, 3, false, true },  { 129, 150, true, true },
};

static double seen_by(enum cm_precision precision, float value)
{
    return precision == CM_PRECISION_BF16 ? (double)cm_float_from_bf16(cm_bf16_from_float(value))
                                          : (double)value;
}

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

struct subject {
    struct shape shape;
    enum cm_precision precision;
    float *weights; /* [n_out, n_in], or its transpose */
    float *bias;
    float *x; /* [ROWS_MAX, n_in] */
    float *y; /* [ROWS_MAX, n_out] */
};

static void check_against_float64(const struct subject *subject)
{
    const struct shape *shape = &subject->shape;
    for (size_t i = 0; i < (size_t)ROWS_MAX * shape->n_out; i++) {
        size_t row = i / shape->n_out;
        size_t out = i % shape->n_out;
        double sum = shape->with_bias ? (double)subject->bias[out] : 0.0;
        double magnitude = fabs(sum);
        for (uint32_t k = 0; k < shape->n_in; k++) {
            float weight =
                subject
                    ->weights[shape->transposed ? k * shape->n_out + out : out * shape->n_in + k];
            double product = seen_by(subject->precision, weight) *
                             seen_by(subject->precision, subject->x[row * shape->n_in + k]);
            sum += product;
            magnitude += fabs(product);
        }
        op_assert_near("matmul", i, subject->y[i], sum, 1e-6 * magnitude, 0);
    }
}

static void check_rows_alone(struct cm_backend *backend, struct cm_matrix *matrix,
                             const struct subject *subject)
{
    const struct shape *shape = &subject->shape;
    float some[ROWS_MAX * OUTPUTS_MAX];
    for (size_t i = 0; i < sizeof row_counts / sizeof row_counts[0]; i++) {
        uint32_t count = row_counts[i];
        uint32_t first = ROWS_MAX - count;
        op_matmul(backend, matrix, subject->x + (size_t)first * shape->n_in, count, some);
        assert_memory_equal(some, subject->y + (size_t)first * shape->n_out,
                            (size_t)count * shape->n_out * sizeof *some);
    }
}

static void check_shape(struct cm_backend *backend, const struct shape *shape)
{
    struct subject subject = { .shape = *shape, .precision = cm_backend_precision(backend) };
    subject.weights = op_random_array(1, (size_t)shape->n_in * shape->n_out, 1.0f);
    subject.bias = op_random_array(2, shape->n_out, 1.0f);
    subject.x = op_random_array(3, (size_t)ROWS_MAX * shape->n_in, 2.0f);
    subject.y = op_random_array(4, (size_t)ROWS_MAX * shape->n_out, NAN);
    uint32_t rows = shape->transposed ? shape->n_in : shape->n_out;
    uint32_t columns = shape->transposed ? shape->n_out : shape->n_in;
    struct cm_tensor weight = tensor_of("weight", subject.weights, rows, columns);
    struct cm_tensor bias = tensor_of("bias", subject.bias, shape->n_out, 0);
    struct cm_matrix_source source = { .weight = &weight,
                                       .bias = shape->with_bias ? &bias : NULL,
                                       .transposed = shape->transposed };
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    assert_int_equal(cm_matrix_create(backend, &source, 1, &matrix, &error), CM_OK);
    assert_int_equal(cm_matrix_n_in(matrix), shape->n_in);
    assert_int_equal(cm_matrix_n_out(matrix), shape->n_out);
    op_matmul(backend, matrix, subject.x, ROWS_MAX, subject.y);
    check_against_float64(&subject);
    check_rows_alone(backend, matrix, &subject);
    assert_int_equal(cm_matrix_rows_count(matrix), ROWS_MAX + 1 + 2 + 7 + 16 + 33 + 64);
    cm_matrix_close(matrix);
    cm_free(subject.weights);
    cm_free(subject.bias);
    cm_free(subject.x);
    cm_free(subject.y);
}

static void products_match_float64(void **state)
{
    (void)state;
    const enum cm_precision precisions[] = { CM_PRECISION_EXACT, CM_PRECISION_BF16 };
    for (size_t p = 0; p < 2; p++) {
        struct cm_backend *backend = op_cuda_backend(precisions[p], ROWS_MAX);
        if (backend == NULL) {
            skip();
        }
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            check_shape(backend, &shapes[i]);
        }
        cm_backend_close(backend);
    }
}

/* Two sources, one of a block type, one with a bias: as if each had been a matrix of its own. */
static void sources_are_stacked(void **state)
{
    (void)state;
    enum { N_IN = 64, QUANTISED_ROWS = 5, PLAIN_ROWS = 9, N_OUT = QUANTISED_ROWS + PLAIN_ROWS };
    struct cm_backend *backend = op_cuda_backend(CM_PRECISION_EXACT, 4);
    if (backend == NULL) {
        skip();
    }
    uint8_t blocks[QUANTISED_ROWS * 2 * 34]; /* Q8_0: a float16 scale and 32 codes */
    for (size_t i = 0; i < sizeof blocks; i++) {
        blocks[i] = (uint8_t)(i % 34 == 1 ? 0x2c : i * 37);
    }
    float *plain = op_random_array(1, (size_t)PLAIN_ROWS * N_IN, 1.0f);
    float *bias_values = op_random_array(2, PLAIN_ROWS, 1.0f);
    struct cm_tensor quantised = { "quantised", CM_Q8_0,      2, { QUANTISED_ROWS, N_IN },
                                   blocks,      sizeof blocks };
    struct cm_tensor second = tensor_of("plain", plain, PLAIN_ROWS, N_IN);
    struct cm_tensor bias = tensor_of("bias", bias_values, PLAIN_ROWS, 0);
    const struct cm_matrix_source sources[] = { { .weight = &quantised },
                                                { .weight = &second, .bias = &bias } };
    struct cm_matrix *matrix = NULL;
    float x[N_IN] = { 0 };
    float y[N_OUT];
    assert_int_equal(cm_matrix_create(backend, sources, 2, &matrix, NULL), CM_OK);
    for (uint32_t k = 0; k < N_IN; k += 21) { /* a unit vector reads a column */
        float row[N_IN];
        x[k] = 1.0f;
        op_matmul(backend, matrix, x, 1, y);
        x[k] = 0.0f;
        for (uint32_t i = 0; i < N_OUT; i++) {
            cm_quants_dequantise(CM_Q8_0, blocks + (i % QUANTISED_ROWS) * 2 * 34, N_IN, row);
            float expected = i < QUANTISED_ROWS ? row[k]
                                                : plain[(i - QUANTISED_ROWS) * N_IN + k] +
                                                      bias_values[i - QUANTISED_ROWS];
            assert_memory_equal(&y[i], &expected, sizeof expected);
        }
    }
    cm_matrix_close(matrix);
    cm_free(plain);
    cm_free(bias_values);
    cm_backend_close(backend);
}

/* What the device lacks is said, with what to do. */
static void refusals_are_clear(void **state)
{
    (void)state;
    struct cm_backend_options options = { .device = CM_DEVICE_CUDA, .rows_max = 4 };
    struct cm_backend *backend = NULL;
    struct cm_error error = { 0 };
    options.device_index = cm_devices_count(CM_DEVICE_CUDA);
    enum cm_status status = cm_backend_open(&options, &backend, &error);
    assert_true(status == CM_NOT_FOUND || status == CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "CUDA"));
    assert_null(backend);
    options.device = CM_DEVICE_CPU;
    options.precision = CM_PRECISION_FP8;
    assert_int_equal(cm_backend_open(&options, &backend, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "--device cuda"));
    assert_null(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_match_float64),
        cmocka_unit_test(sources_are_stacked),
        cmocka_unit_test(refusals_are_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
