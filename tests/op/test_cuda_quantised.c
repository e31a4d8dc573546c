/* Matrices of block types on a CUDA device, kept as integers, e4m3 or float16, against float64 on
 * the weights that the format says: every type, stacked ones, ragged shapes; and a row's bits
 * whatever stands beside it. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"
#include "kernels/selftest/trial.h"

#include <math.h>
#include <string.h>

enum { ROWS_MAX = 100, SOURCES_MAX = 2, GROUP = CM_QUANT_GROUP };

static const uint32_t row_counts[] = { 1, 2, 16, 17, 33, 64, 65 };

struct shape {
    uint32_t n_in;
    enum cm_dtype types[SOURCES_MAX];
    uint32_t rows[SOURCES_MAX]; /* 0: there is no such source */
    bool with_bias;
};

static const struct shape shapes[] = {
    { 32, { CM_Q8_0 }, { 48 }, false },
    { 352, { CM_Q4_0 }, { 70 }, true },
    { 64, { CM_Q4_1 }, { 33 }, false },
    { 1088, { CM_Q5_0 }, { 5 }, false },
    { 96, { CM_Q5_1 }, { 16 }, true },
    { 256, { CM_Q4_K }, { 32 }, false },
    { 512, { CM_Q4_K, CM_Q6_K }, { 20, 12 }, false },
    { 256, { CM_Q5_K, CM_Q8_0 }, { 9, 40 }, true },
    { 160, { CM_Q4_0, CM_Q4_1 }, { 16, 20 }, false },
    { 77, { CM_F32, CM_F16 }, { 30, 7 }, true },
    { 128, { CM_F32 }, { 160 }, true },
};

/* --- Sources --- */

struct subject {
    struct shape shape;
    uint32_t n_out;
    struct cm_tensor weights[SOURCES_MAX];
    struct cm_tensor biases[SOURCES_MAX];
    struct cm_matrix_source sources[SOURCES_MAX];
    size_t sources_count;
    double *expected; /* [n_out, n_in] as the format keeps them */
    float *bias;      /* [n_out] */
    float *x;         /* [ROWS_MAX, n_in] */
    float *y;         /* [ROWS_MAX, n_out] */
};

static void add_source(struct subject *subject, uint32_t index)
{
    const struct shape *shape = &subject->shape;
    const struct cm_dtype_info *info = cm_dtype_info(shape->types[index]);
    struct cm_tensor *weight = &subject->weights[index];
    struct cm_tensor *bias = &subject->biases[index];
    uint32_t rows = shape->rows[index];
    *weight = (struct cm_tensor){
        .name = "weight", .dtype = shape->types[index], .n_dims = 2, .dims = { rows, shape->n_in }
    };
    weight->bytes = (size_t)rows * (shape->n_in / info->block_elements) * info->block_bytes;
    weight->data = cm_trial_weights(weight->dtype, weight->bytes, 17 + index);
    assert_non_null(weight->data);
    *bias = (struct cm_tensor){ .name = "bias", .dtype = CM_F32, .n_dims = 1, .dims = { rows } };
    bias->bytes = rows * sizeof(float);
    bias->data = subject->bias + subject->n_out;
    subject->sources[index] =
        (struct cm_matrix_source){ .weight = weight, .bias = shape->with_bias ? bias : NULL };
    subject->sources_count++;
    subject->n_out += rows;
}

/* --- What the format makes of a weight --- */

static double value_of_e4m3(int code)
{
    int exponent = code >> 3 & 15;
    double mantissa = exponent > 0 ? 8 + (code & 7) : code & 7;
    return (code & 0x80 ? -1 : 1) * ldexp(mantissa, (exponent > 0 ? exponent : 1) - 10);
}

/* The nearest of all codes; a tie goes to the even one. */
static double nearest_e4m3(double value)
{
    int best = 0;
    for (int code = 0; code < 256; code++) {
        if ((code & 0x7f) == 0x7f) {
            continue; /* NaN */
        }
        double distance = fabs(value_of_e4m3(code) - value);
        double least = fabs(value_of_e4m3(best) - value);
        best = distance < least || (distance == least && code % 2 == 0) ? code : best;
    }
    return value_of_e4m3(best);
}

