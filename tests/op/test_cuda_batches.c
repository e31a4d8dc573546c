/* Every op on a CUDA device with every number of rows from none to 65, from any row on: each row
 * gets the bits that it gets among all others. What the bits are is the business of the other tests
 * of this folder. OP_TESTS=long takes every number of rows, else it is some. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum {
    ROWS_MAX = 65,
    DIM = 100,
    N_IN = 96,
    N_OUT = 48,
    N_VOCAB = 700,
    HISTORY = 20,
    MASK = 30,
    CANDIDATES = 9,
    VALUES_MAX = 256, /* of a row's results */
};

/* Puts the results of rows [first, first + count) into `out` [count, values]. */
struct op {
    const char *name;
    uint32_t values;
    void (*run)(struct cm_backend *backend, uint32_t first, uint32_t count, float *out);
};

/* Rows that do not depend on how many there are. */
static float *rows_at(uint64_t seed, uint32_t first, uint32_t count, size_t width, float scale)
{
    float *rows = cm_alloc_aligned((size_t)count * width + 1, sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < count; i++) {
        uint64_t state = seed + 1000003u * (first + i);
        for (size_t k = 0; k < width; k++) {
            rows[i * width + k] = scale * op_random(&state);
        }
    }
    return rows;
}

/* --- Row ops --- */

static void run_embed(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *values = rows_at(1, 0, ROWS_MAX, DIM, 1.0f);
    const struct cm_tensor tensor = { "table",           CM_F32, 2,
                                      { ROWS_MAX, DIM }, values, ROWS_MAX * DIM * sizeof *values };
    struct cm_table *table = NULL;
    int32_t tokens[ROWS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)((first + i) * 7 % ROWS_MAX);
    }
    assert_int_equal(cm_table_create(backend, &tensor, &table, NULL), CM_OK);
    op_embed(backend, table, tokens, count, DIM, 2.0f, out);
    cm_table_close(table);
    cm_free(values);
}

static void run_gather(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(2, 0, ROWS_MAX, DIM, 1.0f);
    int32_t rows[ROWS_MAX];
    for (uint32_t i = 0; i < count; i++) {
        rows[i] = (int32_t)((first + i) * 11 % ROWS_MAX);
    }
    op_gather(backend, x, ROWS_MAX, DIM, rows, count, out);
    cm_free(x);
}

static void run_norm(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(3, first, count, DIM, 3.0f);
    float *residual = rows_at(4, first, count, DIM, 1.0f);
    float *weight = rows_at(5, 0, 1, DIM, 1.0f);
    op_norm(backend, &(struct cm_norm_args){ .kind = CM_NORM_LAYER,
                                             .epsilon = 1e-5f,
                                             .n_rows = count,
                                             .dim = DIM,
                                             .weight = weight,
                                             .bias = weight,
                                             .x = x,
                                             .residual = residual,
                                             .out = out });
    cm_free(x);
    cm_free(residual);
    cm_free(weight);
}

static void run_add(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(6, first, count, DIM, 1.0f);
    float *y = rows_at(7, first, count, DIM, 1.0f);
    op_add(backend, x, y, count, DIM);
    memcpy(out, x, (size_t)count * DIM * sizeof *out);
    cm_free(x);
    cm_free(y);
}

static void run_gated(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(8, first, count, 2 * DIM, 4.0f);
    op_gated(backend, CM_ACTIVATION_SILU, x, count, DIM, out);
    cm_free(x);
}

static void run_activation(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(9, first, count, DIM, 4.0f);
    op_activation(backend, CM_ACTIVATION_GELU_TANH, x, count, DIM, out);
    cm_free(x);
}

/* --- Sampling --- */

/* Every control in some row, and in some none: a list may be empty. */
static void fill_controls(uint32_t first, uint32_t count, struct cm_sample_row *rows)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = first + i;
        rows[i] = (struct cm_sample_row){
            .temperature = row % 3 == 0 ? 0.0f : 0.5f + 0.25f * (float)(row % 5),
            .top_p = row % 4 == 1 ? 0.9f : 1.0f,
            .min_p = row % 5 == 2 ? 0.01f : 0.0f,
            .top_k = row % 6 == 3 ? 20 : 0,
            .repetition_penalty = row % 2 == 0 ? 1.25f : 1.0f,
            .uniform = (float)(row * 37 % 64) / 64,
            .history_end = row % 7 == 0 ? 0 : HISTORY,
            .banned = { { 0, row % 3 == 1 ? MASK : 0 } },
            .allowed = { 0, MASK },
            .only_allowed = row % 8 == 5 && row % 3 != 1,
            .want_logprob = row % 2 == 1,
        };
    }
}

static void fill_lists(int32_t history[HISTORY], int32_t mask_ids[MASK])
{
    for (int32_t i = 0; i < HISTORY; i++) {
        history[i] = i * 31 % N_VOCAB;
    }
    for (int32_t i = 0; i < MASK; i++) {
        mask_ids[i] = i * 13;
    }
}

static void run_sample(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *logits = rows_at(10, first, count, N_VOCAB, 5.0f);
    struct cm_sample_row rows[ROWS_MAX];
    int32_t history[HISTORY];
    int32_t mask_ids[MASK];
    int32_t tokens[ROWS_MAX] = { 0 };
    float logprobs[ROWS_MAX] = { 0 };
    fill_controls(first, count, rows);
    fill_lists(history, mask_ids);
    op_sample(backend, &(struct cm_sample_args){ .logits = logits,
                                                 .n_rows = count,
                                                 .n_vocab = N_VOCAB,
                                                 .rows = rows,
                                                 .history = history,
                                                 .mask_ids = mask_ids,
                                                 .tokens = tokens,
                                                 .logprobs = logprobs });
    for (uint32_t i = 0; i < count; i++) {
        out[2 * i] = (float)tokens[i];
        out[2 * i + 1] = logprobs[i];
    }
    cm_free(logits);
}

