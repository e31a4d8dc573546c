/* cm_op_matmul against a double-precision oracle: every element type, precision and instruction set
 * of this processor, ragged shapes, and the promise that a row's bits depend on nothing but the
 * row.
 */
#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROWS_MAX = 65, GROUP = 32 };

static const uint32_t rows_counts[] = { 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 65 };
static const enum cm_precision precisions[] = { CM_PRECISION_EXACT, CM_PRECISION_BF16,
                                                CM_PRECISION_INT8 };

/* --- Random tensors --- */

static uint32_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8 ^ random_state << 13;
}

static float random_float(void) /* roughly normal */
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += (float)(random_u32() & 0xffff) / 65536.0f - 0.5f;
    }
    return sum;
}

static void put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)value;
    to[1] = (uint8_t)(value >> 8);
}

/* Block types: random bits with scales of a sensible size. */
static void fill_block(enum cm_dtype dtype, uint8_t *block)
{
    uint32_t bytes = cm_dtype_info(dtype)->block_bytes;
    for (uint32_t i = 0; i < bytes; i++) {
        block[i] = (uint8_t)random_u32();
    }
    uint32_t scale_at = dtype == CM_Q6_K ? 208 : 0;
    put_u16(block + scale_at, cm_half_from_float(0.001f + 0.01f * fabsf(random_float())));
    if (cm_quants_has_offset(dtype)) {
        put_u16(block + 2, cm_half_from_float(0.05f * random_float()));
    }
}

static struct cm_tensor random_tensor(enum cm_dtype dtype, uint32_t rows, uint32_t columns)
{
    const struct cm_dtype_info *info = cm_dtype_info(dtype);
    struct cm_tensor tensor = { .name = info->name, .dtype = dtype, .n_dims = 2 };
    tensor.dims[0] = rows;
    tensor.dims[1] = columns;
    assert_int_equal(cm_tensor_bytes(dtype, 2, tensor.dims, &tensor.bytes), CM_OK);
    uint8_t *data = malloc(tensor.bytes);
    for (size_t at = 0; at < tensor.bytes; at += info->block_bytes) {
        float value = random_float();
        if (dtype == CM_F32) {
            memcpy(data + at, &value, sizeof value);
        } else if (dtype == CM_F16) {
            put_u16(data + at, cm_half_from_float(value));
        } else if (dtype == CM_BF16) {
            put_u16(data + at, cm_bf16_from_float(value));
        } else {
            fill_block(dtype, data + at);
        }
    }
    tensor.data = data;
    return tensor;
}

static float *random_rows(uint32_t rows, uint32_t columns)
{
    float *x = malloc(sizeof *x * rows * columns);
    for (size_t i = 0; i < (size_t)rows * columns; i++) {
        x[i] = random_float();
    }
    x[columns / 2] *= 30.0f; /* an outlier channel */
    return x;
}

/* --- The oracle --- */

struct operands {
    uint32_t count;
    double *x;     /* [count] as the precision sees it */
    double *w;     /* [count] */
    double *w_err; /* [count] error allowed to each weight */
};

/* The largest magnitude of the group that element k lies in. */
static float group_largest(const float *values, uint32_t n, uint32_t k, uint32_t group)
{
    float largest = 0;
    for (uint32_t i = k / group * group; i < n && i < k / group * group + group; i++) {
        largest = fmaxf(largest, fabsf(values[i]));
    }
    return largest;
}

static float bf16_rounded(float value)
{
    return cm_float_from_bf16(cm_bf16_from_float(value));
}

/* values[k] as int8 codes about zero hold it. */
static double int8_rounded(const float *values, uint32_t n, uint32_t k, uint32_t group)
{
    float largest = group_largest(values, n, k, group);
    float code = largest > 0 ? rintf(values[k] * (127.0f / largest)) : 0.0f;
    return (double)(largest / 127.0f) * (double)code;
}

/* The same about the middle of the group's range. */
static double int8_rounded_offset(const float *x, uint32_t n, uint32_t k)
{
    float lowest = INFINITY;
    float highest = -INFINITY;
    for (uint32_t i = k / GROUP * GROUP; i < k / GROUP * GROUP + GROUP; i++) {
        float value = i < n ? x[i] : 0.0f; /* groups are filled up with zeros */
        lowest = fminf(lowest, value);
        highest = fmaxf(highest, value);
    }
    float middle = (highest + lowest) * 0.5f;
    float range = highest - lowest;
    float code = range > 0 ? rintf((x[k] - middle) * (254.0f / range)) : 0.0f;
    return (double)(range / 254.0f) * (double)code + (double)middle;
}

