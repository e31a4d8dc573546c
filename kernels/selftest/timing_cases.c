/* The ops of a layer at the sizes of a step: what decodes (a row a text) and what prefills. */
#include "kernels/selftest/step_plan.h"
#include "kernels/selftest/timing.h"

#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DECODE, PREFILL, KINDS_COUNT };

static uint32_t rows_of(const struct cm_timing_model *model, uint32_t kind)
{
    return kind == DECODE ? model->texts : model->context / 2;
}

/* --- Ops that work row by row --- */

static void call_norm(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_norm(backend, &op->args.norm);
}

static void norm(struct cm_timed_op *op, uint32_t kind)
{
    uint32_t n_rows = rows_of(op->model, kind);
    uint32_t dim = op->model->n_embd;
    size_t n = (size_t)n_rows * dim;
    op->args.norm = (struct cm_norm_args){
        .kind = CM_NORM_RMS,
        .epsilon = 1e-5f,
        .n_rows = n_rows,
        .dim = dim,
        .weight = cm_trial_random(&op->trial, 1, dim, 1.0f),
        .x = cm_trial_random(&op->trial, 2, n, 1.0f),
        .residual = cm_trial_random(&op->trial, 3, n, 0x1p-20f), /* x stays in bounds */
        .out = cm_trial_random(&op->trial, 4, n, 1.0f),
    };
    op->call = call_norm;
    op->work = cm_work_norm(n_rows, dim, true);
    snprintf(op->shape, sizeof op->shape, "%u x %u", n_rows, dim);
}

static void call_gated(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_gated(backend, CM_ACTIVATION_SILU, op->args.rows.x, op->args.rows.n_rows,
                op->args.rows.dim, op->args.rows.out);
}

static void gated(struct cm_timed_op *op, uint32_t kind)
{
    uint32_t n_rows = rows_of(op->model, kind);
    uint32_t dim = op->model->n_ff;
    op->args.rows.x = cm_trial_random(&op->trial, 1, (size_t)n_rows * 2 * dim, 4.0f);
    op->args.rows.out = cm_trial_random(&op->trial, 2, (size_t)n_rows * dim, 1.0f);
    op->args.rows.n_rows = n_rows;
    op->args.rows.dim = dim;
    op->call = call_gated;
    op->work = cm_work_activation(n_rows, dim, true);
    snprintf(op->shape, sizeof op->shape, "%u x %u", n_rows, dim);
}

static void call_gather(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_gather(backend, op->args.rows.x, op->args.rows.dim, op->args.rows.ids,
                 op->args.rows.n_rows, op->args.rows.out);
}