static void run_beam(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    enum { CELLS_MAX = ROWS_MAX * CANDIDATES, WIDTH = 3 * CANDIDATES + 1 };
    float *logits = rows_at(11, first, count, N_VOCAB, 5.0f);
    float *uniforms = rows_at(12, first, count, CANDIDATES, 0.999f);
    struct cm_sample_row rows[ROWS_MAX];
    int32_t history[HISTORY];
    int32_t mask_ids[MASK];
    int32_t tokens[CELLS_MAX] = { 0 };
    float scores[CELLS_MAX] = { 0 };
    float logprobs[CELLS_MAX] = { 0 };
    float log_masses[ROWS_MAX] = { 0 };
    fill_controls(first, count, rows);
    fill_lists(history, mask_ids);
    for (uint32_t i = 0; i < count * CANDIDATES; i++) {
        uniforms[i] = fabsf(uniforms[i]);
    }
    op_beam(backend, &(struct cm_beam_args){ .logits = logits,
                                             .n_rows = count,
                                             .n_vocab = N_VOCAB,
                                             .n_candidates = CANDIDATES,
                                             .rows = rows,
                                             .history = history,
                                             .mask_ids = mask_ids,
                                             .uniforms = uniforms,
                                             .tokens = tokens,
                                             .scores = scores,
                                             .logprobs = logprobs,
                                             .log_masses = log_masses });
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < CANDIDATES; k++) {
            out[i * WIDTH + k] = (float)tokens[i * CANDIDATES + k];
        }
        memcpy(out + i * WIDTH + CANDIDATES, scores + i * CANDIDATES, sizeof(float[CANDIDATES]));
        memcpy(out + i * WIDTH + 2 * CANDIDATES, logprobs + i * CANDIDATES,
               sizeof(float[CANDIDATES]));
        out[i * WIDTH + 3 * CANDIDATES] = log_masses[i];
    }
    cm_free(logits);
    cm_free(uniforms);
}

/* --- Products --- */

static struct cm_matrix *matrix; /* of the back end at hand */

static void open_matrix(struct cm_backend *backend)
{
    float *values = rows_at(13, 0, N_OUT, N_IN, 1.0f);
    const struct cm_tensor weight = { "weight",        CM_F32, 2,
                                      { N_OUT, N_IN }, values, N_OUT * N_IN * sizeof *values };
    const struct cm_matrix_source source = { .weight = &weight };
    struct cm_error error = { 0 };
    if (cm_matrix_create(backend, &source, 1, &matrix, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    cm_free(values);
}

static void run_matmul(struct cm_backend *backend, uint32_t first, uint32_t count, float *out)
{
    float *x = rows_at(14, first, count, N_IN, 2.0f);
    op_matmul(backend, matrix, x, count, out);
    cm_free(x);
}

/* --- The check --- */

static void check_op(struct cm_backend *backend, const struct op *op)
{
    static const uint32_t some[] = { 0, 1, 2, 7, 31, 32, 64 };
    static float together[ROWS_MAX * VALUES_MAX];
    static float part[ROWS_MAX * VALUES_MAX];
    const size_t some_count = sizeof some / sizeof some[0];
    assert_true(op->values <= VALUES_MAX);
    memset(together, 0, sizeof together);
    op->run(backend, 0, ROWS_MAX, together);
    uint32_t step = op_tests_are("short") ? 3 : 1;
    for (uint32_t i = 0; i < (op_tests_are("long") ? ROWS_MAX : some_count); i += step) {
        uint32_t count = op_tests_are("long") ? i : some[i];
        uint32_t first = i * 17 % (ROWS_MAX - count + 1);
        memset(part, 0, sizeof part);
        op->run(backend, first, count, part);
        if (memcmp(part, together + (size_t)first * op->values,
                   (size_t)count * op->values * sizeof *part) != 0) {
            fail_msg("%s: %u rows from row %u on are not what they are among all", op->name, count,
                     first);
        }
    }
}

static void rows_of_any_batch_are_the_same(void **state)
{
    (void)state;
    static const struct op ops[] = {
        { "embed", DIM, run_embed }, { "gather", DIM, run_gather },
        { "norm", DIM, run_norm },   { "add", DIM, run_add },
        { "gated", DIM, run_gated }, { "activation", DIM, run_activation },
        { "sample", 2, run_sample }, { "beam", 3 * CANDIDATES + 1, run_beam },
    };
    struct cm_backend *backend = op_cuda_backend(CM_PRECISION_EXACT, ROWS_MAX);
    if (backend == NULL) {
        skip();
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        check_op(backend, &ops[i]);
    }
    cm_backend_close(backend);
}

static void products_of_any_batch_are_the_same(void **state)
{
    (void)state;
    static const struct op op = { "matmul", N_OUT, run_matmul };
    const enum cm_precision precisions[] = { CM_PRECISION_EXACT, CM_PRECISION_BF16,
                                             CM_PRECISION_FP16,  CM_PRECISION_INT8,
                                             CM_PRECISION_INT4,  CM_PRECISION_FP8 };
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        struct cm_backend *backend = op_cuda_backend(precisions[i], ROWS_MAX);
        if (backend == NULL) {
            skip();
        }
        open_matrix(backend);
        check_op(backend, &op);
        cm_matrix_close(matrix);
        cm_backend_close(backend);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_any_batch_are_the_same),
        cmocka_unit_test(products_of_any_batch_are_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
