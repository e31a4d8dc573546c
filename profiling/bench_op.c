/* bench_op: times cm_op_matmul over shapes and row counts, beside the limits of the machine
 * measured in the same process.
 *
 * Weights are cold, as they are when a model's layers follow one another: each call takes the next
 * of several equal matrices that together exceed the caches. Reported is the median of the calls.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "kernels/backend.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLD_BYTES = 96 << 20, COPIES_MAX = 64, CALLS_MAX = 4096, ROWS_MAX = 512 };

struct shape {
    uint32_t n_out;
    uint32_t n_in;
};

/* SmolLM2-135M: QKV, attention output, gate + up, down, head. */
static const struct shape shapes[] = {
    { 960, 576 }, { 576, 576 }, { 3072, 576 }, { 576, 1536 }, { 49152, 576 },
};
static const uint32_t rows_counts[] = { 1, 8, 16, 32, 64, 128, ROWS_MAX };

struct options {
    enum cm_precision precision;
    enum cm_dtype dtype;
    uint32_t threads;
    uint32_t only_rows;  /* 0: all */
    uint32_t only_n_out; /* 0: all */
    double seconds;      /* per line */
    bool json;
};

static enum cm_precision parse_precision(const char *text, struct argp_state *state)
{
    if (strcmp(text, "exact") == 0) {
        return CM_PRECISION_EXACT;
    }
    if (strcmp(text, "bf16") == 0) {
        return CM_PRECISION_BF16;
    }
    if (strcmp(text, "int8") != 0) {
        argp_error(state, "--precision is exact, bf16 or int8, not %s", text);
    }
    return CM_PRECISION_INT8;
}

