/* The ops of backend.h on the device: checks, then one launch each. */
#include "kernels/cuda/cuda_backend.h"

void cm_cuda_op_embed(struct cm_backend *backend, const struct cm_table *table,
                      const int32_t *tokens, uint32_t n_rows, float scale, float *out)
{
    if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cm_cuda_embed(table->data, table->dtype, table->dim, tokens, n_rows, scale,
                                    out, backend->stream),
                      "embed");
    }
}

void cm_cuda_op_gather(struct cm_backend *backend, const float *x, uint32_t dim,
                       const int32_t *rows, uint32_t n_rows, float *out)
{
    if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_gather(x, dim, rows, n_rows, out, backend->stream),
                      "gather");
    }
}

void cm_cuda_op_norm(struct cm_backend *backend, const struct cm_norm_args *args)
{
    CM_ASSERT(args->residual == NULL || args->out != args->x);
    if (args->n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_norm(args, backend->stream), "norm");
    }
}

void cm_cuda_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows,
                    uint32_t dim)
{
    if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_add(x, y, (size_t)n_rows * dim, backend->stream), "add");
    }
}

void cm_cuda_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out)
{
    if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_gated(kind, x, n_rows, dim, out, backend->stream), "gated");
    }
}

void cm_cuda_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                           uint32_t n_rows, uint32_t dim, float *out)
{
    if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cm_cuda_activation(kind, x, (size_t)n_rows * dim, out, backend->stream),
                      "activation");
    }
}

void cm_cuda_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    const struct cm_kv_shape *shape = &args->pool->shape;
    CM_ASSERT(args->head_dim == shape->head_dim && args->n_kv_heads == shape->n_kv_heads);
    CM_ASSERT(args->layer < shape->n_layers);
    CM_ASSERT(args->rope == CM_ROPE_NONE || args->inverse_frequencies != NULL);
    if (args->n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_rope_append(args, &args->pool->kv, backend->stream), "rope");
    }
}

/* A fixed function of the shape, never of the number of rows. */
static bool suits_tensor_cores(const struct cm_kv_pool *pool)
{
    uint32_t dim = pool->shape.head_dim;
    return pool->kv.type != CM_CUDA_KV_F32 &&
           (dim == 32 || dim == 64 || dim == 80 || dim == 96 || dim == 128 || dim == 256);
}

void cm_cuda_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    const struct cm_kv_shape *shape = &args->pool->shape;
    CM_ASSERT(args->head_dim == shape->head_dim && args->n_kv_heads == shape->n_kv_heads);
    CM_ASSERT(args->layer < shape->n_layers && args->n_heads % args->n_kv_heads == 0);
    if (args->n_chunks > 0 && cm_cuda_begin(backend)) {
        __typeof__(cm_cuda_attention) *attention =
            suits_tensor_cores(args->pool) ? cm_cuda_attention_mma : cm_cuda_attention;
        cm_cuda_check(backend,
                      attention(args, &args->pool->kv, &args->pool->parts, backend->stream),
                      "attention");
    }
}

static void sample(struct cm_backend *backend, const struct cm_sample_args *args,
                   float *probabilities)
{
    CM_ASSERT(args->n_vocab > 0);
    if (args->n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_sample(args, probabilities, backend->stream), "sample");
    }
}

void cm_cuda_op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    sample(backend, args, NULL);
}

void cm_cuda_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                     float *probabilities)
{
    sample(backend, args, probabilities);
}

void cm_cuda_op_beam(struct cm_backend *backend, const struct cm_beam_args *args)
{
    CM_ASSERT(args->n_candidates > 0 && args->n_candidates <= CM_BEAM_CANDIDATES_MAX);
    CM_ASSERT(args->n_vocab > 0);
    if (args->n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_beam(args, backend->stream), "beam");
    }
}
