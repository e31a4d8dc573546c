/* Rotary positions and the append to the KV cache.
 *
 * Per query and key head of a row at position p, after an optional RMS norm over the head:
 *     a' = a cos(p f_i) - b sin(p f_i)
 *     b' = b cos(p f_i) + a sin(p f_i)
 * for the i-th pair (a, b): neighbours, or elements head_dim / 2 apart. The angle p f_i is a
 * float32 product, as in Hugging Face's models. Then keys and values go to the row's page in the
 * cache's element types (float16 rounds to nearest even; over 65,504 it becomes infinite; words.h).
 *
 * qkv [n_rows, (n_heads + 2 n_kv_heads) * head_dim] float32; the norm's sum is float32 in one
 * vector of 16 running sums. Each row by itself; compiled per instruction set. */
#include "kernels/cpu/variant.h"

#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/rotations.h"
#include "kernels/cpu/row_work.h"
#include "kernels/cpu/vector.h"
#include "kernels/cpu/words.h"

#include <math.h>

struct rotation {
    const float *cosines; /* [head_dim / 2] */
    const float *sines;
};

struct work {
    const struct cm_rope_append_args *args;
    const struct cm_rotation_table *table; /* NULL: each row computes its own */
};

static void norm_head(const struct cm_rope_append_args *args, const float *weight, float *x)
{
    v16 sum = v16_zero();
    for (uint32_t i = 0; i < args->head_dim; i += V16_LANES) {
        v16 value = v16_load(x + i);
        sum = v16_fma(value, value, sum);
    }
    float mean_square = v16_sum(sum) / (float)args->head_dim;
    v16 factor = v16_set(1.0f / sqrtf(mean_square + args->qk_norm_epsilon));
    v16 plus = v16_set(args->qk_norm_kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f);
    for (uint32_t i = 0; i < args->head_dim; i += V16_LANES) {
        v16 scaled = v16_mul(v16_load(x + i), factor);
        v16_store(x + i, v16_mul(scaled, v16_add(plus, v16_load(weight + i))));
    }
}

static void rotate_pairs(const struct rotation *rotation, uint32_t half, float *x)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = x[2 * i];
        float b = x[2 * i + 1];
        x[2 * i] = a * rotation->cosines[i] - b * rotation->sines[i];
        x[2 * i + 1] = b * rotation->cosines[i] + a * rotation->sines[i];
    }
}

static void rotate_halves(const struct rotation *rotation, uint32_t half, float *x)
{
    for (uint32_t i = 0; i < half; i++) {
        float a = x[i];
        float b = x[half + i];
        x[i] = a * rotation->cosines[i] - b * rotation->sines[i];
        x[half + i] = b * rotation->cosines[i] + a * rotation->sines[i];
    }
}

#define KV_STEP_LEAST 1e-30f
#define KV_STEP_MOST 1e30f

/* Rounds a head at a time; code i is at codes[i * stride]. In each group the largest magnitude is
 * 127 steps. A group without a sound step has codes of zero, times zero or, where it holds what is
 * no number, times that. */
static void append_codes(const float *head, uint32_t dim, int8_t *codes, size_t stride,
                         float *scales)
{
    for (uint32_t first = 0; first < dim; first += CM_KV_GROUP) {
        float rounded[CM_KV_GROUP];
        v16 x = v16_load(head + first);
        float step = v16_highest(v16_max(x, v16_sub(v16_zero(), x))) / 127.0f;
        bool sound = step >= KV_STEP_LEAST && step <= KV_STEP_MOST;
        v16_store(rounded, v16_round(v16_mul(x, v16_set(sound ? 1.0f / step : 0.0f))));
        for (uint32_t i = 0; i < CM_KV_GROUP; i++) {
            codes[(first + i) * stride] = (int8_t)(sound ? rounded[i] : 0.0f);
        }
        scales[first / CM_KV_GROUP * CM_PAGE_TOKENS] = sound ? step : step - step;
    }
}

#if V16_PAIRS
static void append_pairs(const struct cm_rope_append_args *args, uint32_t page, uint32_t slot,
                         uint32_t head, const float *key, const float *value)
{
    uint32_t dim = args->head_dim;
    int16_t words[CM_HEAD_DIM_MAX];
    cm_kv_key_steps(args->pool, page, args->layer, head)[slot] = cm_words_round(key, dim, words);
    unsigned char *keys = cm_kv_keys(args->pool, page, args->layer, head);
    size_t pair_bytes = 2 * sizeof *words;
    for (uint32_t i = 0; i < dim / 2; i++) {
        memcpy(keys + (i * CM_PAGE_TOKENS + slot) * pair_bytes, words + 2 * i, pair_bytes);
    }
    uint16_t *values = (uint16_t *)cm_kv_values(args->pool, page, args->layer, head);
    for (uint32_t i = 0; i < dim; i += V16_LANES) {
        uint16_t *pair = values + (size_t)(slot / 2) * 2 * dim + 2 * (size_t)i;
        v16_store_in_pairs(pair, slot % 2, v16_load(value + i));
    }
}
#endif

