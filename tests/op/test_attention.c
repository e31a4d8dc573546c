/* rope_append and attention together: against float64, and the same bits for every order and cut of
 * the work, for shared and private pages, with NaN in every slot that nobody wrote. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "kernels/cpu/half.h"
#include "kernels/cpu/kv_pool.h"
#include "kernels/cpu/quants.h"

#include <math.h>
#include <string.h>

enum {
    SEQUENCES = 3,
    TOKENS = 71,
    BLOCKS = (TOKENS + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS,
    LAYERS = 2,
    LAYER = 1,
    PAGES = SEQUENCES * BLOCKS + 1,
    ROWS = SEQUENCES * TOKENS,
    VISITS_MAX = ROWS * BLOCKS,
};

struct model {
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window;
    enum cm_rope_kind rope;
    bool qk_norm;
    enum cm_norm_kind qk_norm_kind;
    float key_bias; /* of one channel of each KV head */
};

static const struct model models[] = {
    { 9, 3, 64, 0, CM_ROPE_PAIRS, false, CM_NORM_RMS, 0 },
    { 14, 2, 64, 0, CM_ROPE_HALVES, false, CM_NORM_RMS, 0 },
    { 4, 4, 16, 20, CM_ROPE_NONE, false, CM_NORM_RMS, 0 },
    { 2, 1, 128, 33, CM_ROPE_HALVES, true, CM_NORM_RMS, 0 },
    { 4, 1, 256, 1, CM_ROPE_HALVES, true, CM_NORM_RMS_PLUS, 0 },
    { 5, 1, 32, 16, CM_ROPE_PAIRS, true, CM_NORM_RMS, 0 },
    { 2, 2, 80, 0, CM_ROPE_HALVES, false, CM_NORM_RMS, 0 },
};

/* Element types of the cache; the last on CUDA devices only. */
static const enum cm_precision precisions[] = { CM_PRECISION_EXACT, CM_PRECISION_BF16,
                                                CM_PRECISION_FP8 };

enum { PRECISIONS_COUNT = sizeof precisions / sizeof precisions[0] };

struct run {
    struct model model;
    struct cm_backend *backend;
    struct cm_kv_pool *pool;
    int32_t pages[SEQUENCES][BLOCKS];
    float *frequencies; /* [head_dim / 2] */
    float *q_norm;      /* [head_dim] */
    float *k_norm;
    float *out; /* [SEQUENCES][TOKENS][n_heads * head_dim] */
};

/* The first `shared` tokens of all sequences are those of sequence 0. */
static uint32_t source_of(uint32_t sequence, uint32_t position, uint32_t shared)
{
    return position < shared ? 0 : sequence;
}

static size_t qkv_dim(const struct model *model)
{
    return (size_t)(model->n_heads + 2 * model->n_kv_heads) * model->head_dim;
}

static size_t out_dim(const struct model *model)
{
    return (size_t)model->n_heads * model->head_dim;
}

static void fill_qkv(const struct model *model, uint32_t source, uint32_t position, float *qkv)
{
    uint64_t seed = 1000 * (source + 1) + position;
    for (size_t i = 0; i < qkv_dim(model); i++) {
        qkv[i] = 2.0f * op_random(&seed);
    }
    for (uint32_t i = 0; i < model->n_kv_heads; i++) {
        qkv[(model->n_heads + i) * model->head_dim + 5] += model->key_bias;
    }
}

static void run_open(struct run *run, const struct model *model, struct cm_backend *backend)
{
    struct cm_kv_shape shape = { LAYERS, model->n_kv_heads, model->head_dim };
    struct cm_error error;
    *run = (struct run){ .model = *model, .backend = backend };
    assert_int_equal(cm_kv_pool_create(backend, &shape, PAGES, &run->pool, &error), CM_OK);
    if (!op_is_cuda(backend)) { /* an emulated device begins with NaN */
        memset(run->pool->pages, 0xFF, PAGES * run->pool->page_bytes); /* NaN in either type */
    }
    run->frequencies = op_random_array(5, model->head_dim / 2, 1.0f);
    for (uint32_t i = 0; i < model->head_dim / 2; i++) {
        run->frequencies[i] = powf(10000.0f, -2.0f * (float)i / (float)model->head_dim);
    }
    run->q_norm = op_random_array(6, model->head_dim, 1.0f);
    run->k_norm = op_random_array(7, model->head_dim, 1.0f);
    run->out = op_random_array(8, ROWS * out_dim(model), 1.0f);
    for (int32_t i = 0; i < SEQUENCES * BLOCKS; i++) { /* 7 is prime to the number of pages */
        run->pages[i / BLOCKS][i % BLOCKS] = i * 7 % PAGES;
    }
}

