/* Sampling: reference probabilities, a float64 oracle that sorts, and hostile rows. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"
#include "host/ngram.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB_MAX_TESTED = 5000, WIDE = 140003, HISTORY = 40 };

struct token {
    double weight;
    float value; /* penalised logit over temperature */
    uint32_t id;
};

static int in_order(const void *a, const void *b)
{
    const struct token *first = a;
    const struct token *second = b;
    if (first->value != second->value) {
        return first->value > second->value ? -1 : 1;
    }
    return first->id < second->id ? -1 : first->id > second->id;
}

/* The kept tokens in the order of the draw, with probabilities; returns how many. */
static uint32_t oracle(const struct cm_sample_row *row, const int32_t *history, const float *logits,
                       uint32_t n, struct token *tokens)
{
    for (uint32_t i = 0; i < n; i++) {
        float logit = isnan(logits[i]) ? -INFINITY : logits[i];
        bool in_history = false;
        for (uint32_t j = row->history_begin; j < row->history_end; j++) {
            in_history = in_history || history[j] == (int32_t)i;
        }
        if (in_history) {
            logit = logit < 0 ? logit * row->repetition_penalty : logit / row->repetition_penalty;
        }
        tokens[i] = (struct token){ 0, row->temperature > 0 ? logit / row->temperature : logit, i };
    }
    qsort(tokens, n, sizeof *tokens, in_order);
    if (row->temperature <= 0) {
        tokens[0].weight = 1;
        return 1;
    }
    uint32_t kept = n;
    if (row->top_k > 0 && row->top_k < n) {
        kept = row->top_k;
        while (kept < n && tokens[kept].value == tokens[kept - 1].value) {
            kept++;
        }
    }
    double total = 0;
    for (uint32_t i = 0; i < kept; i++) {
        tokens[i].weight = exp((double)tokens[i].value - tokens[0].value);
        total += tokens[i].weight;
    }
    double before = 0;
    uint32_t count = 0;
    while (count < kept && (count == 0 || row->top_p >= 1 || before < row->top_p * total) &&
           tokens[count].weight >= row->min_p) {
        before += tokens[count++].weight;
    }
    for (uint32_t i = 0; i < count; i++) {
        tokens[i].weight /= before;
    }
    return count;
}

/* The sampled token must be where the cumulated probability passes the uniform number, give or take
 * what rounding can move. */
static void check_draw(const struct token *tokens, uint32_t count, float uniform, int32_t drawn)
{
    const double slack = 2e-6;
    double mass = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (tokens[i].id == (uint32_t)drawn) {
            if (uniform < mass - slack || uniform > mass + tokens[i].weight + slack) {
                fail_msg("%.9g drew token %d, which has %.9g after %.9g", (double)uniform, drawn,
                         tokens[i].weight, mass);
            }
            return;
        }
        mass += tokens[i].weight;
    }
    fail_msg("token %d is not among the %u that the controls keep", drawn, count);
}

static void fill_logits(uint64_t seed, uint32_t n, float spread, float *logits)
{
    for (uint32_t i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < 6; j++) {
            sum += op_random(&seed);
        }
        logits[i] = roundf(spread * sum * 256.0f) / 256.0f; /* with ties */
    }
}

/* Penalties that float32 holds exactly: others make logits that differ by a rounding, whose order
 * by weight the oracle could not know. */
static const struct cm_sample_row settings[] = {
    { .temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.25f },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f },
    { .temperature = 0.7f, .top_p = 0.95f, .repetition_penalty = 1.5f, .top_k = 50 },
    { .temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1.0f },
    { .temperature = 1.5f, .top_p = 0.99f, .repetition_penalty = 1.25f, .top_k = 700 },
    { .temperature = 0.8f, .top_p = 1.0f, .repetition_penalty = 1.0f, .min_p = 0.05f },
    { .temperature = 1.3f, .top_p = 0.97f, .repetition_penalty = 0.75f, .min_p = 1e-5f },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 1 },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 7 },
    { .temperature = 0.9f, .top_p = 0.0f, .repetition_penalty = 1.0f },
    { .temperature = 0.9f, .top_p = 0.5f, .repetition_penalty = 1.0f, .min_p = 1.0f, .top_k = 3 },
    { .temperature = 3.0f, .top_p = 0.999f, .repetition_penalty = 1.0f, .top_k = 100000 },
};

