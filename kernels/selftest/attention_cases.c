/* Rotary positions, the append to the cache, the copy at a fork and attention: three texts that
 * share a prefix are prefilled and then decoded, as a job does it. */
#include "kernels/selftest/step_plan.h"
#include "kernels/selftest/trial.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

enum {
    SEQUENCES = 3,
    TOKENS_MAX = 300,
    BLOCKS_MAX = TOKENS_MAX / CM_PAGE_TOKENS + 1,
    PAGES = SEQUENCES * BLOCKS_MAX,
    ROWS_MAX = 2 * TOKENS_MAX,
    STEPS = 3,
    LAYERS = 2,
    LAYER = 1,
};

struct model {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window;
    enum cm_rope_kind rope;
    bool qk_norm;
    enum cm_norm_kind qk_norm_kind;
};

/* Every head size that has a kernel of its own, and others. */
static const struct model models[] = {
    { 9, 3, 64, 0, CM_ROPE_PAIRS, false, CM_NORM_RMS },
    { 14, 2, 64, 0, CM_ROPE_HALVES, false, CM_NORM_RMS },
    { 4, 4, 16, 20, CM_ROPE_NONE, false, CM_NORM_RMS },
    { 2, 1, 128, 33, CM_ROPE_HALVES, true, CM_NORM_RMS },
    { 4, 1, 256, 1, CM_ROPE_HALVES, true, CM_NORM_RMS_PLUS },
    { 5, 1, 32, 16, CM_ROPE_PAIRS, true, CM_NORM_RMS },
    { 2, 2, 80, 0, CM_ROPE_HALVES, false, CM_NORM_RMS },
    { 3, 1, 96, 0, CM_ROPE_HALVES, false, CM_NORM_RMS },
    { 4, 2, 64, 0, CM_ROPE_NONE, false, CM_NORM_RMS },
};

/* How long the texts are, and how much of it is the first one's. */
static const struct length {
    uint32_t tokens;
    uint32_t shared;
} lengths[] = { { 71, 39 }, { 290, 160 } };

enum {
    MODELS_COUNT = sizeof models / sizeof models[0],
    LENGTHS_COUNT = sizeof lengths / sizeof lengths[0],
};

struct step {
    struct cm_rope_append_args append;
    struct cm_attention_args attention;
};

/* The first text; then what the others have of their own; then one more token of each. */
static enum cm_status plan_step(struct cm_step_plan *plan, uint32_t number,
                                const struct length *length)
{
    enum cm_status status = cm_step_plan_init(plan, ROWS_MAX, BLOCKS_MAX, length->shared);
    if (status != CM_OK) {
        return status;
    }
    if (number == 0) {
        cm_step_plan_add(plan, 0, 0, length->tokens);
    }
    for (uint32_t i = 0; i < SEQUENCES && number > 0; i++) {
        if (number == 2) {
            cm_step_plan_add(plan, i, length->tokens, length->tokens + 1);
        } else if (i > 0) {
            cm_step_plan_add(plan, i, length->shared, length->tokens);
        }
    }
    cm_step_plan_finish(plan);
    return CM_OK;
}

/* Of a cache of e4m3 what is not rotated is held exactly, see put_qkv; else three bits are. */
static double tolerance_of(enum cm_precision precision, const struct model *model)
{
    bool is_held = model->rope == CM_ROPE_NONE && !model->qk_norm;
    return precision == CM_PRECISION_EXACT             ? 8e-6
           : precision == CM_PRECISION_FP8 && !is_held ? 0.1
                                                       : 4e-3;
}

/* Multiples of 1/8 below 2: four bits, which every cache holds where there is no rotation. */
static float *put_qkv(struct cm_trial *trial, uint64_t seed, size_t count)
{
    float *numbers = cm_alloc(count, sizeof *numbers);
    if (numbers == NULL) {
        cm_trial_fail(trial, "out of memory");
        return NULL;
    }
    cm_trial_numbers(seed, count, 15.99f, numbers);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = truncf(numbers[i]) / 8.0f;
    }
    float *qkv = cm_trial_input(trial, numbers, count * sizeof *numbers);
    cm_free(numbers);
    return qkv;
}