static enum cm_dtype parse_dtype(const char *text, struct argp_state *state)
{
    for (int i = 0; i < CM_DTYPE_COUNT; i++) {
        if (strcmp(cm_dtype_info((enum cm_dtype)i)->name, text) == 0) {
            return (enum cm_dtype)i;
        }
    }
    argp_error(state, "--type: there is no %s", text);
    return CM_F32;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    switch (key) {
    case 'p':
        options->precision = parse_precision(argument, state);
        return 0;
    case 't':
        options->dtype = parse_dtype(argument, state);
        return 0;
    case 'j':
        options->threads = (uint32_t)strtoul(argument, NULL, 10);
        return 0;
    case 'r':
        options->only_rows = (uint32_t)strtoul(argument, NULL, 10);
        if (options->only_rows > ROWS_MAX) {
            argp_error(state, "--rows is at most %d", ROWS_MAX);
        }
        return 0;
    case 'n':
        options->only_n_out = (uint32_t)strtoul(argument, NULL, 10);
        return 0;
    case 's':
        options->seconds = strtod(argument, NULL);
        return 0;
    case 'o':
        options->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    { "precision", 'p', "NAME", 0, "exact, bf16 or int8 (default)", 0 },
    { "type", 't', "NAME", 0, "type of the weights in the file (default Q8_0)", 0 },
    { "threads", 'j', "N", 0, "default: one per core", 0 },
    { "rows", 'r', "N", 0, "only this number of rows", 0 },
    { "n-out", 'n', "N", 0, "only the shape with this number of outputs", 0 },
    { "seconds", 's', "S", 0, "time per line (default 0.15)", 0 },
    { "json", 'o', NULL, 0, "one JSON object instead of the table", 0 },
    { 0 },
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Bytes that form valid, harmless blocks of any type: small positive scales, mixed codes. */
static uint8_t *make_weights(size_t bytes)
{
    uint8_t *data = cm_alloc(bytes, 1);
    for (size_t i = 0; data != NULL && i < bytes; i++) {
        data[i] = (uint8_t)((i * 29 + i / 7) % 32);
    }
    return data;
}

static double time_calls(struct cm_backend *backend, struct cm_matrix *const *matrices,
                         size_t matrices_count, const float *x, uint32_t rows, float *y,
                         double seconds)
{
    static double call_s[CALLS_MAX];
    size_t calls = 0;
    double begin_s = cm_clock_s();
    while (calls < CALLS_MAX && (calls < 5 || cm_clock_s() - begin_s < seconds)) {
        double call_begin_s = cm_clock_s();
        cm_op_matmul(backend, matrices[calls % matrices_count], x, rows, y);
        call_s[calls++] = cm_clock_s() - call_begin_s;
    }
    qsort(call_s, calls, sizeof *call_s, compare_doubles);
    return call_s[calls / 2];
}

static double limit_of(const struct cm_backend *backend, const struct cm_machine_limits *limits)
{
    switch (cm_backend_precision(backend)) {
    case CM_PRECISION_EXACT:
        return limits->fp32_gflops;
    case CM_PRECISION_BF16:
        return limits->bf16_gflops;
    default:
        return limits->int8_gops;
    }
}

static void print_line(const struct options *options, struct shape shape, uint32_t rows, double s,
                       size_t matrix_bytes, double limit, bool first)
{
    double gops = 2.0 * rows * shape.n_out * shape.n_in / s / 1e9;
    double gbs = (double)matrix_bytes / s / 1e9;
    double percent = limit > 0 ? 100.0 * gops / limit : 0.0;
    if (options->json) {
        printf("%s\n  {\"n_out\": %u, \"n_in\": %u, \"rows\": %u, \"us\": %.1f, \"gops\": %.1f, "
               "\"percent_of_limit\": %.1f, \"weights_gbs\": %.2f}",
               first ? "" : ",", shape.n_out, shape.n_in, rows, s * 1e6, gops, percent, gbs);
    } else {
        printf("%6u x %-5u %5u %10.1f %9.1f %7.1f %% %9.2f\n", shape.n_out, shape.n_in, rows,
               s * 1e6, gops, percent, gbs);
    }
}

/* False when memory ran out. */
static bool bench_shape(struct cm_backend *backend, const struct options *options,
                        struct shape shape, double limit, bool first_shape)
{
    struct cm_matrix *matrices[COPIES_MAX] = { NULL };
    struct cm_error error;
    struct cm_tensor weight = { .name = "synthetic", .dtype = options->dtype, .n_dims = 2 };
    weight.dims[0] = shape.n_out;
    weight.dims[1] = shape.n_in;
    bool done = false;
    if (cm_tensor_bytes(weight.dtype, 2, weight.dims, &weight.bytes) != CM_OK) {
        return true; /* a type whose blocks do not fit this shape */
    }
    uint8_t *data = make_weights(weight.bytes);
    float *x = cm_backend_alloc(backend, sizeof *x * ROWS_MAX * shape.n_in);
    float *y = cm_backend_alloc(backend, sizeof *y * ROWS_MAX * shape.n_out);
    if (data == NULL || x == NULL || y == NULL) {
        goto done;
    }
    weight.data = data;
    for (size_t i = 0; i < (size_t)ROWS_MAX * shape.n_in; i++) {
        x[i] = (float)(i * 37 % 201) / 100.0f - 1.0f;
    }
    struct cm_matrix_source source = { &weight, NULL, false, false };
    size_t count = 0;
    size_t bytes = 0;
    while (count < COPIES_MAX && (count < 2 || bytes < COLD_BYTES)) {
        if (cm_matrix_create(backend, &source, 1, &matrices[count], &error) != CM_OK) {
            goto done;
        }
        bytes += cm_matrix_bytes(matrices[count++]);
    }
    bool first = first_shape;
    for (size_t i = 0; i < sizeof rows_counts / sizeof *rows_counts; i++) {
        uint32_t rows = options->only_rows > 0 ? options->only_rows : rows_counts[i];
        double s = time_calls(backend, matrices, count, x, rows, y, options->seconds);
        print_line(options, shape, rows, s, cm_matrix_bytes(matrices[0]), limit, first);
        first = false;
        if (options->only_rows > 0) {
            break;
        }
    }
    done = true;
done:
    for (size_t i = 0; i < COPIES_MAX; i++) {
        cm_matrix_close(matrices[i]);
    }
    cm_backend_free(backend, y);
    cm_backend_free(backend, x);
    cm_free(data);
    return done;
}

static void print_head(const struct options *options, const struct cm_backend *backend,
                       const struct cm_machine_limits *limits)
{
    const char *type = cm_dtype_info(options->dtype)->name;
    printf(options->json
               ? "{\"variant\": \"%s\", \"type\": \"%s\", \"threads\": %u, \"int8_gops\": %.0f, "
                 "\"bf16_gflops\": %.0f, \"fp32_gflops\": %.0f, \"bandwidth_gbs\": %.1f, "
                 "\"lines\": ["
               : "%s, weights from %s, %u threads\nlimits: int8 %.0f GOP/s, bf16 %.0f, fp32 %.0f "
                 "GFLOP/s, reading %.1f GB/s\n",
           cm_backend_variant(backend), type, cm_backend_threads(backend), limits->int8_gops,
           limits->bf16_gflops, limits->fp32_gflops, limits->bandwidth_gbs);
    if (!options->json) {
        printf(" n_out x n_in   rows         us     GOP/s  of limit  weights GB/s\n");
    }
}

int main(int argc, char **argv)
{
    struct options options = { CM_PRECISION_INT8, CM_Q8_0, 0, 0, 0, 0.15, false };
    const struct argp argp = { argp_options, parse_option, NULL, "Times the matmul op.", 0, 0, 0 };
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    struct cm_backend_options backend_options = { .precision = options.precision,
                                                  .threads = options.threads,
                                                  .rows_max = ROWS_MAX };
    struct cm_backend *backend = NULL;
    struct cm_error error;
    if (cm_backend_open(&backend_options, &backend, &error) != CM_OK) {
        fprintf(stderr, "bench_op: %s\n", error.message);
        return 1;
    }
    struct cm_machine_limits limits;
    cm_backend_measure_limits(backend, true, &limits);
    print_head(&options, backend, &limits);
    bool ok = true;
    bool first = true;
    for (size_t i = 0; ok && i < sizeof shapes / sizeof *shapes; i++) {
        if (options.only_n_out == 0 || options.only_n_out == shapes[i].n_out) {
            ok = bench_shape(backend, &options, shapes[i], limit_of(backend, &limits), first);
            first = false;
        }
    }
    if (options.json) {
        printf("\n]}\n");
    }
    if (!ok) {
        fprintf(stderr, "bench_op: out of memory\n");
    }
    cm_backend_close(backend);
    return ok ? 0 : 1;
}