/* An emulated device is slow: it takes some of the cases, prime to the number of settings. */
static size_t stride_of(int which)
{
    return which == OP_CUDA ? 11 : 1;
}

enum { SETTINGS_COUNT = sizeof settings / sizeof settings[0], UNIFORMS = 23 };

/* One setting on one vocabulary at UNIFORMS places of [0, 1); leaves the draws in `drawn`. */
static void check_setting(struct cm_backend *backend, struct cm_sample_row setting, uint32_t n,
                          float spread, int32_t *drawn)
{
    static struct token tokens[VOCAB_MAX_TESTED];
    float *logits = op_random_array(1, (size_t)UNIFORMS * n, 1.0f);
    float *one = op_random_array(1, n, 1.0f);
    float *probabilities = op_random_array(1, n, 1.0f);
    struct cm_sample_row rows[UNIFORMS];
    float logprobs[UNIFORMS];
    int32_t history[HISTORY];
    fill_logits(n, n, spread, one);
    for (int32_t i = 0; i < HISTORY; i++) {
        history[i] = i * i % 31;
    }
    setting.history_end = n > 31 ? HISTORY : 0;
    setting.want_logprob = true;
    for (uint32_t i = 0; i < UNIFORMS; i++) {
        rows[i] = setting;
        rows[i].uniform = i + 1 == UNIFORMS ? 0x1.fffffep-1f : (float)i / (UNIFORMS - 1);
        memcpy(logits + (size_t)i * n, one, n * sizeof *one);
    }
    struct cm_sample_args args = { .logits = logits,
                                   .n_rows = 1,
                                   .n_vocab = n,
                                   .rows = rows,
                                   .history = history,
                                   .tokens = drawn,
                                   .logprobs = logprobs };
    op_sample_probabilities(backend, &args, probabilities);
    assert_memory_equal(logits, one, n * sizeof *one);
    args.n_rows = UNIFORMS;
    op_sample(backend, &args);

    uint32_t count = oracle(&setting, history, one, n, tokens);
    double log_sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        log_sum += exp(one[i]);
    }
    log_sum = log(log_sum);
    for (uint32_t i = 0; i < UNIFORMS; i++) {
        check_draw(tokens, count, rows[i].uniform, drawn[i]);
        op_assert_near("logprob", i, logprobs[i], one[drawn[i]] - log_sum, 1e-5, 1e-6);
    }
    double sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        op_assert_near("probability", i, probabilities[tokens[i].id], tokens[i].weight, 1e-6, 1e-5);
        sum += probabilities[tokens[i].id];
    }
    op_assert_near("all probabilities", 0, sum, 1.0, 1e-5, 0);
    for (uint32_t i = count; i < n; i++) {
        op_assert_near("dropped", i, probabilities[tokens[i].id], 0.0, 1e-30, 0);
    }
    cm_free(logits);
    cm_free(one);
    cm_free(probabilities);
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    const uint32_t vocabularies[] = { 1, 5, 100, 1023, VOCAB_MAX_TESTED };
    const float spreads[] = { 0.1f, 1.5f, 6.0f }; /* flat: the dense way; steep: the sparse way */
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *alone = op_backend_at(which, 1, CM_PRECISION_EXACT);
        struct cm_backend *three = op_backend_at(which, 3, CM_PRECISION_EXACT);
        for (size_t i = 0; alone != NULL && i < SETTINGS_COUNT * 5 * 3; i += stride_of(which)) {
            struct cm_sample_row setting = settings[i % SETTINGS_COUNT];
            uint32_t n = vocabularies[i / SETTINGS_COUNT % 5];
            float spread = spreads[i / SETTINGS_COUNT / 5];
            int32_t first[UNIFORMS];
            int32_t second[UNIFORMS];
            check_setting(alone, setting, n, spread, first);
            check_setting(three, setting, n, spread, second);
            assert_memory_equal(first, second, sizeof first);
        }
        cm_backend_close(alone);
        cm_backend_close(three);
    }
}