/* Inputs that are rotated together; 0: none are. */
static uint32_t rotated_unit(const struct cm_backend *backend, uint32_t n_in)
{
    bool some = backend->precision == CM_PRECISION_INT8 && backend->isa >= CM_CPU_AVX512VNNI;
    return !some ? 0 : n_in % 128 == 0 ? 128 : 64;
}

/* Sylvester's Hadamard matrix times each unit of `values`, filled up with zeros and with signs by
 * the fraction of pi, as pairs that differ in one bit, in the kernels' order of bits: float32 then
 * rounds in the same way. */
static float *rotated(const float *values, uint32_t n, uint32_t unit, uint32_t count)
{
    static const uint32_t bits[] = { 16, 32, 64, 1, 2, 4, 8 };
    float *out = calloc(count, sizeof *out);
    for (uint32_t k = 0; k < n; k++) {
        static const uint64_t pi[] = { 0x243f6a8885a308d3, 0x13198a2e03707344 };
        out[k] = pi[k % unit / 64] >> k % 64 & 1 ? -values[k] : values[k];
    }
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        for (uint32_t k = 0; k < count && bits[i] < unit; k++) {
            if ((k & bits[i]) == 0) {
                float low = out[k];
                float high = out[k + bits[i]];
                out[k] = low + high;
                out[k + bits[i]] = low - high;
            }
        }
    }
    return out;
}

/* The next number of four significant bits, of a scale of x. */
static float stepped_up(float scale)
{
    int exponent;
    float fraction = frexpf(scale, &exponent); /* 0.5 to 1, or 0 */
    return ldexpf(ceilf(fraction * 16.0f), exponent - 4);
}

static void set_rotated_operands(uint32_t unit, const float *x, const float *w, uint32_t n_in,
                                 struct operands *operands)
{
    float *x_rotated = rotated(x, n_in, unit, operands->count);
    float *w_rotated = rotated(w, n_in, unit, operands->count);
    for (uint32_t k = 0; k < operands->count; k++) {
        float scale = stepped_up(group_largest(x_rotated, operands->count, k, unit) / 127.0f);
        operands->x[k] = (double)scale * (double)rintf(x_rotated[k] * (1.0f / scale));
        operands->w[k] = int8_rounded(w_rotated, operands->count, k, unit) / unit;
    }
    free(x_rotated);
    free(w_rotated);
}

/* What is multiplied: exact values, bf16 roundings, or int8 codes times their scale. */
static void set_operands(const struct cm_backend *backend, enum cm_dtype dtype, bool offsets,
                         const float *x, const float *w, uint32_t n_in, struct operands *operands)
{
    uint32_t unit = rotated_unit(backend, n_in);
    if (unit != 0) {
        set_rotated_operands(unit, x, w, n_in, operands);
        return;
    }
    bool weights_exact = cm_quants_is_block_type(dtype) && dtype != CM_Q6_K;
    for (uint32_t k = 0; k < n_in; k++) {
        operands->x[k] = (double)x[k];
        operands->w[k] = (double)w[k];
        operands->w_err[k] = 0;
        if (backend->precision == CM_PRECISION_BF16) {
            operands->w[k] = (double)bf16_rounded(w[k]);
            if (backend->isa == CM_CPU_AVX512BF16) {
                operands->x[k] = (double)bf16_rounded(x[k]);
            }
        } else if (backend->precision == CM_PRECISION_INT8) {
            operands->x[k] =
                offsets ? int8_rounded_offset(x, n_in, k) : int8_rounded(x, n_in, k, GROUP);
            if (!weights_exact) {
                float step = group_largest(w, n_in, k, GROUP) / 127.0f;
                operands->w_err[k] = (dtype == CM_Q6_K ? 0.75 : 0.5001) * (double)step;
            }
        }
    }
}