static void run_close(struct run *run)
{
    cm_kv_pool_close(run->pool);
    cm_free(run->frequencies);
    cm_free(run->q_norm);
    cm_free(run->k_norm);
    cm_free(run->out);
}

struct step {
    uint32_t n_rows;
    uint32_t sequences[ROWS];
    int32_t positions[ROWS];
    struct cm_visit visits[VISITS_MAX];
    struct cm_attention_chunk chunks[ROWS];
    uint32_t n_chunks;
};

static int32_t page_of(const struct run *run, const struct step *step, uint32_t row, int32_t block)
{
    return step->positions[row] >= block * CM_PAGE_TOKENS ? run->pages[step->sequences[row]][block]
                                                          : -1;
}

/* Chunks of `chunk_rows` rows; in each, block by block, a visit for every run of neighbours that
 * have the same page there. */
static void plan_visits(const struct run *run, struct step *step, uint32_t chunk_rows)
{
    int32_t n_visits = 0;
    step->n_chunks = 0;
    for (uint32_t begin = 0; begin < step->n_rows; begin += chunk_rows) {
        uint32_t end = begin + chunk_rows < step->n_rows ? begin + chunk_rows : step->n_rows;
        struct cm_attention_chunk *chunk = &step->chunks[step->n_chunks++];
        *chunk = (struct cm_attention_chunk){ (int32_t)begin, (int32_t)end, n_visits, n_visits };
        for (int32_t block = 0; block < BLOCKS; block++) {
            uint32_t row = begin;
            while (row < end) {
                int32_t page = page_of(run, step, row, block);
                uint32_t first = row;
                while (row < end && page_of(run, step, row, block) == page) {
                    row++;
                }
                if (page >= 0) {
                    step->visits[n_visits++] = (struct cm_visit){ page, block * CM_PAGE_TOKENS,
                                                                  (int32_t)first, (int32_t)row };
                }
            }
        }
        chunk->visit_end = n_visits;
    }
}

static void run_step(struct run *run, struct step *step, uint32_t chunk_rows, uint32_t shared)
{
    const struct model *model = &run->model;
    float *qkv = op_random_array(1, step->n_rows * qkv_dim(model), 1.0f);
    float *out = op_random_array(1, step->n_rows * out_dim(model), NAN);
    int32_t pages[ROWS];
    for (uint32_t i = 0; i < step->n_rows; i++) {
        uint32_t position = (uint32_t)step->positions[i];
        fill_qkv(model, source_of(step->sequences[i], position, shared), position,
                 qkv + i * qkv_dim(model));
        pages[i] = run->pages[step->sequences[i]][position / CM_PAGE_TOKENS];
    }
    struct cm_rope_append_args append = {
        .pool = run->pool,
        .layer = LAYER,
        .n_rows = step->n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .rope = model->rope,
        .inverse_frequencies = run->frequencies,
        .qkv = qkv,
        .q_norm = model->qk_norm ? run->q_norm : NULL,
        .k_norm = model->qk_norm ? run->k_norm : NULL,
        .qk_norm_kind = model->qk_norm_kind,
        .qk_norm_epsilon = 1e-6f,
        .positions = step->positions,
        .pages = pages,
    };
    op_rope_append(run->backend, &append);
    plan_visits(run, step, chunk_rows);
    struct cm_attention_args attention = {
        .pool = run->pool,
        .layer = LAYER,
        .n_rows = step->n_rows,
        .n_heads = model->n_heads,
        .n_kv_heads = model->n_kv_heads,
        .head_dim = model->head_dim,
        .window = model->window,
        .scale = 1.0f / sqrtf((float)model->head_dim),
        .qkv = qkv,
        .positions = step->positions,
        .visits = step->visits,
        .chunks = step->chunks,
        .n_chunks = step->n_chunks,
        .out = out,
    };
    op_attention(run->backend, &attention);
    for (uint32_t i = 0; i < step->n_rows; i++) {
        size_t to = (size_t)step->sequences[i] * TOKENS + (size_t)step->positions[i];
        memcpy(run->out + to * out_dim(model), out + i * out_dim(model),
               out_dim(model) * sizeof *out);
    }
    cm_free(qkv);
    cm_free(out);
}