static void check_hostile(struct cm_backend *backend, const float *logits, uint32_t n,
                          const int32_t *allowed, size_t allowed_count)
{
    const float temperatures[] = { 0.0f, 1e-38f, 1e-6f, 1.0f, 1e30f, -1.0f, NAN };
    const float uniforms[] = { 0.0f, 0.5f, 0x1.fffffep-1f, 1.0f, -1.0f, NAN };
    const int32_t history[] = { -1, 0, INT32_MAX, 3, 3 };
    float copy[1000];
    size_t stride = op_is_cuda(backend) ? stride_of(OP_CUDA) : 1;
    for (size_t i = 0; i < SETTINGS_COUNT * 7 * 6; i += stride) {
        struct cm_sample_row row = settings[i % SETTINGS_COUNT];
        int32_t token = -1;
        row.temperature = temperatures[i / SETTINGS_COUNT % 7];
        row.uniform = uniforms[i / SETTINGS_COUNT / 7];
        row.history_end = 5;
        struct cm_sample_args args = { .logits = copy,
                                       .n_rows = 1,
                                       .n_vocab = n,
                                       .rows = &row,
                                       .history = history,
                                       .tokens = &token };
        memcpy(copy, logits, n * sizeof *copy);
        op_sample(backend, &args);
        bool found = false;
        for (size_t j = 0; j < allowed_count; j++) {
            found = found || token == allowed[j];
        }
        if (!found) {
            fail_msg("setting %zu drew token %d", i, token);
        }
    }
}

/* What is drawn must be a token that can be drawn, whatever the model produced. */
static void hostile_rows_have_a_result(void **state)
{
    (void)state;
    enum { N = 600 };
    float logits[N];
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *backend = op_backend_at(which, 1, CM_PRECISION_EXACT);
        if (backend == NULL) {
            continue;
        }
        for (uint32_t i = 0; i < N; i++) {
            logits[i] = i % 2 == 0 ? NAN : -INFINITY;
        }
        check_hostile(backend, logits, N, (const int32_t[]){ 0, 1 }, 2);
        logits[437] = -5.0f;
        check_hostile(backend, logits, N, (const int32_t[]){ 437 }, 1);
        logits[500] = -5.0f;
        check_hostile(backend, logits, N, (const int32_t[]){ 437, 500 }, 2);
        logits[301] = INFINITY;
        check_hostile(backend, logits, N, (const int32_t[]){ 301 }, 1);
        cm_backend_close(backend);
    }
}

static void on_best_and_cuda(void (*check)(struct cm_backend *))
{
    struct cm_backend *const backends[] = {
        op_backend(cm_cpu_isa_best(), 1, CM_PRECISION_EXACT),
        op_backend_at(OP_CUDA, 1, CM_PRECISION_EXACT),
    };
    for (size_t i = 0; i < 2; i++) {
        if (backends[i] != NULL) {
            check(backends[i]);
        }
        cm_backend_close(backends[i]);
    }
}

static void check_ties(struct cm_backend *backend)
{
    enum { N = 1000 };
    float logits[N] = { 0 };
    struct cm_sample_row row = { .temperature = 0, .top_p = 1, .repetition_penalty = 1 };
    int32_t token = -1;
    float logprob = 0;
    struct cm_sample_args args = { .logits = logits,
                                   .n_rows = 1,
                                   .n_vocab = N,
                                   .rows = &row,
                                   .tokens = &token,
                                   .logprobs = &logprob };
    logits[777] = logits[300] = logits[999] = 2.0f;
    op_sample(backend, &args);
    assert_int_equal(token, 300);
    assert_true(isnan(logprob));
    row.temperature = 1.0f; /* the three ties share the first part of the mass, by id */
    row.top_k = 2;          /* keeps all three */
    const float uniforms[] = { 0.1f, 0.5f, 0.9f };
    const int32_t expected[] = { 300, 777, 999 };
    for (int i = 0; i < 3; i++) {
        row.uniform = uniforms[i];
        op_sample(backend, &args);
        assert_int_equal(token, expected[i]);
    }
}

