#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_pool.h"

#include <math.h>

static float element(const struct cm_kv_pool *pool, const unsigned char *from, size_t index)
{
    return pool->half ? cm_half_to_float(((const uint16_t *)from)[index])
                      : ((const float *)from)[index];
}

/* Running maximum and sum of one query; the accumulator is the query's place in `out`. */
struct query_state {
    float maximum;
    float sum;
};

static void visit_query(const struct cm_attention_args *args, const struct cm_visit *visit,
                        uint32_t kv_head, const float *q, int32_t position,
                        struct query_state *state, float *out)
{
    const struct cm_kv_pool *pool = args->pool;
    const unsigned char *keys = cm_kv_keys(pool, (uint32_t)visit->page, args->layer, kv_head);
    const unsigned char *values = cm_kv_values(pool, (uint32_t)visit->page, args->layer, kv_head);
    float scores[CM_PAGE_TOKENS];
    float maximum = state->maximum;
    int begin = 0;
    int end = position - visit->first_position + 1;
    if (args->window > 0 && end - (int64_t)args->window > 0) {
        begin = end - (int)args->window;
    }
    end = end > CM_PAGE_TOKENS ? CM_PAGE_TOKENS : end;
    for (int t = begin; t < end; t++) {
        float sum = 0;
        for (uint32_t i = 0; i < args->head_dim; i++) {
            sum += q[i] * element(pool, keys, i * CM_PAGE_TOKENS + (size_t)t);
        }
        scores[t] = sum * args->scale;
        maximum = fmaxf(maximum, scores[t]);
    }
    if (begin >= end) {
        return;
    }
    float shrink = expf(state->maximum - maximum);
    state->maximum = maximum;
    state->sum *= shrink;
    for (uint32_t i = 0; i < args->head_dim; i++) {
        out[i] *= shrink;
    }
    for (int t = begin; t < end; t++) {
        float weight = expf(scores[t] - maximum);
        state->sum += weight;
        for (uint32_t i = 0; i < args->head_dim; i++) {
            out[i] += weight * element(pool, values, (size_t)t * args->head_dim + i);
        }
    }
}

static void chunk_head(const struct cm_attention_args *args, const struct cm_attention_chunk *chunk,
                       uint32_t head)
{
    struct query_state states[CM_ATTENTION_CHUNK_ROWS];
    uint32_t dim = args->head_dim;
    uint32_t kv_head = head / (args->n_heads / args->n_kv_heads);
    size_t qkv_stride = (size_t)(args->n_heads + 2 * args->n_kv_heads) * dim;
    size_t out_stride = (size_t)args->n_heads * dim;
    for (int32_t row = chunk->row_begin; row < chunk->row_end; row++) {
        states[row - chunk->row_begin] = (struct query_state){ -INFINITY, 0.0f };
        for (uint32_t i = 0; i < dim; i++) {
            args->out[(size_t)row * out_stride + head * dim + i] = 0.0f;
        }
    }
    for (int32_t v = chunk->visit_begin; v < chunk->visit_end; v++) {
        const struct cm_visit *visit = &args->visits[v];
        for (int32_t row = visit->row_begin; row < visit->row_end; row++) {
            visit_query(args, visit, kv_head, args->qkv + (size_t)row * qkv_stride + head * dim,
                        args->positions[row], &states[row - chunk->row_begin],
                        args->out + (size_t)row * out_stride + head * dim);
        }
    }
    for (int32_t row = chunk->row_begin; row < chunk->row_end; row++) {
        float sum = states[row - chunk->row_begin].sum;
        for (uint32_t i = 0; sum > 0 && i < dim; i++) {
            args->out[(size_t)row * out_stride + head * dim + i] /= sum;
        }
    }
}

void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args)
{
    (void)backend;
    CM_ASSERT(args->n_heads % args->n_kv_heads == 0);
    for (uint32_t c = 0; c < args->n_chunks; c++) {
        CM_ASSERT(args->chunks[c].row_end - args->chunks[c].row_begin <= CM_ATTENTION_CHUNK_ROWS);
        for (uint32_t head = 0; head < args->n_heads; head++) {
            chunk_head(args, &args->chunks[c], head);
        }
    }
}
