/* Rotary positions, the append to the cache, the copy at a fork and attention: three texts that
 * share a prefix are prefilled and then decoded, as a job does it. */
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
    VISITS_MAX = ROWS_MAX * BLOCKS_MAX,
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

/* A step as the engine plans it, in host memory. */
struct plan {
    uint32_t n_rows;
    uint32_t sequences[ROWS_MAX];
    int32_t positions[ROWS_MAX];
    int32_t row_pages[ROWS_MAX];
    struct cm_visit visits[VISITS_MAX];
    uint32_t n_visits;
    struct cm_attention_chunk chunks[ROWS_MAX / CM_ATTENTION_CHUNK_ROWS + 1];
    uint32_t n_chunks;
};

struct step {
    struct cm_rope_append_args append;
    struct cm_attention_args attention;
};

static int32_t page_of(uint32_t sequence, uint32_t block, uint32_t shared)
{
    bool is_shared = (block + 1) * CM_PAGE_TOKENS <= shared;
    return (int32_t)((is_shared ? 0 : sequence) * BLOCKS_MAX + block);
}

static int32_t visited_page(const struct plan *plan, uint32_t row, uint32_t block, uint32_t shared)
{
    bool is_behind = plan->positions[row] < (int32_t)(block * CM_PAGE_TOKENS);
    return is_behind ? -1 : page_of(plan->sequences[row], block, shared);
}

static void add_rows(struct plan *plan, uint32_t sequence, uint32_t begin, uint32_t end,
                     uint32_t shared)
{
    for (uint32_t position = begin; position < end; position++) {
        uint32_t row = plan->n_rows++;
        plan->sequences[row] = sequence;
        plan->positions[row] = (int32_t)position;
        plan->row_pages[row] = page_of(sequence, position / CM_PAGE_TOKENS, shared);
    }
}

/* In each chunk, block by block, a visit for every run of neighbours that have the same page. */
static void add_visits(struct plan *plan, uint32_t shared)
{
    for (uint32_t begin = 0; begin < plan->n_rows; begin += CM_ATTENTION_CHUNK_ROWS) {
        uint32_t end = begin + CM_ATTENTION_CHUNK_ROWS;
        end = end < plan->n_rows ? end : plan->n_rows;
        struct cm_attention_chunk *chunk = &plan->chunks[plan->n_chunks++];
        *chunk =
            (struct cm_attention_chunk){ (int32_t)begin, (int32_t)end, (int32_t)plan->n_visits, 0 };
        for (uint32_t block = 0; block < BLOCKS_MAX; block++) {
            for (uint32_t row = begin; row < end;) {
                int32_t page = visited_page(plan, row, block, shared);
                uint32_t first = row;
                while (row < end && visited_page(plan, row, block, shared) == page) {
                    row++;
                }
                if (page >= 0) {
                    plan->visits[plan->n_visits++] =
                        (struct cm_visit){ page, (int32_t)(block * CM_PAGE_TOKENS), (int32_t)first,
                                           (int32_t)row };
                }
            }
        }
        chunk->visit_end = (int32_t)plan->n_visits;
    }
}

/* The first text; then what the others have of their own; then one more token of each. */
static void plan_step(struct plan *plan, uint32_t number, const struct length *length)
{
    *plan = (struct plan){ 0 };
    if (number == 0) {
        add_rows(plan, 0, 0, length->tokens, length->shared);
    }
    for (uint32_t i = 0; i < SEQUENCES && number > 0; i++) {
        if (number == 2) {
            add_rows(plan, i, length->tokens, length->tokens + 1, length->shared);
        } else if (i > 0) {
            add_rows(plan, i, length->shared, length->tokens, length->shared);
        }
    }
    add_visits(plan, length->shared);
}

static struct step put_step(struct cm_trial *trial, const struct model *model,
                            struct cm_kv_pool *pool, const struct plan *plan, uint32_t number)
{
    static const char *const names[STEPS] = { "first text", "forks", "decoded" };
    bool is_exact = cm_backend_precision(trial->backend) == CM_PRECISION_EXACT;
    double tolerance = is_exact ? 8e-6 : 4e-3;
    size_t qkv_dim = (size_t)(model->n_heads + 2 * model->n_kv_heads) * model->head_dim;
    size_t out_dim = (size_t)model->n_heads * model->head_dim;
    float frequencies[128];
    uint32_t positions_end = 0;
    for (uint32_t i = 0; i < plan->n_rows; i++) {
        uint32_t end = (uint32_t)plan->positions[i] + 1;
        positions_end = end > positions_end ? end : positions_end;
    }
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
    append->qkv = cm_trial_random(trial, 10 + number, plan->n_rows * qkv_dim, 2.0f);
    if (model->qk_norm) {
        append->q_norm = cm_trial_random(trial, 6, model->head_dim, 1.0f);
        append->k_norm = cm_trial_random(trial, 7, model->head_dim, 1.0f);
    }
    append->positions = cm_trial_input(trial, plan->positions, plan->n_rows * sizeof(int32_t));
    append->pages = cm_trial_input(trial, plan->row_pages, plan->n_rows * sizeof(int32_t));
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
        .positions_end = positions_end,
        .out = cm_trial_floats(trial, names[number], plan->n_rows * out_dim, tolerance, tolerance),
    };
    return step;
}

static void attention(struct cm_trial *trial, uint32_t shape)
{
    const struct model *model = &models[shape % MODELS_COUNT];
    const struct length *length = &lengths[shape / MODELS_COUNT];
    const struct cm_kv_shape kv_shape = { LAYERS, model->n_kv_heads, model->head_dim };
    struct plan *plan = cm_alloc(1, sizeof *plan);
    struct cm_kv_pool *pool = NULL;
    struct cm_error error = { 0 };
    struct step steps[STEPS];
    if (plan == NULL) {
        cm_trial_fail(trial, "out of memory");
        return;
    }
    if (cm_kv_pool_create(trial->backend, &kv_shape, PAGES, &pool, &error) != CM_OK) {
        cm_trial_fail(trial, "%.200s", error.message);
        cm_free(plan);
        return;
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        plan_step(plan, i, length);
        steps[i] = put_step(trial, model, pool, plan, i);
    }
    cm_free(plan);
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