static void ties_go_to_the_lowest_id(void **state)
{
    (void)state;
    on_best_and_cuda(check_ties);
}

static float number(const json_t *test_case, const char *name)
{
    return (float)json_number_value(json_object_get(test_case, name));
}

static void check_golden(struct cm_backend *backend, const json_t *test_case)
{
    const json_t *values = json_object_get(test_case, "logits");
    const json_t *history_values = json_object_get(test_case, "history");
    const json_t *expected = json_object_get(test_case, "probabilities");
    uint32_t n = (uint32_t)json_array_size(values);
    float logits[200];
    float probabilities[200];
    int32_t history[100];
    assert_true(n > 0 && n <= 200 && json_array_size(history_values) <= 100);
    for (uint32_t i = 0; i < n; i++) {
        logits[i] = (float)json_number_value(json_array_get(values, i));
    }
    for (size_t i = 0; i < json_array_size(history_values); i++) {
        history[i] = (int32_t)json_integer_value(json_array_get(history_values, i));
    }
    struct cm_sample_row row = {
        .temperature = number(test_case, "temperature"),
        .top_p = number(test_case, "top_p"),
        .min_p = number(test_case, "min_p"),
        .repetition_penalty = number(test_case, "repetition_penalty"),
        .top_k = (uint32_t)number(test_case, "top_k"),
        .history_end = (uint32_t)json_array_size(history_values),
    };
    int32_t banned[100];
    row.banned[0].end = cm_ngram_banned(history, row.history_end,
                                        (uint32_t)number(test_case, "no_repeat_ngram"), banned);
    struct cm_sample_args args = { .logits = logits,
                                   .n_rows = 1,
                                   .n_vocab = n,
                                   .rows = &row,
                                   .history = history,
                                   .mask_ids = banned };
    op_sample_probabilities(backend, &args, probabilities);
    for (uint32_t i = 0; i < n; i++) {
        double reference = json_number_value(json_array_get(expected, i));
        op_assert_near("golden", i, probabilities[i], reference, 1e-6, 0);
    }
}

static void reference_probabilities_are_met(void **state)
{
    (void)state;
    json_error_t error;
    json_t *cases = json_load_file(TEST_DATA_DIR "/golden/sampling.json", 0, &error);
    assert_true(json_array_size(cases) > 0);
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *backend = op_backend_at(which, 1, CM_PRECISION_EXACT);
        for (size_t i = 0; backend != NULL && i < json_array_size(cases); i++) {
            check_golden(backend, json_array_get(cases, i));
        }
        cm_backend_close(backend);
    }
    json_decref(cases);
}

/* A mask does what minus infinity in the logits would do, in every setting. */
static void check_masks(struct cm_backend *backend)
{
    enum { N = 1500, ALLOWED = 200, BANNED = 60 };
    int32_t ids[ALLOWED + BANNED];
    for (int32_t i = 0; i < ALLOWED; i++) {
        ids[i] = i * 7;
    }
    for (int32_t i = 0; i < BANNED; i++) {
        ids[ALLOWED + i] = (i * 911 + 3) % N / 7 * 7;
    }
    int32_t history[HISTORY];
    for (int32_t i = 0; i < HISTORY; i++) {
        history[i] = i * i % 31;
    }
    float *logits = op_random_array(1, N, 1.0f);
    float *masked = op_random_array(1, N, 1.0f);
    for (uint32_t trial = 0; trial < 4 * SETTINGS_COUNT; trial++) {
        struct cm_sample_row row = settings[trial % SETTINGS_COUNT];
        row.uniform = (float)(trial % 11) / 11;
        row.history_end = HISTORY;
        struct cm_sample_row with_mask = row;
        with_mask.only_allowed = trial % 2 == 1;
        with_mask.allowed.end = ALLOWED;
        with_mask.banned[0].begin = ALLOWED;
        with_mask.banned[0].end = trial % 3 == 2 ? ALLOWED : ALLOWED + BANNED / 2;
        with_mask.banned[2] = (struct cm_id_range){ ALLOWED + BANNED / 2, ALLOWED + BANNED };
        fill_logits(trial, N, 4.0f, logits);
        for (int32_t i = 0; i < N; i++) {
            masked[i] =
                with_mask.only_allowed && (i % 7 != 0 || i >= 7 * ALLOWED) ? -INFINITY : logits[i];
        }
        for (uint32_t i = 0; i < CM_SAMPLE_BANS_MAX; i++) {
            for (uint32_t j = with_mask.banned[i].begin; j < with_mask.banned[i].end; j++) {
                masked[ids[j]] = -INFINITY;
            }
        }
        int32_t expected = -1;
        int32_t token = -1;
        struct cm_sample_args args = { .logits = masked,
                                       .n_rows = 1,
                                       .n_vocab = N,
                                       .rows = &row,
                                       .history = history,
                                       .tokens = &expected };
        op_sample(backend, &args);
        args.logits = logits;
        args.rows = &with_mask;
        args.mask_ids = ids;
        args.tokens = &token;
        op_sample(backend, &args);
        assert_int_equal(token, expected);
    }
    cm_free(logits);
    cm_free(masked);
}