/* A way to cut the job of all tokens into steps. */
struct cut {
    uint32_t tokens;     /* of each sequence in one step */
    uint32_t chunk_rows; /* of attention */
    bool together;       /* all sequences in one step, else one after the other */
    bool backwards;      /* rows of a step in falling order */
};

static const struct cut cuts[] = {
    { TOKENS, 32, false, false }, { 7, 32, false, false }, { 1, 32, false, false },
    { 1, 2, true, true },         { 16, 5, true, false },  { TOKENS, 31, true, true },
};

enum { CUTS_COUNT = sizeof cuts / sizeof cuts[0], MODELS_COUNT = sizeof models / sizeof models[0] };

/* Sequences with a higher number find the first `shared` tokens in the pages already. */
static void run_job(struct run *run, const struct cut *cut, uint32_t shared, bool in_place)
{
    struct step *step = cm_alloc(1, sizeof *step);
    assert_non_null(step);
    for (uint32_t begin = 0; begin < TOKENS; begin += cut->tokens) {
        uint32_t end = begin + cut->tokens < TOKENS ? begin + cut->tokens : TOKENS;
        step->n_rows = 0;
        for (uint32_t sequence = 0; sequence < SEQUENCES; sequence++) {
            for (uint32_t position = begin; position < end; position++) {
                if (!in_place || sequence == 0 || position >= shared) {
                    step->sequences[step->n_rows] = sequence;
                    step->positions[step->n_rows++] = (int32_t)position;
                }
            }
            if (!cut->together && step->n_rows > 0) {
                run_step(run, step, cut->chunk_rows, shared);
                step->n_rows = 0;
            }
        }
        for (uint32_t i = 0; cut->backwards && i < step->n_rows / 2; i++) {
            uint32_t j = step->n_rows - 1 - i;
            uint32_t sequence = step->sequences[i];
            int32_t position = step->positions[i];
            step->sequences[i] = step->sequences[j];
            step->positions[i] = step->positions[j];
            step->sequences[j] = sequence;
            step->positions[j] = position;
        }
        if (step->n_rows > 0) {
            run_step(run, step, cut->chunk_rows, shared);
        }
    }
    cm_free(step);
}

static void oracle_head(const struct run *run, const float *x, const float *norm, uint32_t position,
                        double *out)
{
    uint32_t dim = run->model.head_dim;
    uint32_t half = dim / 2;
    double square = 0;
    for (uint32_t i = 0; i < dim; i++) {
        square += (double)x[i] * x[i] / dim;
    }
    double plus = run->model.qk_norm_kind == CM_NORM_RMS_PLUS ? 1.0 : 0.0;
    double factor = 1.0 / sqrt(square + 1e-6f);
    for (uint32_t i = 0; i < dim; i++) {
        out[i] = run->model.qk_norm ? x[i] * factor * (norm[i] + plus) : (double)x[i];
    }
    for (uint32_t i = 0; run->model.rope != CM_ROPE_NONE && i < half; i++) {
        bool pairs = run->model.rope == CM_ROPE_PAIRS;
        double *a = &out[pairs ? 2 * i : i];
        double *b = &out[pairs ? 2 * i + 1 : i + half];
        double angle = (double)position * run->frequencies[i];
        double a_rotated = *a * cos(angle) - *b * sin(angle);
        *b = *b * cos(angle) + *a * sin(angle);
        *a = a_rotated;
    }
}

/* Keys and values of 8 bits. */
static bool has_codes(const struct run *run)
{
    return strstr(cm_backend_variant(run->backend), "-kv8") != NULL;
}

static bool is_half(const struct run *run)
{
    return cm_backend_precision(run->backend) != CM_PRECISION_EXACT && !has_codes(run);
}

/* In groups, whose largest magnitude is 127 steps. */
static void round_to_codes(double *head, uint32_t dim)
{
    for (uint32_t first = 0; first < dim; first += CM_KV_GROUP) {
        float largest = 0;
        for (uint32_t i = first; i < first + CM_KV_GROUP; i++) {
            largest = fmaxf(largest, fabsf((float)head[i]));
        }
        double step = largest / 127;
        for (uint32_t i = first; i < first + CM_KV_GROUP && step > 0; i++) {
            head[i] = nearbyint(head[i] / step) * step;
        }
    }
}

static double rounded(const struct run *run, double value)
{
    return is_half(run) ? (double)cm_float_from_f16(cm_half_from_float((float)value)) : value;
}