static void append_head(const struct cm_rope_append_args *args, uint32_t row, uint32_t head,
                        const float *key, const float *value)
{
    const struct cm_kv_pool *pool = args->pool;
    uint32_t page = (uint32_t)args->pages[row];
    uint32_t slot = (uint32_t)args->positions[row] % CM_PAGE_TOKENS;
    size_t first_value = (size_t)slot * args->head_dim;
#if V16_PAIRS
    if (pool->pairs) {
        append_pairs(args, page, slot, head, key, value);
        return;
    }
#endif
    if (pool->codes) {
        unsigned char *keys = cm_kv_keys(pool, page, args->layer, head);
        unsigned char *values = cm_kv_values(pool, page, args->layer, head);
        append_codes(key, args->head_dim, (int8_t *)keys + slot, CM_PAGE_TOKENS,
                     cm_kv_scales(keys, args->head_dim) + slot);
        append_codes(value, args->head_dim, (int8_t *)values + first_value, 1,
                     cm_kv_scales(values, args->head_dim) + slot);
    } else if (pool->half) {
        uint16_t *keys = (uint16_t *)cm_kv_keys(pool, page, args->layer, head);
        uint16_t *values = (uint16_t *)cm_kv_values(pool, page, args->layer, head);
        uint16_t rounded[CM_HEAD_DIM_MAX];
        for (uint32_t i = 0; i < args->head_dim; i += V16_LANES) {
            v16_store_half(rounded + i, v16_load(key + i));
            v16_store_half(values + first_value + i, v16_load(value + i));
        }
        for (uint32_t i = 0; i < args->head_dim; i++) {
            keys[i * CM_PAGE_TOKENS + slot] = rounded[i];
        }
    } else {
        float *keys = (void *)cm_kv_keys(pool, page, args->layer, head);
        float *values = (void *)cm_kv_values(pool, page, args->layer, head);
        for (uint32_t i = 0; i < args->head_dim; i++) {
            keys[i * CM_PAGE_TOKENS + slot] = key[i];
            values[first_value + i] = value[i];
        }
    }
}

static void rope_row(const struct work *work, uint32_t row)
{
    const struct cm_rope_append_args *args = work->args;
    uint32_t dim = args->head_dim;
    float *x = args->qkv + (size_t)row * (args->n_heads + 2 * args->n_kv_heads) * dim;
    float *keys = x + (size_t)args->n_heads * dim;
    float *values = keys + (size_t)args->n_kv_heads * dim;
    struct rotation rotation = { NULL, NULL };
    float own[CM_HEAD_DIM_MAX];
    if (work->table != NULL) {
        rotation.cosines = work->table->values + (size_t)args->positions[row] * dim;
        rotation.sines = rotation.cosines + dim / 2;
    } else if (args->rope != CM_ROPE_NONE) {
        cm_rotation_of(args->inverse_frequencies, dim / 2, args->positions[row], own,
                       own + dim / 2);
        rotation = (struct rotation){ own, own + dim / 2 };
    }
    for (float *head = x; head < values; head += dim) {
        const float *weight = head < keys ? args->q_norm : args->k_norm;
        if (weight != NULL) {
            norm_head(args, weight, head);
        }
        if (args->rope == CM_ROPE_PAIRS) {
            rotate_pairs(&rotation, dim / 2, head);
        } else if (args->rope == CM_ROPE_HALVES) {
            rotate_halves(&rotation, dim / 2, head);
        }
    }
    for (uint32_t head = 0; head < args->n_kv_heads; head++) {
        append_head(args, row, head, keys + (size_t)head * dim, values + (size_t)head * dim);
    }
}

static void rope_rows(const void *context, uint32_t begin, uint32_t end)
{
    for (uint32_t row = begin; row < end; row++) {
        rope_row(context, row);
    }
}

static const struct cm_rotation_table *find_table(struct cm_backend *backend,
                                                  const struct cm_rope_append_args *args)
{
    if (args->rope == CM_ROPE_NONE || args->n_rows == 0) {
        return NULL;
    }
    int32_t last = 0;
    for (uint32_t row = 0; row < args->n_rows; row++) {
        last = args->positions[row] > last ? args->positions[row] : last;
    }
    return cm_rotation_table_find(backend, args->inverse_frequencies, args->head_dim / 2,
                                  (uint32_t)last + 1);
}

void cm_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args)
{
    const struct cm_kv_shape *shape = &args->pool->shape;
    CM_ASSERT(args->head_dim == shape->head_dim && args->n_kv_heads == shape->n_kv_heads);
    CM_ASSERT(args->layer < shape->n_layers);
    CM_ASSERT(args->rope == CM_ROPE_NONE || args->inverse_frequencies != NULL);
    struct work work = { args, find_table(backend, args) };
    cm_rows_run(backend, rope_rows, &work, args->n_rows,
                (args->n_heads + 2 * (size_t)args->n_kv_heads) * args->head_dim * 2);
}