static void masks_are_minus_infinity(void **state)
{
    (void)state;
    on_best_and_cuda(check_masks);
}

/* A vocabulary so wide that the device's map of tokens walks over it in two steps, with a history
 * and a list of allowed tokens in both. */
static void check_wide(struct cm_backend *backend)
{
    enum { N = 140000, FIRST = 5, SECOND = 135000, THIRD = 131073, FORBIDDEN = 70000 };
    const int32_t history[] = { SECOND, FIRST, -1, FIRST, N };
    const int32_t ids[] = { FIRST, THIRD, SECOND, N - 1 };
    struct cm_sample_row row = { .top_p = 1.0f, .repetition_penalty = 4.0f, .history_end = 5 };
    float *logits = op_random_array(1, N, 1.0f);
    logits[FIRST] = 7.0f;     /* 1.75 after the penalty */
    logits[SECOND] = 6.0f;    /* 1.5 */
    logits[THIRD] = 3.0f;     /* better than both */
    logits[FORBIDDEN] = 4.0f; /* the best where all are allowed */
    for (int trial = 0; trial < 3; trial++) {
        const int32_t expected[] = { FORBIDDEN, THIRD, FIRST };
        int32_t token = -1;
        row.only_allowed = trial > 0;
        row.allowed.end = 4;
        row.banned[0] = (struct cm_id_range){ 1, trial == 2 ? 2 : 1 }; /* THIRD or nothing */
        op_sample(backend, &(struct cm_sample_args){ .logits = logits,
                                                     .n_rows = 1,
                                                     .n_vocab = N,
                                                     .rows = &row,
                                                     .history = history,
                                                     .mask_ids = ids,
                                                     .tokens = &token });
        assert_int_equal(token, expected[trial]);
    }
    cm_free(logits);
}

static void wide_vocabularies_are_controlled_everywhere(void **state)
{
    (void)state;
    on_best_and_cuda(check_wide);
}

/* Rows of one kind at some uniform numbers, each held to the oracle; rows of such a length begin at
 * every alignment. */
static void check_rows(struct cm_backend *backend, struct cm_sample_row setting, const float *one,
                       uint32_t n)
{
    enum { ROWS = 5 };
    static struct token tokens[WIDE];
    const float uniforms[ROWS] = { 0.0f, 0.03f, 0.5f, 0.97f, 0x1.fffffep-1f };
    struct cm_sample_row rows[ROWS];
    int32_t drawn[ROWS];
    float *logits = op_random_array(1, (size_t)ROWS * n, 1.0f);
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i] = setting;
        rows[i].uniform = uniforms[i];
        memcpy(logits + (size_t)i * n, one, n * sizeof *one);
    }
    op_sample(backend,
              &(struct cm_sample_args){
                  .logits = logits, .n_rows = ROWS, .n_vocab = n, .rows = rows, .tokens = drawn });
    uint32_t count = oracle(&setting, NULL, one, n, tokens);
    for (uint32_t i = 0; i < ROWS; i++) {
        check_draw(tokens, count, uniforms[i], drawn[i]);
    }
    cm_free(logits);
}

/* As many alike as no list holds, and more than one kind of them: the place among ties, bins within
 * bins, a top-k that ends between ties and one that is too long. */