static void check_row(const struct cm_backend *backend, const struct cm_matrix_source *source,
                      const float *w_values, const float *x, const float *y)
{
    const struct cm_tensor *weight = source->weight;
    uint32_t n_in = (uint32_t)weight->dims[1];
    uint32_t unit = rotated_unit(backend, n_in);
    uint32_t count = unit == 0 ? n_in : (n_in + unit - 1) / unit * unit;
    struct operands operands = { count, calloc(count, sizeof(double)),
                                 calloc(count, sizeof(double)), calloc(count, sizeof(double)) };
    for (uint32_t n = 0; n < weight->dims[0]; n++) {
        set_operands(backend, weight->dtype, source->skewed_inputs, x, w_values + (size_t)n * n_in,
                     n_in, &operands);
        double sum = 0;
        double magnitude = 0;
        double allowed = 0;
        for (uint32_t k = 0; k < count; k++) {
            double product = operands.w[k] * operands.x[k];
            sum += product;
            /* Codes and minimum of a group may be much larger than their sum. */
            magnitude += fabs(product) + fabs(operands.x[k]) * 0.1;
            allowed += fabs(operands.x[k]) * operands.w_err[k];
        }
        allowed += magnitude * 3e-6;
        if (!(fabs((double)y[n] - sum) <= allowed)) {
            fail_msg("%s %s [%u]: %.9g instead of %.9g, allowed %.3g", backend->variant,
                     weight->name, n, (double)y[n], sum, allowed);
        }
    }
    free(operands.x);
    free(operands.w);
    free(operands.w_err);
}

/* --- Comparing --- */

static struct cm_backend *open_backend(enum cm_cpu_isa isa, enum cm_precision precision,
                                       uint32_t threads)
{
    struct cm_backend_options options = { .precision = precision,
                                          .threads = threads,
                                          .rows_max = ROWS_MAX };
    struct cm_backend *backend = NULL;
    struct cm_error error;
    assert_int_equal(cm_cpu_backend_open(&options, isa, &backend, &error), CM_OK);
    return backend;
}

static struct cm_matrix *create_matrix(struct cm_backend *backend,
                                       const struct cm_matrix_source *sources, size_t count)
{
    struct cm_matrix *matrix = NULL;
    struct cm_error error = { .message = "" };
    if (cm_matrix_create(backend, sources, count, &matrix, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return matrix;
}

/* All rows at once, some at a time, in every count and with `threads` threads, must have the bits
 * that each row has alone on one thread. */
static void check_invariance(enum cm_cpu_isa isa, enum cm_precision precision, uint32_t threads,
                             const struct cm_matrix_source *source, const float *x,
                             const float *alone)
{
    const struct cm_tensor *weight = source->weight;
    uint32_t n_in = (uint32_t)weight->dims[1];
    uint32_t n_out = (uint32_t)weight->dims[0];
    struct cm_backend *backend = open_backend(isa, precision, threads);
    struct cm_matrix *matrix = create_matrix(backend, source, 1);
    float *y = malloc(sizeof *y * ROWS_MAX * n_out);
    for (size_t i = 0; i < sizeof rows_counts / sizeof *rows_counts; i++) {
        uint32_t rows = rows_counts[i];
        uint32_t first = (uint32_t)i % 2 == 0 ? 0 : ROWS_MAX - rows;
        cm_op_matmul(backend, matrix, x + (size_t)first * n_in, rows, y);
        for (uint32_t r = 0; r < rows; r++) {
            if (memcmp(y + (size_t)r * n_out, alone + (size_t)(first + r) * n_out,
                       sizeof *y * n_out) != 0) {
                fail_msg("%s %s: row %u of %u with %u threads differs from the row alone",
                         backend->variant, weight->name, r, rows, threads);
            }
        }
    }
    free(y);
    cm_matrix_close(matrix);
    cm_backend_close(backend);
}

static void check_matmul(enum cm_cpu_isa isa, enum cm_precision precision, enum cm_dtype dtype,
                         uint32_t n_in, uint32_t n_out, bool skewed, bool thoroughly)
{
    struct cm_tensor weight = random_tensor(dtype, n_out, n_in);
    float *w_values = malloc(sizeof *w_values * n_in * n_out);
    cm_quants_dequantise(dtype, weight.data, (size_t)n_in * n_out, w_values);
    float *x = random_rows(ROWS_MAX, n_in);
    float *y = malloc(sizeof *y * ROWS_MAX * n_out);

    struct cm_backend *backend = open_backend(isa, precision, 1);
    struct cm_matrix_source source = { .weight = &weight, .skewed_inputs = skewed };
    for (size_t i = 0; skewed && i < (size_t)ROWS_MAX * n_in; i++) {
        x[i] += i % n_in < 64 ? 5.0f : 0.0f; /* two groups on one side of zero */
    }
    struct cm_matrix *matrix = create_matrix(backend, &source, 1);
    uint32_t rows = thoroughly ? ROWS_MAX : 3;
    for (uint32_t r = 0; r < rows; r++) {
        cm_op_matmul(backend, matrix, x + (size_t)r * n_in, 1, y + (size_t)r * n_out);
        if (r < 3) {
            check_row(backend, &source, w_values, x + (size_t)r * n_in, y + (size_t)r * n_out);
        }
    }
    assert_int_equal(cm_matrix_rows_count(matrix), rows);
    for (uint32_t threads = 1; thoroughly && threads <= 3; threads++) {
        check_invariance(isa, precision, threads, &source, x, y);
    }
    cm_matrix_close(matrix);
    cm_backend_close(backend);
    free(y);
    free(x);
    free(w_values);
    free((void *)weight.data);
}

/* --- Tests --- */

static void every_type_and_precision_matches_the_oracle(void **state)
{
    (void)state;
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
            for (int dtype = 0; dtype < CM_DTYPE_COUNT; dtype++) {
                uint32_t block = cm_dtype_info((enum cm_dtype)dtype)->block_elements;
                uint32_t n_in = block == 1 ? 176 : block == 32 ? 608 : 512;
                check_matmul((enum cm_cpu_isa)isa, precisions[p], (enum cm_dtype)dtype, n_in, 41,
                             false, false);
                check_matmul((enum cm_cpu_isa)isa, precisions[p], (enum cm_dtype)dtype, n_in, 41,
                             true, false);
            }
        }
    }
}