/* Values are bf16, and so are the weights that they are averaged with. Queries and keys are words,
 * which round to a thirty thousandth of a vector's length. */
static bool has_pairs(const struct run *run)
{
    return is_half(run) && strstr(cm_backend_variant(run->backend), "avx512bf16") != NULL;
}

static double rounded_key(const struct run *run, double key)
{
    return has_pairs(run) ? key : rounded(run, key);
}

static double rounded_value(const struct run *run, double value)
{
    if (has_pairs(run)) {
        return (double)cm_float_from_bf16(cm_bf16_from_float((float)value));
    }
    return rounded(run, value);
}

/* One head of one sequence in float64, compared with run->out. */
static void check_head(const struct run *run, uint32_t sequence, uint32_t head, uint32_t shared)
{
    const struct model *model = &run->model;
    uint32_t dim = model->head_dim;
    uint32_t kv_head = head / (model->n_heads / model->n_kv_heads);
    float *qkv = op_random_array(1, qkv_dim(model), 1.0f);
    double *keys = cm_alloc((size_t)TOKENS * dim, sizeof *keys);
    double *values = cm_alloc((size_t)TOKENS * dim, sizeof *values);
    /* What e4m3 rounds to is the business of test_cuda_attention. */
    bool is_fp8 = cm_backend_precision(run->backend) == CM_PRECISION_FP8;
    double tolerance = is_fp8                             ? 0.1
                       : has_pairs(run) || has_codes(run) ? 5e-3
                       : is_half(run)                     ? 3e-3
                                                          : 4e-6;
    for (uint32_t position = 0; position < TOKENS; position++) {
        double q[CM_HEAD_DIM_MAX];
        double out[CM_HEAD_DIM_MAX] = { 0 };
        double sum = 0;
        fill_qkv(model, source_of(sequence, position, shared), position, qkv);
        const float *key = qkv + (size_t)(model->n_heads + kv_head) * dim;
        oracle_head(run, qkv + (size_t)head * dim, run->q_norm, position, q);
        oracle_head(run, key, run->k_norm, position, keys + (size_t)position * dim);
        for (uint32_t i = 0; i < dim; i++) {
            keys[position * dim + i] = rounded_key(run, keys[position * dim + i]);
            values[position * dim + i] =
                rounded_value(run, key[(size_t)model->n_kv_heads * dim + i]);
        }
        if (has_codes(run)) {
            round_to_codes(keys + (size_t)position * dim, dim);
            round_to_codes(values + (size_t)position * dim, dim);
        }
        uint32_t first =
            model->window > 0 && position >= model->window ? position - model->window + 1 : 0;
        for (uint32_t t = first; t <= position; t++) {
            double score = 0;
            for (uint32_t i = 0; i < dim; i++) {
                score += q[i] * keys[t * dim + i];
            }
            double weight = exp(score / sqrt(dim));
            sum += weight;
            for (uint32_t i = 0; i < dim; i++) {
                out[i] += weight * values[t * dim + i];
            }
        }
        const float *actual =
            run->out + (sequence * TOKENS + position) * out_dim(model) + (size_t)head * dim;
        for (uint32_t i = 0; i < dim; i++) {
            op_assert_near("attention", position, actual[i], out[i] / sum, tolerance, tolerance);
        }
    }
    cm_free(qkv);
    cm_free(keys);
    cm_free(values);
}

/* In turns on the two back ends. */
static void check_model(const struct model *model, struct cm_backend *const backends[2])
{
    float *first = NULL;
    size_t out_bytes = ROWS * out_dim(model) * sizeof *first;
    for (size_t i = 0; i < CUTS_COUNT; i++) {
        struct run run;
        run_open(&run, model, backends[i % 2]);
        run_job(&run, &cuts[i], 0, false);
        if (i == 0) {
            for (uint32_t head = 0; head < model->n_heads; head++) {
                check_head(&run, head % SEQUENCES, head, 0);
            }
            first = run.out;
            run.out = NULL;
        } else {
            assert_memory_equal(first, run.out, out_bytes);
        }
        run_close(&run);
    }
    cm_free(first);
}

static void check_models(struct cm_backend *one_thread, struct cm_backend *three_threads)
{
    struct cm_backend *backends[] = { one_thread, three_threads };
    for (size_t i = 0; i < MODELS_COUNT; i++) {
        check_model(&models[i], backends);
    }
    cm_backend_close(backends[0]);
    cm_backend_close(backends[1]);
}