static struct step put_step(struct cm_trial *trial, const struct model *model,
                            struct cm_kv_pool *pool, const struct cm_step_plan *plan,
                            uint32_t number)
{
    static const char *const names[STEPS] = { "first text", "forks", "decoded" };
    double tolerance = tolerance_of(trial->precision, model);
    size_t qkv_dim = (size_t)(model->n_heads + 2 * model->n_kv_heads) * model->head_dim;
    size_t out_dim = (size_t)model->n_heads * model->head_dim;
    float frequencies[128];
    for (uint32_t i = 0; i < model->head_dim / 2; i++) {
        frequencies[i] = powf(10000.0f, -2.0f * (float)i / (float)model->head_dim);
    }
    struct step step = { .append = {
                             .pool = pool,
                             .layer = LAYER,
                             .n_rows = plan->n_rows,
                             .n_heads = model->n_heads,
                             .n_kv_heads = model->n_kv_heads,
                             .head_dim = model->head_dim,
                             .rope = model->rope,
                             .qk_norm_kind = model->qk_norm_kind,
                             .qk_norm_epsilon = 1e-6f,
                         } };
    struct cm_rope_append_args *append = &step.append;
    append->inverse_frequencies =
        cm_trial_input(trial, frequencies, model->head_dim / 2 * sizeof(float));
    append->qkv = put_qkv(trial, 10 + number, plan->n_rows * qkv_dim);
    if (model->qk_norm) {
        append->q_norm = cm_trial_random(trial, 6, model->head_dim, 1.0f);
        append->k_norm = cm_trial_random(trial, 7, model->head_dim, 1.0f);
    }
    append->positions = cm_trial_input(trial, plan->positions, plan->n_rows * sizeof(int32_t));
    append->pages = cm_trial_input(trial, plan->pages, plan->n_rows * sizeof(int32_t));
    step.attention = (struct cm_attention_args){
        .pool = pool,
        .layer = LAYER,
        .n_rows = plan->n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .window = model->window,
        .scale = 1.0f / sqrtf((float)model->head_dim),
        .qkv = append->qkv,
        .positions = append->positions,
        .visits = cm_trial_input(trial, plan->visits, plan->n_visits * sizeof *plan->visits),
        .chunks = cm_trial_input(trial, plan->chunks, plan->n_chunks * sizeof *plan->chunks),
        .n_chunks = plan->n_chunks,
        .positions_end = plan->positions_end,
        .out = cm_trial_floats(trial, names[number], plan->n_rows * out_dim, tolerance, tolerance),
    };
    return step;
}

static void attention(struct cm_trial *trial, uint32_t shape)
{
    const struct model *model = &models[shape % MODELS_COUNT];
    const struct length *length = &lengths[shape / MODELS_COUNT];
    const struct cm_kv_shape kv_shape = { LAYERS, model->n_kv_heads, model->head_dim };
    struct cm_kv_pool *pool = NULL;
    struct cm_error error = { 0 };
    struct step steps[STEPS];
    if (cm_kv_pool_create(trial->backend, &kv_shape, PAGES, &pool, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
        return;
    }
    for (uint32_t i = 0; i < STEPS && !cm_trial_failed(trial); i++) {
        struct cm_step_plan plan;
        if (plan_step(&plan, i, length) != CM_OK) {
            cm_trial_fail(trial, "out of memory");
        } else {
            steps[i] = put_step(trial, model, pool, &plan, i);
            cm_step_plan_deinit(&plan);
        }
    }
    cm_trial_begin(trial);
    for (uint32_t i = 0; i < STEPS && !cm_trial_failed(trial); i++) {
        uint32_t block = length->shared / CM_PAGE_TOKENS;
        for (uint32_t sequence = 1; sequence < SEQUENCES && i == 1; sequence++) {
            cm_kv_copy_tokens(trial->backend, pool, block, sequence * BLOCKS_MAX + block,
                              length->shared % CM_PAGE_TOKENS);
        }
        cm_op_rope_append(trial->backend, &steps[i].append);
        cm_op_attention(trial->backend, &steps[i].attention);
    }
    cm_trial_end(trial);
    cm_kv_pool_close(pool);
}

const struct cm_trial_case CM_ATTENTION_CASES[] = {
    { "rope, fork, attention", MODELS_COUNT *LENGTHS_COUNT, attention, 5 },
    { 0 },
};