static void a_row_does_not_see_the_others(void **state)
{
    (void)state;
    static const struct {
        enum cm_dtype dtype;
        uint32_t n_in;
        uint32_t n_out;
    } cases[] = {
        { CM_F32, 176, 33 }, { CM_F32, 1, 1 },      { CM_F32, 131, 64 },
        { CM_BF16, 33, 95 }, { CM_Q8_0, 320, 130 }, { CM_Q4_1, 160, 33 },
    };
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
            for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                check_matmul((enum cm_cpu_isa)isa, precisions[p], cases[i].dtype, cases[i].n_in,
                             cases[i].n_out, i % 2 == 1, true);
            }
        }
    }
}

/* One matrix of three sources of different types, none a whole number of panels, two with a bias.
 */
static void sources_are_stacked_with_their_biases(void **state)
{
    (void)state;
    enum { N_IN = 64, N_A = 20, N_B = 30, N_C = 7, N = N_A + N_B + N_C, ROWS = 5 };
    struct cm_tensor weights[3] = { random_tensor(CM_F32, N_A, N_IN),
                                    random_tensor(CM_F16, N_IN, N_B),
                                    random_tensor(CM_Q4_1, N_C, N_IN) };
    struct cm_tensor biases[2] = { random_tensor(CM_F32, 1, N_A), random_tensor(CM_F16, 1, N_C) };
    for (int i = 0; i < 2; i++) {
        biases[i].n_dims = 1;
        biases[i].dims[0] = biases[i].dims[1];
    }
    struct cm_matrix_source sources[3] = { { &weights[0], &biases[0], false, false },
                                           { &weights[1], NULL, true, false },
                                           { &weights[2], &biases[1], false, false } };
    float values[3][N_B * N_IN];
    float bias_a[N_A];
    float bias_c[N_C];
    for (int i = 0; i < 3; i++) {
        cm_quants_dequantise(weights[i].dtype, weights[i].data,
                             weights[i].dims[0] * weights[i].dims[1], values[i]);
    }
    cm_quants_dequantise(CM_F32, biases[0].data, N_A, bias_a);
    cm_quants_dequantise(CM_F16, biases[1].data, N_C, bias_c);
    float *x = random_rows(ROWS, N_IN);
    float y[ROWS * N];

    for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
        struct cm_backend *backend = open_backend(cm_cpu_isa_best(), precisions[p], 2);
        struct cm_matrix *matrix = create_matrix(backend, sources, 3);
        double tolerance = precisions[p] == CM_PRECISION_EXACT ? 7e-7 : 8e-3;
        assert_true(cm_matrix_n_in(matrix) == N_IN && cm_matrix_n_out(matrix) == N);
        assert_true(cm_matrix_bytes(matrix) >= (size_t)N * N_IN);
        cm_op_matmul(backend, matrix, x, ROWS, y);
        for (uint32_t r = 0; r < ROWS; r++) {
            for (uint32_t n = 0; n < N; n++) {
                double sum = n < N_A          ? (double)bias_a[n]
                             : n >= N_A + N_B ? (double)bias_c[n - N_A - N_B]
                                              : 0.0;
                double squares[2] = { 0, 0 };
                for (uint32_t k = 0; k < N_IN; k++) {
                    double w = n < N_A         ? (double)values[0][n * N_IN + k]
                               : n < N_A + N_B ? (double)values[1][k * N_B + n - N_A]
                                               : (double)values[2][(n - N_A - N_B) * N_IN + k];
                    double value = (double)x[r * N_IN + k];
                    sum += w * value;
                    squares[0] += w * w;
                    squares[1] += value * value;
                }
                double magnitude = 1 + sqrt(squares[0] * squares[1]);
                assert_true(fabs(sum - (double)y[r * N + n]) <= tolerance * magnitude);
            }
        }
        cm_matrix_close(matrix);
        cm_backend_close(backend);
    }
    for (int i = 0; i < 3; i++) {
        free((void *)weights[i].data);
    }
    for (int i = 0; i < 2; i++) {
        free((void *)biases[i].data);
    }
    free(x);
}

