#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_pool.h"

#include <math.h>

static void norm_head(const struct cm_rope_append_args *args, const float *weight, float *x)
{
    double squares = 0;
    for (uint32_t i = 0; i < args->head_dim; i++) {
        squares += (double)x[i] * x[i];
    }
    float factor = 1.0f / sqrtf((float)(squares / args->head_dim) + args->qk_norm_epsilon);
    float plus = args->qk_norm_kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f;
    for (uint32_t i = 0; i < args->head_dim; i++) {
        x[i] = x[i] * factor * (plus + weight[i]);
    }
}

static void rotate_head(const struct cm_rope_append_args *args, int32_t position, float *x)
{
    uint32_t half = args->head_dim / 2;
    for (uint32_t i = 0; args->rope != CM_ROPE_NONE && i < half; i++) {
        float angle = (float)position * args->inverse_frequencies[i];
        float c = cosf(angle);
        float s = sinf(angle);
        float *a = args->rope == CM_ROPE_PAIRS ? x + 2 * i : x + i;
        float *b = args->rope == CM_ROPE_PAIRS ? x + 2 * i + 1 : x + i + half;
        float a_rotated = *a * c - *b * s;
        *b = *b * c + *a * s;
        *a = a_rotated;
    }
}

static void store(const struct cm_kv_pool *pool, unsigned char *to, size_t index, float value)
{
    if (pool->half) {
        ((uint16_t *)to)[index] = cm_half_from_float(value);
    } else {
        ((float *)to)[index] = value;
    }
}

static void rope_row(const struct cm_rope_append_args *args, uint32_t row)
{
    uint32_t dim = args->head_dim;
    uint32_t heads = args->n_heads + 2 * args->n_kv_heads;
    float *x = args->qkv + (size_t)row * heads * dim;
    uint32_t slot = (uint32_t)args->positions[row] % CM_PAGE_TOKENS;
    for (uint32_t head = 0; head < args->n_heads + args->n_kv_heads; head++) {
        const float *weight = head < args->n_heads ? args->q_norm : args->k_norm;
        if (weight != NULL) {
            norm_head(args, weight, x + (size_t)head * dim);
        }
        rotate_head(args, args->positions[row], x + (size_t)head * dim);
    }
    for (uint32_t head = 0; head < args->n_kv_heads; head++) {
        const float *key = x + (size_t)(args->n_heads + head) * dim;
        const float *value = key + (size_t)args->n_kv_heads * dim;
        uint32_t page = (uint32_t)args->pages[row];
        unsigned char *keys = cm_kv_keys(args->pool, page, args->layer, head);
        unsigned char *values = cm_kv_values(args->pool, page, args->layer, head);
        for (uint32_t i = 0; i < dim; i++) {
            store(args->pool, keys, i * CM_PAGE_TOKENS + slot, key[i]);
            store(args->pool, values, slot * dim + i, value[i]);
        }
    }
}

void cm_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    (void)backend;
    for (uint32_t row = 0; row < args->n_rows; row++) {
        rope_row(args, row);
    }
}