static void gather(struct cm_timed_op *op, uint32_t kind)
{
    uint32_t n_rows = rows_of(op->model, kind);
    uint32_t dim = op->model->n_embd;
    size_t n = (size_t)n_rows * dim;
    int32_t *ids = cm_alloc(n_rows, sizeof *ids);
    if (ids == NULL) {
        cm_trial_fail(&op->trial, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        ids[i] = (int32_t)(n_rows - 1 - i);
    }
    op->args.rows.x = cm_trial_random(&op->trial, 1, n, 1.0f);
    op->args.rows.ids = cm_trial_input(&op->trial, ids, n_rows * sizeof *ids);
    op->args.rows.out = cm_trial_random(&op->trial, 2, n, 1.0f);
    op->args.rows.n_rows = n_rows;
    op->args.rows.dim = dim;
    op->call = call_gather;
    op->work = cm_work_embed(n_rows, dim, 4);
    snprintf(op->shape, sizeof op->shape, "%u x %u", n_rows, dim);
    cm_free(ids);
}

/* --- Products --- */

static struct cm_matrix *random_matrix(struct cm_trial *trial, uint32_t n_in, uint32_t n_out)
{
    enum cm_precision precision = cm_backend_precision(trial->backend);
    struct cm_error error = { 0 };
    struct cm_matrix *matrix = NULL;
    struct cm_tensor tensor = { .name = "weights", .n_dims = 2, .dims = { n_out, n_in } };
    tensor.dtype = precision == CM_PRECISION_INT8   ? CM_Q8_0
                   : precision == CM_PRECISION_INT4 ? CM_Q4_0
                                                    : CM_BF16;
    const struct cm_matrix_source source = { .weight = &tensor };
    void *weights = NULL;
    if (cm_tensor_bytes(tensor.dtype, 2, tensor.dims, &tensor.bytes) == CM_OK) {
        weights = cm_trial_weights(tensor.dtype, tensor.bytes, 1);
    }
    tensor.data = weights;
    if (weights == NULL) {
        cm_trial_fail(trial, "out of memory");
    } else if (cm_matrix_create(trial->backend, &source, 1, &matrix, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
    }
    cm_free(weights);
    return matrix;
}

static void call_matmul(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_matmul(backend, op->matrix, op->args.rows.x, op->args.rows.n_rows, op->args.rows.out);
}

static void product(struct cm_timed_op *op, uint32_t kind, uint32_t n_in, uint32_t n_out)
{
    uint32_t n_rows = rows_of(op->model, kind);
    op->args.rows.x = cm_trial_random(&op->trial, 1, (size_t)n_rows * n_in, 1.0f);
    op->args.rows.out = cm_trial_random(&op->trial, 2, (size_t)n_rows * n_out, 1.0f);
    op->args.rows.n_rows = n_rows;
    op->matrix = random_matrix(&op->trial, n_in, n_out);
    op->call = call_matmul;
    snprintf(op->shape, sizeof op->shape, "%u x %u -> %u", n_rows, n_in, n_out);
    if (op->matrix != NULL) {
        op->work = cm_work_matmul(&(struct cm_work_matmul){
            .precision = cm_backend_precision(op->trial.backend),
            .weights_bytes = (double)cm_matrix_bytes(op->matrix),
            .n_rows = n_rows,
            .n_in = n_in,
            .n_out = n_out,
            .sm_count = op->sm_count,
        });
    }
}

static void gate_up(struct cm_timed_op *op, uint32_t kind)
{
    product(op, kind, op->model->n_embd, 2 * op->model->n_ff);
}

static void down(struct cm_timed_op *op, uint32_t kind)
{
    product(op, kind, op->model->n_ff, op->model->n_embd);
}

/* --- The cache --- */

static void set_append(struct cm_timed_op *op, uint32_t n_rows)
{
    const struct cm_timing_model *model = op->model;
    float frequencies[128];
    size_t qkv_dim = (size_t)(model->n_heads + 2 * model->n_kv_heads) * model->head_dim;
    for (uint32_t i = 0; i < model->head_dim / 2; i++) {
        frequencies[i] = powf(10000.0f, -2.0f * (float)i / (float)model->head_dim);
    }
    op->args.step.append = (struct cm_rope_append_args){
        .pool = op->pool,
        .n_rows = n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .rope = CM_ROPE_HALVES,
        .inverse_frequencies =
            cm_trial_input(&op->trial, frequencies, model->head_dim / 2 * sizeof(float)),
        .qkv = cm_trial_random(&op->trial, 1, n_rows * qkv_dim, 1.0f),
    };
}

/* Every text's positions from 0 to the end of its context. */
static void fill_pool(struct cm_timed_op *op, uint32_t texts)
{
    const struct cm_timing_model *model = op->model;
    uint32_t blocks = (model->context + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    const struct cm_kv_shape shape = { 1, model->n_kv_heads, model->head_dim };
    struct cm_error error = { 0 };
    if (cm_kv_pool_create(op->trial.backend, &shape, texts * blocks, &op->pool, &error) != CM_OK) {
        cm_trial_fail(&op->trial, "%.200s", error.message);
        return;
    }
    set_append(op, model->context);
    for (uint32_t text = 0; text < texts && !cm_trial_failed(&op->trial); text++) {
        struct cm_step_plan plan;
        struct cm_rope_append_args append = op->args.step.append;
        if (cm_step_plan_init(&plan, model->context, blocks, 0) != CM_OK) {
            cm_trial_fail(&op->trial, "out of memory");
            return;
        }
        cm_step_plan_add(&plan, text, 0, model->context);
        int32_t *tables = cm_backend_alloc(op->trial.backend, 2 * plan.n_rows * sizeof *tables);
        if (tables == NULL) {
            cm_trial_fail(&op->trial, "no memory");
        } else {
            size_t bytes = plan.n_rows * sizeof *tables;
            cm_backend_upload(op->trial.backend, tables, plan.positions, bytes);
            cm_backend_upload(op->trial.backend, tables + plan.n_rows, plan.pages, bytes);
            append.positions = tables;
            append.pages = tables + plan.n_rows;
            cm_op_rope_append(op->trial.backend, &append);
            cm_backend_free(op->trial.backend, tables);
        }
        cm_step_plan_deinit(&plan);
    }
}

/* Decode: the last position of each text; prefill: the second half of one text. */
static enum cm_status plan_kind(const struct cm_timing_model *model, uint32_t kind,
                                struct cm_step_plan *plan)
{
    uint32_t blocks = (model->context + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    enum cm_status status = cm_step_plan_init(plan, rows_of(model, kind), blocks, 0);
    for (uint32_t i = 0; i < model->texts && status == CM_OK && kind == DECODE; i++) {
        cm_step_plan_add(plan, i, model->context - 1, model->context);
    }
    if (status == CM_OK && kind == PREFILL) {
        cm_step_plan_add(plan, 0, model->context - rows_of(model, kind), model->context);
    }
    if (status == CM_OK) {
        cm_step_plan_finish(plan);
    }
    return status;
}

static void set_step(struct cm_timed_op *op, const struct cm_step_plan *plan)
{
    const struct cm_timing_model *model = op->model;
    struct cm_rope_append_args *append = &op->args.step.append;
    size_t out_dim = (size_t)model->n_heads * model->head_dim;
    set_append(op, plan->n_rows);
    append->positions = cm_trial_input(&op->trial, plan->positions, plan->n_rows * sizeof(int32_t));
    append->pages = cm_trial_input(&op->trial, plan->pages, plan->n_rows * sizeof(int32_t));
    op->args.step.attention = (struct cm_attention_args){
        .pool = op->pool,
        .n_rows = plan->n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .scale = 1.0f / sqrtf((float)model->head_dim),
        .qkv = append->qkv,
        .positions = append->positions,
        .visits = cm_trial_input(&op->trial, plan->visits, plan->n_visits * sizeof *plan->visits),
        .chunks = cm_trial_input(&op->trial, plan->chunks, plan->n_chunks * sizeof *plan->chunks),
        .n_chunks = plan->n_chunks,
        .positions_end = plan->positions_end,
        .rows_per_visit = plan->rows_per_visit,
        .out = cm_trial_random(&op->trial, 2, plan->n_rows * out_dim, 1.0f),
    };
}

static void prepare_step(struct cm_timed_op *op, uint32_t kind)
{
    struct cm_step_plan plan;
    fill_pool(op, kind == DECODE ? op->model->texts : 1);
    if (cm_trial_failed(&op->trial)) {
        return;
    }
    if (plan_kind(op->model, kind, &plan) != CM_OK) {
        cm_trial_fail(&op->trial, "out of memory");
        return;
    }
    set_step(op, &plan);
    cm_step_plan_deinit(&plan);
}

static void call_append(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_rope_append(backend, &op->args.step.append);
}

static uint32_t kv_bytes(enum cm_precision precision)
{
    return precision == CM_PRECISION_EXACT ? 4 : precision == CM_PRECISION_FP8 ? 1 : 2;
}

static void rope_append(struct cm_timed_op *op, uint32_t kind)
{
    const struct cm_timing_model *model = op->model;
    uint32_t n_rows = rows_of(model, kind);
    prepare_step(op, kind);
    op->call = call_append;
    op->work = cm_work_rope(n_rows, model->n_heads, model->n_kv_heads, model->head_dim,
                            kv_bytes(cm_backend_precision(op->trial.backend)));
    snprintf(op->shape, sizeof op->shape, "%u rows, %u + %u heads of %u", n_rows, model->n_heads,
             model->n_kv_heads, model->head_dim);
}

static void call_attention(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_attention(backend, &op->args.step.attention);
}

static void attention(struct cm_timed_op *op, uint32_t kind)
{
    const struct cm_timing_model *model = op->model;
    uint32_t n_rows = rows_of(model, kind);
    double seen = model->context - (kind == PREFILL ? (n_rows - 1) / 2.0 : 0);
    prepare_step(op, kind);
    op->call = call_attention;
    op->work = cm_work_attention(&(struct cm_work_attention){
        .precision = cm_backend_precision(op->trial.backend),
        .n_rows = n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .shared_tokens = kind == PREFILL ? seen : 0,
        .private_tokens = kind == PREFILL ? 0 : seen,
        .cached_tokens = (double)model->context * (kind == PREFILL ? 1 : n_rows),
        .sm_count = op->sm_count,
    });
    snprintf(op->shape, sizeof op->shape, "%s, %u rows, context %u",
             kind == PREFILL ? "prefill" : "decode", n_rows, model->context);
}

/* --- Sampling --- */

static void call_sample(struct cm_backend *backend, struct cm_timed_op *op)
{
    cm_op_sample(backend, &op->args.sample);
}

/* Greedy, then drawn with top-k and without it; with log-probabilities, as jobs want them. */
static void sample(struct cm_timed_op *op, uint32_t which)
{
    const char *const names[] = { "greedy", "top-k", "top-p" };
    enum cm_work_sampling sampling = (enum cm_work_sampling)which;
    bool drawn = sampling != CM_WORK_GREEDY;
    uint32_t n_rows = op->model->texts;
    uint32_t n_vocab = op->model->n_vocab;
    struct cm_sample_row *rows = cm_alloc(n_rows, sizeof *rows);
    if (rows == NULL) {
        cm_trial_fail(&op->trial, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        rows[i] = (struct cm_sample_row){ .temperature = drawn ? 0.8f : 0.0f,
                                          .top_p = drawn ? 0.95f : 1.0f,
                                          .top_k = sampling == CM_WORK_TOP_K ? 50 : 0,
                                          .repetition_penalty = 1.0f,
                                          .want_logprob = true,
                                          .uniform = ((float)i + 0.5f) / (float)n_rows };
    }
    op->args.sample = (struct cm_sample_args){
        .logits = cm_trial_random(&op->trial, 1, (size_t)n_rows * n_vocab, 8.0f),
        .n_rows = n_rows,
        .n_vocab = n_vocab,
        .rows = cm_trial_input(&op->trial, rows, n_rows * sizeof *rows),
        .history = cm_trial_input(&op->trial, &(int32_t){ 0 }, sizeof(int32_t)),
        .tokens = cm_trial_input(&op->trial, rows, n_rows * sizeof(int32_t)),
        .logprobs = cm_trial_random(&op->trial, 2, n_rows, 1.0f),
    };
    op->call = call_sample;
    op->work = cm_work_sample(n_rows, n_vocab, sampling);
    snprintf(op->shape, sizeof op->shape, "%u x %u, %s", n_rows, n_vocab, names[which]);
    cm_free(rows);
}

const struct cm_timing_case CM_TIMING_CASES[] = {
    { "norm + residual", KINDS_COUNT, norm, CM_TIMING_ONCE },
    { "activation, gated", KINDS_COUNT, gated, CM_TIMING_ONCE },
    { "gather", KINDS_COUNT, gather, CM_TIMING_ONCE },
    { "sample", 3, sample, CM_TIMING_ONCE },
    { "matmul, gate + up", KINDS_COUNT, gate_up, CM_TIMING_BY_WEIGHTS },
    { "matmul, down", KINDS_COUNT, down, CM_TIMING_BY_WEIGHTS },
    { "rope, append", KINDS_COUNT, rope_append, CM_TIMING_BY_CACHE },
    { "attention", KINDS_COUNT, attention, CM_TIMING_BY_CACHE },
    { 0 },
};