static void every_cut_gives_the_same_bits(void **state)
{
    (void)state;
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        for (size_t p = 0; p < 2; p++) {
            const enum cm_precision precision = p == 0 ? CM_PRECISION_EXACT : CM_PRECISION_INT8;
            check_models(op_backend((enum cm_cpu_isa)isa, 1, precision),
                         op_backend((enum cm_cpu_isa)isa, 3, precision));
        }
        check_models(op_backend_kv_int8((enum cm_cpu_isa)isa, 1),
                     op_backend_kv_int8((enum cm_cpu_isa)isa, 3));
    }
}

/* As in Qwen2.5, where rounding to eight bits costs a score a whole unit. */
static void keys_far_from_zero_lose_nothing(void **state)
{
    (void)state;
    const struct model model = { 14, 2, 64, 0, CM_ROPE_NONE, false, CM_NORM_RMS, 100.0f };
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        struct cm_backend *backend = op_backend((enum cm_cpu_isa)isa, 1, CM_PRECISION_INT8);
        struct cm_backend *const backends[] = { backend, backend };
        check_model(&model, backends);
        cm_backend_close(backend);
    }
}

static void every_cut_gives_the_same_bits_on_cuda(void **state)
{
    (void)state;
    for (size_t p = 0; p < PRECISIONS_COUNT; p++) {
        struct cm_backend *cuda = op_cuda_backend(precisions[p], ROWS);
        struct cm_backend *const backends[] = { cuda, cuda };
        if (cuda == NULL) {
            skip();
        }
        for (size_t i = 0; i < MODELS_COUNT; i++) {
            check_model(&models[i], backends);
        }
        cm_backend_close(cuda);
    }
}

/* Sequences 1 and 2 fork from sequence 0 after `shared` tokens: full pages are listed by all, the
 * last one is copied. Each must get what it gets with pages of its own. */
static void check_sharing(const struct model *model, uint32_t shared, const struct cut *cut,
                          struct cm_backend *backend)
{
    struct run own;
    struct run sharing;
    run_open(&own, model, backend);
    run_open(&sharing, model, backend);
    run_job(&own, &cuts[0], shared, false);

    uint32_t full = shared / CM_PAGE_TOKENS;
    struct cut prompt = { shared, 32, false, false };
    struct step *step = cm_alloc(1, sizeof *step);
    assert_non_null(step);
    for (; step->n_rows < shared; step->n_rows++) {
        step->positions[step->n_rows] = (int32_t)step->n_rows;
    }
    run_step(&sharing, step, prompt.chunk_rows, shared);
    cm_free(step);
    for (uint32_t sequence = 1; sequence < SEQUENCES; sequence++) {
        memcpy(sharing.pages[sequence], sharing.pages[0], full * sizeof sharing.pages[0][0]);
        cm_kv_copy_tokens(backend, sharing.pool, (uint32_t)sharing.pages[0][full],
                          (uint32_t)sharing.pages[sequence][full], shared % CM_PAGE_TOKENS);
    }
    run_job(&sharing, cut, shared, true);
    for (size_t row = 0; row < ROWS; row++) {
        if (row < TOKENS || row % TOKENS >= shared) {
            assert_memory_equal(own.out + row * out_dim(model), sharing.out + row * out_dim(model),
                                out_dim(model) * sizeof(float));
        }
    }
    check_head(&own, 1, 0, shared);
    run_close(&own);
    run_close(&sharing);
}

static void shared_pages_equal_private_ones(void **state)
{
    (void)state;
    const uint32_t shared[] = { 1, 15, 16, 39, 64 };
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        struct cm_backend *backends[] = { op_backend((enum cm_cpu_isa)isa, 2, CM_PRECISION_INT8),
                                          op_backend_kv_int8((enum cm_cpu_isa)isa, 2) };
        for (size_t j = 0; j < 2; j++) {
            for (size_t i = 0; i < MODELS_COUNT; i++) {
                check_sharing(&models[i], shared[i % 5], &cuts[3 + i % 3], backends[j]);
            }
            cm_backend_close(backends[j]);
        }
    }
    for (size_t p = 0; p < PRECISIONS_COUNT; p++) {
        struct cm_backend *cuda = op_cuda_backend(precisions[p], ROWS);
        for (size_t i = p == 0 ? 0 : p - 1; i < MODELS_COUNT && cuda != NULL; i += p == 0 ? 1 : 2) {
            check_sharing(&models[i], shared[i % 5], &cuts[3 + i % 3], cuda);
        }
        cm_backend_close(cuda);
    }
}