static double nearest_integer_in_group(const float *row, uint32_t k, uint32_t n_in)
{
    float largest = 0.0f;
    for (uint32_t i = k / GROUP * GROUP; i < n_in && i < (k / GROUP + 1) * GROUP; i++) {
        largest = fmaxf(largest, fabsf(row[i]));
    }
    float scale = largest / 127.0f;
    return (double)scale * rint((double)(row[k] / scale));
}

static double largest_of(const float *row, uint32_t n)
{
    double largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)row[i]));
    }
    return largest;
}

/* Shapes that cuBLASLt does not take in e4m3 stay bfloat16. */
static bool is_fp8(const struct subject *subject, enum cm_precision precision)
{
    return precision == CM_PRECISION_FP8 && subject->n_out % 16 == 0;
}

static double expected_weight(const struct subject *subject, enum cm_precision precision,
                              enum cm_dtype dtype, const float *row, uint32_t k)
{
    float value = row[k];
    uint32_t n_in = subject->shape.n_in;
    if (precision == CM_PRECISION_FP16) {
        return (double)cm_float_from_f16(cm_half_from_float(value));
    }
    if (is_fp8(subject, precision)) {
        float inverse = 448.0f / (float)largest_of(row, n_in);
        return nearest_e4m3((double)(value * inverse)) * largest_of(row, n_in) / 448.0;
    }
    if (precision == CM_PRECISION_FP8) {
        return (double)cm_float_from_bf16(cm_bf16_from_float(value));
    }
    return cm_quants_is_block_type(dtype) ? (double)value : nearest_integer_in_group(row, k, n_in);
}

static void expect_weights(struct subject *subject, enum cm_precision precision)
{
    uint32_t n_in = subject->shape.n_in;
    float *row = cm_alloc(n_in, sizeof *row);
    double *to = subject->expected;
    assert_non_null(row);
    for (size_t s = 0; s < subject->sources_count; s++) {
        const struct cm_tensor *weight = &subject->weights[s];
        for (size_t r = 0; r < weight->dims[0]; r++) {
            size_t row_bytes = weight->bytes / weight->dims[0];
            cm_quants_dequantise(weight->dtype, (const uint8_t *)weight->data + r * row_bytes, n_in,
                                 row);
            for (uint32_t k = 0; k < n_in; k++) {
                *to++ = expected_weight(subject, precision, weight->dtype, row, k);
            }
        }
    }
    cm_free(row);
}

/* Activations as the format rounds them. */
static double seen_x(const struct subject *subject, enum cm_precision precision, size_t row,
                     uint32_t k)
{
    const float *x = subject->x + row * subject->shape.n_in;
    if (precision == CM_PRECISION_FP16) {
        return (double)cm_float_from_f16(cm_half_from_float(x[k]));
    }
    if (is_fp8(subject, precision)) {
        float largest = (float)largest_of(x, subject->shape.n_in);
        return nearest_e4m3((double)(x[k] * (448.0f / largest))) * (double)largest / 448.0;
    }
    return (double)cm_float_from_bf16(cm_bf16_from_float(x[k]));
}

/* --- Checks --- */

static void check_against_float64(const struct subject *subject, enum cm_precision precision)
{
    uint32_t n_in = subject->shape.n_in;
    double *x = cm_alloc(n_in, sizeof *x);
    assert_non_null(x);
    for (size_t row = 0; row < ROWS_MAX; row += 7) {
        double magnitude = 0;
        for (uint32_t k = 0; k < n_in; k++) {
            x[k] = seen_x(subject, precision, row, k);
            magnitude += fabs(x[k]);
        }
        for (uint32_t out = 0; out < subject->n_out; out++) {
            double sum = subject->shape.with_bias ? (double)subject->bias[out] : 0.0;
            double largest = 0;
            for (uint32_t k = 0; k < n_in; k++) {
                double weight = subject->expected[(size_t)out * n_in + k];
                sum += x[k] * weight;
                largest = fmax(largest, fabs(weight));
            }
            size_t at = row * subject->n_out + out;
            /* Tensor cores align products of e4m3 to the largest of a step and cut off what is
             * some 13 bits below it. */
            double epsilon = is_fp8(subject, precision) ? 0x1p-13 : 1e-6;
            op_assert_near("matmul", at, subject->y[at], sum, 1e-6 + epsilon * magnitude * largest,
                           0);
        }
    }
    cm_free(x);
}