/* The largest sums that can occur: pairwise 16-bit instructions would saturate on them. */
static void extreme_codes_do_not_saturate(void **state)
{
    (void)state;
    enum { N_IN = 64 };
    static const int8_t codes[] = { -128, 127 };
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        struct cm_backend *backend = open_backend((enum cm_cpu_isa)isa, CM_PRECISION_INT8, 1);
        for (size_t i = 0; i < sizeof codes; i++) {
            uint8_t data[N_IN / 32 * 34];
            memset(data, codes[i], sizeof data);
            put_u16(data, cm_half_from_float(1.0f));
            put_u16(data + 34, cm_half_from_float(1.0f));
            struct cm_tensor weight = { "w", CM_Q8_0, 2, { 1, N_IN }, data, sizeof data };
            struct cm_matrix_source source = { &weight, NULL, false, false };
            struct cm_matrix *matrix = create_matrix(backend, &source, 1);
            for (float sign = -1; sign <= 1; sign += 2) {
                float x[N_IN];
                float y;
                for (int k = 0; k < N_IN; k++) {
                    x[k] = sign * 127.0f;
                }
                cm_op_matmul(backend, matrix, x, 1, &y);
                assert_float_equal(y / (sign * 127.0f * (float)codes[i] * N_IN), 1.0f,
                                   isa >= CM_CPU_AVX512VNNI ? 0.02f : 0.0f);
            }
            cm_matrix_close(matrix);
        }
        cm_backend_close(backend);
    }
}