/* Values of a row that are no means of inputs, which lie in [-2, 2). */
static size_t wild_values(const struct run *run, uint32_t position)
{
    size_t wild = 0;
    for (size_t i = 0; i < out_dim(&run->model); i++) {
        wild += !(fabsf(run->out[position * out_dim(&run->model) + i]) < 2.1f);
    }
    return wild;
}

/* Builds for tests show the use of a page that was given back. */
static void check_discarded(struct cm_backend *backend)
{
    struct run run;
    struct step *step = cm_alloc(1, sizeof *step);
    assert_non_null(step);
    run_open(&run, &models[0], backend);
    for (; step->n_rows < 20; step->n_rows++) {
        step->positions[step->n_rows] = (int32_t)step->n_rows;
    }
    run_step(&run, step, 32, 0);
    cm_kv_discard(backend, run.pool, &run.pages[1][0], 1); /* of another text */
    for (int32_t position = 20; position < 22; position++) {
        step->positions[0] = position;
        step->n_rows = 1;
        run_step(&run, step, 32, 0);
        cm_kv_discard(backend, run.pool, &run.pages[0][0], 1); /* gone for position 21 */
    }
    bool has_nan = cm_backend_precision(backend) != CM_PRECISION_FP8;
    size_t wild = wild_values(&run, 21);
    assert_int_equal(wild_values(&run, 20), 0);
    assert_true(!CM_POISONS_PAGES ? wild == 0 : has_nan ? wild == out_dim(&run.model) : wild > 0);
    run_close(&run);
    cm_free(step);
}

static void a_read_of_a_discarded_page_shows(void **state)
{
    (void)state;
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        for (size_t i = 0; i < (which == OP_CUDA ? PRECISIONS_COUNT : 2); i++) {
            struct cm_backend *backend = op_backend_at(which, 1, precisions[i]);
            if (backend != NULL) {
                check_discarded(backend);
                cm_backend_close(backend);
            }
        }
    }
    for (int isa = 0; isa <= (int)cm_cpu_isa_best(); isa++) {
        struct cm_backend *backend = op_backend_kv_int8((enum cm_cpu_isa)isa, 1);
        check_discarded(backend);
        cm_backend_close(backend);
    }
}

static void pools_check_their_shape(void **state)
{
    (void)state;
    struct cm_backend *backend = op_backend(CM_CPU_PORTABLE, 1, CM_PRECISION_EXACT);
    struct cm_kv_pool *pool = NULL;
    struct cm_error error;
    const struct cm_kv_shape good = { 2, 3, 64 };
    const struct cm_kv_shape empty = { 2, 0, 64 };
    const struct cm_kv_shape ragged = { 2, 3, 72 };
    const struct cm_kv_shape wide = { 2, 3, 512 };
    const struct cm_kv_shape huge = { UINT32_MAX, UINT32_MAX, 256 };
    assert_int_equal(cm_kv_page_bytes(backend, &good), 2 * 2 * 3 * 64 * CM_PAGE_TOKENS * 4);
    assert_int_equal(cm_kv_pool_create(backend, &empty, 1, &pool, &error), CM_INVALID_ARGUMENT);
    assert_int_equal(cm_kv_pool_create(backend, &good, 0, &pool, &error), CM_INVALID_ARGUMENT);
    assert_int_equal(cm_kv_pool_create(backend, &huge, 1, &pool, &error), CM_INVALID_ARGUMENT);
    assert_int_equal(cm_kv_pool_create(backend, &ragged, 1, &pool, &error), CM_UNSUPPORTED);
    assert_int_equal(cm_kv_pool_create(backend, &wide, 1, &pool, &error), CM_UNSUPPORTED);
    for (uint64_t nth = 1; nth <= 2; nth++) {
        cm_memory_fail_at(nth);
        assert_int_equal(cm_kv_pool_create(backend, &good, 1, &pool, &error), CM_OUT_OF_MEMORY);
        cm_memory_fail_at(0);
        assert_null(pool);
    }
    cm_kv_pool_close(NULL);
    cm_backend_close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_bits),
        cmocka_unit_test(keys_far_from_zero_lose_nothing),
        cmocka_unit_test(every_cut_gives_the_same_bits_on_cuda),
        cmocka_unit_test(shared_pages_equal_private_ones),
        cmocka_unit_test(a_read_of_a_discarded_page_shows),
        cmocka_unit_test(pools_check_their_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