static void check_rows_alone(struct cm_backend *backend, struct cm_matrix *matrix,
                             const struct subject *subject)
{
    float *some = cm_alloc((size_t)ROWS_MAX * subject->n_out, sizeof *some);
    assert_non_null(some);
    for (size_t i = 0; i < sizeof row_counts / sizeof row_counts[0]; i++) {
        uint32_t count = row_counts[i];
        size_t first = ROWS_MAX - count;
        op_matmul(backend, matrix, subject->x + first * subject->shape.n_in, count, some);
        assert_memory_equal(some, subject->y + first * subject->n_out,
                            (size_t)count * subject->n_out * sizeof *some);
    }
    cm_free(some);
}

static void check_shape(struct cm_backend *backend, const struct shape *shape)
{
    enum cm_precision precision = cm_backend_precision(backend);
    struct subject subject = { .shape = *shape };
    uint32_t n_out = shape->rows[0] + shape->rows[1];
    subject.bias = op_random_array(2, n_out, 1.0f);
    for (uint32_t i = 0; i < SOURCES_MAX && shape->rows[i] > 0; i++) {
        add_source(&subject, i);
    }
    subject.expected = cm_alloc((size_t)n_out * shape->n_in, sizeof *subject.expected);
    subject.x = op_random_array(3, (size_t)ROWS_MAX * shape->n_in, 2.0f);
    subject.y = op_random_array(4, (size_t)ROWS_MAX * n_out, NAN);
    assert_non_null(subject.expected);
    expect_weights(&subject, precision);
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { 0 };
    assert_int_equal(
        cm_matrix_create(backend, subject.sources, subject.sources_count, &matrix, &error), CM_OK);
    op_matmul(backend, matrix, subject.x, ROWS_MAX, subject.y);
    check_against_float64(&subject, precision);
    check_rows_alone(backend, matrix, &subject);
    cm_matrix_close(matrix);
    for (size_t i = 0; i < subject.sources_count; i++) {
        cm_free((void *)subject.weights[i].data);
    }
    cm_free(subject.expected);
    cm_free(subject.bias);
    cm_free(subject.x);
    cm_free(subject.y);
}

static void check_precision(enum cm_precision precision)
{
    struct cm_backend *backend = op_cuda_backend(precision, ROWS_MAX);
    if (backend == NULL) {
        skip();
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        check_shape(backend, &shapes[i]);
    }
    cm_backend_close(backend);
}

static void int8_keeps_the_file_s_weights(void **state)
{
    (void)state;
    check_precision(CM_PRECISION_INT8);
}

static void int4_keeps_the_file_s_weights(void **state)
{
    (void)state;
    check_precision(CM_PRECISION_INT4);
}

static void fp8_is_the_nearest_e4m3(void **state)
{
    (void)state;
    check_precision(CM_PRECISION_FP8);
}

static void fp16_is_the_nearest_float16(void **state)
{
    (void)state;
    check_precision(CM_PRECISION_FP16);
}

/* Four bits take half the memory of eight. */
static void int4_is_small(void **state)
{
    (void)state;
    size_t bytes[2];
    const enum cm_precision precisions[] = { CM_PRECISION_INT8, CM_PRECISION_INT4 };
    const struct shape shape = { 64, { CM_Q4_0 }, { 32 }, false };
    for (size_t i = 0; i < 2; i++) {
        struct cm_backend *backend = op_cuda_backend(precisions[i], 1);
        if (backend == NULL) {
            skip();
        }
        struct subject subject = { .shape = shape };
        struct cm_matrix *matrix = NULL;
        subject.bias = op_random_array(2, shape.rows[0], 1.0f);
        add_source(&subject, 0);
        assert_int_equal(cm_matrix_create(backend, subject.sources, 1, &matrix, NULL), CM_OK);
        bytes[i] = cm_matrix_bytes(matrix);
        cm_matrix_close(matrix);
        cm_free((void *)subject.weights[0].data);
        cm_free(subject.bias);
        cm_backend_close(backend);
    }
    assert_int_equal(bytes[0], 32 * 64 * 36 / 32); /* 32 codes and a float32 scale */
    assert_int_equal(bytes[1], 32 * 64 * 20 / 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_keeps_the_file_s_weights),
        cmocka_unit_test(int4_keeps_the_file_s_weights),
        cmocka_unit_test(fp8_is_the_nearest_e4m3),
        cmocka_unit_test(fp16_is_the_nearest_float16),
        cmocka_unit_test(int4_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
