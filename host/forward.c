#include "host/forward.h"

#include "base/memory.h"

#include <math.h>

struct cm_forward {
    struct cm_backend *backend;
    const struct cm_weights *weights;
    const struct cm_model_config *config; /* of the part of the model that is computed here */
    struct cm_kv_pool *pool;

    /* Activations. */
    float *x;            /* [rows, n_embd] the residual stream */
    float *branch;       /* [rows, n_embd] a block's output, not yet added to x */
    float *normed;       /* [rows, n_embd]; after a step, of the rows that want logits */
    float *qkv;          /* [rows, (n_heads + 2 * n_kv_heads) * head_dim] */
    float *attention;    /* [rows, n_heads * head_dim] */
    float *gate_up;      /* [rows, 2 * n_ff] */
    float *hidden;       /* [rows, n_ff] */
    float *last_x;       /* [rows, n_embd] of the rows that want logits, in their order */
    float *logits;       /* [CM_LOGITS_ROWS_MAX, n_vocab] */
    float *whole_logits; /* the same of all devices together; NULL: this is the only one */
};

/* Sets *failed when there is no memory, so that the caller can list all buffers and look once. */
static void *buffer(struct cm_forward *forward, size_t count, size_t element_bytes, bool *failed)
{
    void *memory = cm_backend_alloc(forward->backend, count * element_bytes);
    *failed = *failed || memory == NULL;
    return memory;
}

enum cm_status cm_forward_open(struct cm_backend *backend, const struct cm_weights *weights,
                               struct cm_kv_pool *pool, uint32_t rows_max,
                               struct cm_forward **forward, struct cm_error *error)
{
    struct cm_forward *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->backend = backend;
    opened->weights = weights;
    const struct cm_model_part *part = &weights->part;
    const struct cm_model_config *config = &part->config;
    opened->config = config;
    opened->pool = pool;

    bool failed = false;
    size_t rows = rows_max;
    size_t q_dim = (size_t)config->n_heads * config->head_dim;
    size_t qkv_dim = q_dim + 2 * (size_t)config->n_kv_heads * config->head_dim;
    size_t head_rows = CM_LOGITS_ROWS_MAX;
    opened->x = buffer(opened, rows * config->n_embd, sizeof(float), &failed);
    opened->branch = buffer(opened, rows * config->n_embd, sizeof(float), &failed);
    opened->normed = buffer(opened, rows * config->n_embd, sizeof(float), &failed);
    opened->qkv = buffer(opened, rows * qkv_dim, sizeof(float), &failed);
    opened->attention = buffer(opened, rows * q_dim, sizeof(float), &failed);
    opened->gate_up = buffer(opened, rows * 2 * config->n_ff, sizeof(float), &failed);
    opened->hidden = buffer(opened, rows * config->n_ff, sizeof(float), &failed);
    opened->last_x = buffer(opened, rows * config->n_embd, sizeof(float), &failed);
    opened->logits = buffer(opened, head_rows * part->vocabulary.n_part, sizeof(float), &failed);
    if (part->ranks_count > 1) {
        opened->whole_logits =
            buffer(opened, head_rows * part->vocabulary.n_columns, sizeof(float), &failed);
    }
    if (failed) {
        cm_forward_close(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY,
                            "out of memory for the activations of %u rows; try a smaller --batch",
                            rows_max);
    }
    *forward = opened;
    return CM_OK;
}

void cm_forward_close(struct cm_forward *forward)
{
    if (forward == NULL) {
        return;
    }
    void *const buffers[] = {
        forward->x,       forward->branch, forward->normed, forward->qkv,    forward->attention,
        forward->gate_up, forward->hidden, forward->last_x, forward->logits, forward->whole_logits,
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        cm_backend_free(forward->backend, buffers[i]);
    }
    cm_free(forward);
}

/* x = embedding (+ position embedding where positions are learned) */
static void embed(struct cm_forward *forward, const struct cm_step_plan *plan)
{
    const struct cm_weights *weights = forward->weights;
    uint32_t n_embd = forward->config->n_embd;
    float scale = weights->spec->embed_scaled ? sqrtf((float)n_embd) : 1.0f;
    cm_op_embed(forward->backend, weights->embed, plan->device.tokens, plan->n_rows, scale,
                forward->x);
    if (weights->positions != NULL) {
        cm_op_embed(forward->backend, weights->positions, plan->device.positions, plan->n_rows,
                    1.0f, forward->branch);
        cm_op_add(forward->backend, forward->x, forward->branch, plan->n_rows, n_embd);
    }
}