/* AVX2 and AVX-512 promise the same sequence of operations in float32. */
static void exact_sums_agree_between_avx2_and_avx512(void **state)
{
    (void)state;
    if (cm_cpu_isa_best() < CM_CPU_AVX512VNNI) {
        print_message("skipped: this processor has no AVX-512 VNNI\n");
        skip();
    }
    enum { N_IN = 300, N_OUT = 70, ROWS = 9 };
    struct cm_tensor weight = random_tensor(CM_F32, N_OUT, N_IN);
    struct cm_matrix_source source = { &weight, NULL, false, false };
    float *x = random_rows(ROWS, N_IN);
    float y[2][ROWS * N_OUT];
    for (int i = 0; i < 2; i++) {
        struct cm_backend *backend =
            open_backend(i == 0 ? CM_CPU_AVX2 : CM_CPU_AVX512VNNI, CM_PRECISION_EXACT, 1);
        struct cm_matrix *matrix = create_matrix(backend, &source, 1);
        cm_op_matmul(backend, matrix, x, ROWS, y[i]);
        cm_matrix_close(matrix);
        cm_backend_close(backend);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    free(x);
    free((void *)weight.data);
}

/* vpdpbusd in place of three instructions: the same integers, so the same bits and one name. */
static void byte_dots_agree_with_avx2(void **state)
{
    (void)state;
    if (cm_cpu_isa_best() < CM_CPU_AVXVNNI) {
        print_message("skipped: this processor has neither AVX-VNNI nor AVX-512 VNNI\n");
        skip();
    }
    enum { N_IN = 320, N_OUT = 70, ROWS = 9 };
    static const enum cm_dtype dtypes[] = { CM_F32, CM_Q8_0, CM_Q4_0, CM_Q4_1, CM_Q5_0, CM_Q5_1 };
    static const enum cm_cpu_isa isas[] = { CM_CPU_AVX2, CM_CPU_AVXVNNI };
    float *x = random_rows(ROWS, N_IN);
    for (size_t i = 0; i < 2 * sizeof dtypes / sizeof *dtypes; i++) {
        struct cm_tensor weight = random_tensor(dtypes[i / 2], N_OUT, N_IN);
        struct cm_matrix_source source = { &weight, NULL, false, i % 2 == 1 };
        static float y[2][ROWS * N_OUT];
        struct cm_backend *backends[2];
        for (size_t j = 0; j < 2; j++) {
            backends[j] = open_backend(isas[j], CM_PRECISION_INT8, 1);
            struct cm_matrix *matrix = create_matrix(backends[j], &source, 1);
            cm_op_matmul(backends[j], matrix, x, ROWS, y[j]);
            cm_matrix_close(matrix);
        }
        assert_memory_equal(y[0], y[1], sizeof y[0]);
        assert_string_equal(cm_backend_variant(backends[0]), cm_backend_variant(backends[1]));
        cm_backend_close(backends[0]);
        cm_backend_close(backends[1]);
        free((void *)weight.data);
    }
    free(x);
}

static void zeros_and_not_a_number_stay_what_they_are(void **state)
{
    (void)state;
    enum { N_IN = 96, N_OUT = 33 };
    struct cm_tensor weight = random_tensor(CM_Q4_1, N_OUT, N_IN);
    struct cm_matrix_source source = { &weight, NULL, false, false };
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        struct cm_backend *backend = open_backend((enum cm_cpu_isa)isa, CM_PRECISION_INT8, 1);
        struct cm_matrix *matrix = create_matrix(backend, &source, 1);
        for (uint32_t rows = 3; rows <= 21; rows += 18) { /* few and many */
            float x[21 * N_IN] = { 0 };
            float y[21 * N_OUT];
            x[N_IN + 40] = __builtin_nanf("");
            x[2 * N_IN + 40] = isa >= CM_CPU_AVX512VNNI ? 3e38f : INFINITY; /* no scale */
            cm_op_matmul(backend, matrix, x, rows, y);
            for (int n = 0; n < N_OUT; n++) {
                assert_true(y[n] == 0.0f);
                assert_true(isnan(y[N_OUT + n]));
                assert_true(isnan(y[2 * N_OUT + n]));
            }
        }
        cm_matrix_close(matrix);
        cm_backend_close(backend);
    }
    free((void *)weight.data);
}

/* One-hot rows read the packed weights back: requantised, Q6_K must lose less than it would by
 * rounding every group to 127 steps of its largest value. */
static void q6_k_loses_little(void **state)
{
    (void)state;
    enum { N_IN = 256, N_OUT = 32 };
    struct cm_tensor weight = random_tensor(CM_Q6_K, N_OUT, N_IN);
    struct cm_matrix_source source = { &weight, NULL, false, false };
    struct cm_backend *backend = open_backend(CM_CPU_PORTABLE, CM_PRECISION_INT8, 1);
    struct cm_matrix *matrix = create_matrix(backend, &source, 1);
    static float values[N_OUT * N_IN];
    cm_quants_dequantise(CM_Q6_K, weight.data, N_OUT * N_IN, values);
    double error = 0;
    double rounding_error = 0;
    for (uint32_t k = 0; k < N_IN; k++) {
        float x[N_IN] = { 0 };
        float y[N_OUT];
        x[k] = 127.0f; /* whose scale is 1 */
        cm_op_matmul(backend, matrix, x, 1, y);
        for (uint32_t n = 0; n < N_OUT; n++) {
            const float *row = values + n * N_IN;
            float step = group_largest(row, N_IN, k, GROUP) / 127.0f;
            error += pow((double)(y[n] / 127.0f - row[k]), 2);
            rounding_error += pow((double)(rintf(row[k] / step) * step - row[k]), 2);
        }
    }
    if (!(error < 0.75 * rounding_error)) {
        fail_msg("squared error %.3g of the %.3g of plain rounding", error, rounding_error);
    }
    cm_matrix_close(matrix);
    cm_backend_close(backend);
    free((void *)weight.data);
}