static void check_many(struct cm_backend *backend)
{
    enum { N = 4003 };
    static const struct cm_sample_row kinds[] = {
        { .temperature = 1.0f, .top_p = 1.0f },
        { .temperature = 0.5f, .top_p = 0.4f },
        { .temperature = 2.0f, .top_p = 0.9f, .top_k = 9 },
        { .temperature = 1.0f, .top_p = 0.7f, .top_k = 1100, .min_p = 0.5f },
        { .temperature = 1.0f, .top_p = 1.0f, .min_p = 0.99f },
    };
    float one[N];
    for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
        for (uint32_t width = 0; width < 4; width++) { /* all alike, a few kinds, all different */
            for (uint32_t i = 0; i < N; i++) {
                uint32_t value = i * 1237 % N;
                one[i] = width == 0   ? 3.0f
                         : width == 1 ? (float)(value % 2)
                         : width == 2 ? (float)(value % 5) / 1024
                                      : 1.0f + (float)value * 0x1p-20f;
            }
            check_rows(backend, kinds[kind], one, N);
        }
    }
}

static void many_alike_have_their_places(void **state)
{
    (void)state;
    on_best_and_cuda(check_many);
}

/* Logits a rounding apart, some of which are equal over the temperature: top-k keeps those, though
 * the device's list may end between them. Each is the best of the four that one thread looks at. */
static void check_merged(struct cm_backend *backend)
{
    enum { N = 2048, KINDS = N / 4 };
    float one[N];
    for (uint32_t i = 0; i < N; i++) {
        one[i] = i % 4 == 0 ? 2.0f - (float)(i / 4 + 1) * 0x1p-23f : 1.0f;
    }
    struct cm_sample_row row = { .temperature = 1.1f, .top_p = 1.0f };
    for (row.top_k = 1; row.top_k <= 40; row.top_k++) {
        check_rows(backend, row, one, N);
    }
    row.top_k = 600; /* more than threads that have their own */
    check_rows(backend, row, one, N);
}

static void top_k_keeps_what_the_temperature_makes_equal(void **state)
{
    (void)state;
    on_best_and_cuda(check_merged);
}

/* Logits so far apart that their distance is infinite, and few that are finite. */
static void check_far(struct cm_backend *backend)
{
    enum { N = 1500 };
    float one[N];
    for (uint32_t i = 0; i < N; i++) {
        one[i] = i % 300 == 0 ? 0x1.8p127f : i % 300 == 1 ? -0x1.8p127f : -INFINITY;
    }
    struct cm_sample_row row = { .temperature = 0x1p127f, .top_p = 1.0f, .top_k = 8 };
    check_rows(backend, row, one, N);
    row.top_k = 100;
    check_rows(backend, row, one, N);
    row.top_k = 0;
    check_rows(backend, row, one, N);
}

static void far_logits_are_kept(void **state)
{
    (void)state;
    on_best_and_cuda(check_far);
}

static void check_wide_draws(struct cm_backend *backend)
{
    float *one = op_random_array(1, WIDE, 1.0f);
    for (size_t i = 1; i < SETTINGS_COUNT; i += 2) {
        struct cm_sample_row row = settings[i];
        row.repetition_penalty = 1.0f;
        fill_logits(i, WIDE, i % 4 == 1 ? 0.5f : 3.0f, one);
        check_rows(backend, row, one, WIDE);
    }
    cm_free(one);
}

static void wide_vocabularies_follow_the_distribution(void **state)
{
    (void)state;
    on_best_and_cuda(check_wide_draws);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masks_are_minus_infinity),
        cmocka_unit_test(wide_vocabularies_are_controlled_everywhere),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(hostile_rows_have_a_result),
        cmocka_unit_test(ties_go_to_the_lowest_id),
        cmocka_unit_test(reference_probabilities_are_met),
        cmocka_unit_test(many_alike_have_their_places),
        cmocka_unit_test(top_k_keeps_what_the_temperature_makes_equal),
        cmocka_unit_test(far_logits_are_kept),
        cmocka_unit_test(wide_vocabularies_follow_the_distribution),
    };
    op_select_tests(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