/* Rows on their way through a layer. */
struct rows {
    float *x; /* [count, n_embd] */
    uint32_t count;
};

/* out = norm(x += residual); the residual may be NULL. */
static struct cm_norm_args norm_args(const struct cm_forward *forward,
                                     const struct cm_norm_weights *norm, float *x,
                                     const float *residual, float *out, uint32_t n_rows)
{
    return (struct cm_norm_args){
        .kind = forward->weights->spec->norm,
        .epsilon = forward->config->norm_epsilon,
        .n_rows = n_rows,
        .dim = forward->config->n_embd,
        .weight = norm->weight,
        .bias = norm->bias,
        .x = x,
        .residual = residual,
        .out = out,
    };
}

/* out = norm(x += residual) * matrix^T */
static void normalise_multiply(struct cm_forward *forward, const struct cm_norm_weights *norm,
                               struct rows rows, const float *residual, struct cm_matrix *matrix,
                               float *out)
{
    struct cm_norm_args args =
        norm_args(forward, norm, rows.x, residual, forward->normed, rows.count);
    cm_op_norm_matmul(forward->backend, &args, matrix, out);
}

/* A norm of the output of a block, where a family has one. */
static void normalise_branch(struct cm_forward *forward, const struct cm_norm_weights *norm,
                             uint32_t n_rows)
{
    if (norm->weight != NULL) {
        struct cm_norm_args args =
            norm_args(forward, norm, forward->branch, NULL, forward->branch, n_rows);
        cm_op_norm(forward->backend, &args);
    }
}

/* attention = the heads' output of x += pending, all rows of the step */
static void attend(struct cm_forward *forward, const struct cm_step_plan *plan,
                   const struct cm_layer_weights *layer, uint32_t layer_index, const float *pending)
{
    struct cm_backend *backend = forward->backend;
    const struct cm_model_config *config = forward->config;
    normalise_multiply(forward, &layer->attention_norm, (struct rows){ forward->x, plan->n_rows },
                       pending, layer->qkv, forward->qkv);
    cm_op_rope_append(backend, &(struct cm_rope_append_args){
                                   .pool = forward->pool,
                                   .layer = layer_index,
                                   .n_rows = plan->n_rows,
                                   .n_heads = config->n_heads,
                                   .n_kv_heads = config->n_kv_heads,
                                   .head_dim = config->head_dim,
                                   .rope = forward->weights->spec->rope,
                                   .inverse_frequencies = layer->inverse_frequencies,
                                   .qkv = forward->qkv,
                                   .q_norm = layer->q_norm.weight,
                                   .k_norm = layer->k_norm.weight,
                                   .qk_norm_kind = forward->weights->spec->norm,
                                   .qk_norm_epsilon = config->norm_epsilon,
                                   .positions = plan->device.positions,
                                   .pages = plan->device.row_pages,
                               });
    cm_op_attention(backend, &(struct cm_attention_args){
                                 .pool = forward->pool,
                                 .layer = layer_index,
                                 .n_rows = plan->n_rows,
                                 .n_heads = config->n_heads,
                                 .n_kv_heads = config->n_kv_heads,
                                 .head_dim = config->head_dim,
                                 .window = layer->window,
                                 .scale = config->attention_scale,
                                 .qkv = forward->qkv,
                                 .positions = plan->device.positions,
                                 .visits = plan->device.visits,
                                 .chunks = plan->device.chunks,
                                 .n_chunks = plan->n_chunks,
                                 .positions_end = plan->positions_end,
                                 .rows_per_visit = plan->rows_per_visit,
                                 .out = forward->attention,
                             });
}

/* branch = the end of the attention block */
static void project_attention(struct cm_forward *forward, const struct cm_layer_weights *layer,
                              const float *attention, uint32_t n_rows)
{
    cm_op_matmul(forward->backend, layer->attention_out, attention, n_rows, forward->branch);
    cm_op_all_reduce(forward->backend, forward->branch, (size_t)n_rows * forward->config->n_embd);
    normalise_branch(forward, &layer->attention_post_norm, n_rows);
}