static void vectors_and_tables_are_read(void **state)
{
    (void)state;
    struct cm_backend *backend = open_backend(CM_CPU_PORTABLE, CM_PRECISION_INT8, 1);
    struct cm_error error;
    struct cm_tensor tensor = random_tensor(CM_Q6_K, 3, 512);
    float expected[3 * 512];
    float *vector = NULL;
    cm_quants_dequantise(CM_Q6_K, tensor.data, 3 * 512, expected);
    assert_int_equal(cm_vector_create(backend, &tensor, &vector, &error), CM_OK);
    assert_memory_equal(vector, expected, sizeof expected);
    cm_backend_free(backend, vector);

    struct cm_table *table = NULL;
    assert_int_equal(cm_table_create(backend, &tensor, &table, &error), CM_OK);
    assert_int_equal(table->n_rows, 3);
    assert_int_equal(table->dim, 512);
    assert_int_equal(table->row_bytes, 420);
    cm_table_close(table);
    tensor.bytes--;
    assert_int_equal(cm_vector_create(backend, &tensor, &vector, &error), CM_INVALID_DATA);
    assert_int_equal(cm_table_create(backend, &tensor, &table, &error), CM_INVALID_DATA);
    free((void *)tensor.data);
    cm_backend_close(backend);
}

static void unfit_sources_are_refused(void **state)
{
    (void)state;
    struct cm_backend *backend = open_backend(CM_CPU_PORTABLE, CM_PRECISION_EXACT, 1);
    struct cm_error error;
    struct cm_matrix *matrix = NULL;
    struct cm_tensor a = random_tensor(CM_F32, 4, 32);
    struct cm_tensor b = random_tensor(CM_Q8_0, 4, 64);
    struct cm_matrix_source stacked[2] = { { &a, NULL, false, false }, { &b, NULL, false, false } };
    struct cm_matrix_source transposed = { &b, NULL, true, false };
    struct cm_matrix_source biased = { &a, &a, false, false };
    assert_int_equal(cm_matrix_create(backend, stacked, 2, &matrix, &error), CM_INVALID_DATA);
    assert_int_equal(cm_matrix_create(backend, &transposed, 1, &matrix, &error), CM_UNSUPPORTED);
    assert_int_equal(cm_matrix_create(backend, &biased, 1, &matrix, &error), CM_INVALID_DATA);
    a.bytes -= 4;
    assert_int_equal(cm_matrix_create(backend, stacked, 1, &matrix, &error), CM_INVALID_DATA);
    a.dims[0] = 0;
    a.bytes = 0;
    assert_int_equal(cm_matrix_create(backend, stacked, 1, &matrix, &error), CM_INVALID_DATA);
    free((void *)a.data);
    free((void *)b.data);
    cm_backend_close(backend);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct cm_tensor weight = random_tensor(CM_F32, 40, 64);
    struct cm_matrix_source source = { &weight, NULL, false, false };
    for (uint64_t nth = 1;; nth++) {
        struct cm_backend_options options = { .threads = 2, .rows_max = 8 };
        struct cm_backend *backend = NULL;
        struct cm_matrix *matrix = NULL;
        struct cm_error error;
        cm_memory_fail_at(nth);
        enum cm_status status = cm_backend_open(&options, &backend, &error);
        if (status == CM_OK) {
            status = cm_matrix_create(backend, &source, 1, &matrix, &error);
        }
        cm_memory_fail_at(0);
        cm_matrix_close(matrix);
        cm_backend_close(backend);
        if (status == CM_OK) {
            assert_true(nth > 5);
            break;
        }
        assert_int_equal(status, CM_OUT_OF_MEMORY);
    }
    free((void *)weight.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_and_precision_matches_the_oracle),
        cmocka_unit_test(a_row_does_not_see_the_others),
        cmocka_unit_test(sources_are_stacked_with_their_biases),
        cmocka_unit_test(extreme_codes_do_not_saturate),
        cmocka_unit_test(exact_sums_agree_between_avx2_and_avx512),
        cmocka_unit_test(byte_dots_agree_with_avx2),
        cmocka_unit_test(zeros_and_not_a_number_stay_what_they_are),
        cmocka_unit_test(q6_k_loses_little),
        cmocka_unit_test(vectors_and_tables_are_read),
        cmocka_unit_test(unfit_sources_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