/* branch = feed-forward block of x += branch */
static void feed_forward_block(struct cm_forward *forward, const struct cm_layer_weights *layer,
                               struct rows rows)
{
    struct cm_backend *backend = forward->backend;
    const struct cm_model_spec *spec = forward->weights->spec;
    uint32_t n_ff = forward->config->n_ff;
    if (spec->names->gate != NULL) {
        struct cm_norm_args norm = norm_args(forward, &layer->ffn_norm, rows.x, forward->branch,
                                             forward->normed, rows.count);
        cm_op_feed_forward(backend, &(struct cm_feed_forward_args){
                                        .norm = &norm,
                                        .gate_up = layer->gate_up,
                                        .kind = spec->activation,
                                        .down = layer->down,
                                        .products = forward->gate_up,
                                        .hidden = forward->hidden,
                                        .y = forward->branch,
                                    });
    } else {
        normalise_multiply(forward, &layer->ffn_norm, rows, forward->branch, layer->gate_up,
                           forward->gate_up);
        cm_op_activation(backend, spec->activation, forward->gate_up, rows.count, n_ff,
                         forward->hidden);
        cm_op_matmul(backend, layer->down, forward->hidden, rows.count, forward->branch);
    }
    cm_op_all_reduce(backend, forward->branch, (size_t)rows.count * forward->config->n_embd);
    normalise_branch(forward, &layer->ffn_post_norm, rows.count);
}

/* The last layer's attention has left all that other rows will ever see, its keys and values: from
 * there on only rows that want logits are of interest. */
static void finish(struct cm_forward *forward, const struct cm_step_plan *plan,
                   const struct cm_layer_weights *layer)
{
    struct cm_backend *backend = forward->backend;
    const struct cm_model_config *config = forward->config;
    struct rows rows = { forward->last_x, plan->n_logits };
    const int32_t *numbers = plan->device.logits_rows;
    float *attention = forward->qkv; /* which is free again, and larger */
    if (rows.count == 0) {
        return;
    }
    cm_op_gather(backend, forward->x, config->n_embd, numbers, rows.count, rows.x);
    cm_op_gather(backend, forward->attention, config->n_heads * config->head_dim, numbers,
                 rows.count, attention);
    project_attention(forward, layer, attention, rows.count);
    feed_forward_block(forward, layer, rows);
    struct cm_norm_args args = norm_args(forward, &forward->weights->final_norm, rows.x,
                                         forward->branch, forward->normed, rows.count);
    cm_op_norm(backend, &args);
}

void cm_forward_step(struct cm_forward *forward, const struct cm_step_plan *plan)
{
    const struct cm_weights *weights = forward->weights;
    const uint32_t last = weights->n_layers - 1;
    const float *pending = NULL; /* the last block's output, added by the next norm */
    embed(forward, plan);
    for (uint32_t i = 0; i < last; i++) {
        const struct cm_layer_weights *layer = &weights->layers[i];
        attend(forward, plan, layer, i, pending);
        project_attention(forward, layer, forward->attention, plan->n_rows);
        feed_forward_block(forward, layer, (struct rows){ forward->x, plan->n_rows });
        pending = forward->branch;
    }
    attend(forward, plan, &weights->layers[last], last, pending);
    finish(forward, plan, &weights->layers[last]);
}

float *cm_forward_own_logits(struct cm_forward *forward, const struct cm_step_plan *plan,
                             uint32_t begin, uint32_t count)
{
    CM_ASSERT(count <= CM_LOGITS_ROWS_MAX && begin + count <= plan->n_logits);
    cm_op_matmul(forward->backend, forward->weights->head,
                 forward->normed + (size_t)begin * forward->config->n_embd, count, forward->logits);
    return forward->logits;
}

float *cm_forward_logits(struct cm_forward *forward, const struct cm_step_plan *plan,
                         uint32_t begin, uint32_t count)
{
    float *own = cm_forward_own_logits(forward, plan, begin, count);
    if (forward->whole_logits == NULL) {
        return own;
    }
    cm_op_gather_columns(forward->backend, own, count, &forward->weights->part.vocabulary,
                         forward->whole_logits);
    return forward->whole_logits;
}

const struct cm_model_part *cm_forward_part(const struct cm_forward *forward)
{
    return &forward->weights->part;
}

float *cm_forward_scratch(struct cm_forward *forward)
{
    return forward->whole_logits;
}
