/* Beam candidates: against an oracle in float64 that sorts, on every instruction set and with
 * masks; drawn ones stand where their uniform number says, each among those left. */
#include "op_common.h"
#include "op_host.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB_MAX_TESTED = 5000, HISTORY = 24, CANDIDATES = 12, BANNED = 3, ROWS = 5 };

struct token {
    double score; /* minus infinity: masked */
    double weight;
    uint32_t id;
};

static int in_order(const void *a, const void *b)
{
    const struct token *first = a;
    const struct token *second = b;
    if (first->score != second->score) {
        return first->score > second->score ? -1 : 1;
    }
    return first->id < second->id ? -1 : first->id > second->id;
}

static bool contains(const int32_t *ids, uint32_t begin, uint32_t end, uint32_t id)
{
    for (uint32_t i = begin; i < end; i++) {
        if (ids[i] == (int32_t)id) {
            return true;
        }
    }
    return false;
}

/* The tokens that the controls keep, in order, with scores and weights; returns how many. */
static uint32_t oracle(const struct cm_beam_args *args, uint32_t r, const float *logits,
                       struct token *tokens)
{
    const struct cm_sample_row *row = &args->rows[r];
    uint32_t n = args->n_vocab;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += exp((double)logits[i]);
    }
    for (uint32_t i = 0; i < n; i++) {
        double score = (double)logits[i] - log(sum);
        if (contains(args->history, row->history_begin, row->history_end, i)) {
            score *= (double)row->repetition_penalty;
        }
        if (contains(args->mask_ids, row->banned[0].begin, row->banned[0].end, i)) {
            score = -INFINITY;
        }
        score = row->temperature > 0 ? score / (double)row->temperature : score;
        tokens[i] = (struct token){ score, 0, i };
    }
    qsort(tokens, n, sizeof *tokens, in_order);
    if (row->temperature <= 0) {
        return n;
    }
    uint32_t kept = row->top_k > 0 && row->top_k < n ? row->top_k : n;
    while (kept < n && tokens[kept].score == tokens[kept - 1].score) {
        kept++;
    }
    double total = 0;
    for (uint32_t i = 0; i < kept; i++) {
        tokens[i].weight = exp(tokens[i].score);
        total += tokens[i].weight;
    }
    double before = 0;
    uint32_t count = 0;
    while (count < kept && tokens[count].weight > 0 &&
           (count == 0 || row->top_p >= 1 || before < (double)row->top_p * total) &&
           tokens[count].weight >= (double)row->min_p * tokens[0].weight) {
        before += tokens[count++].weight;
    }
    return count;
}

static const struct cm_sample_row settings[] = {
    { .temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.0f },
    { .temperature = 0.0f, .top_p = 0.5f, .repetition_penalty = 1.5f, .top_k = 3 },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f },
    { .temperature = 0.7f, .top_p = 0.95f, .repetition_penalty = 1.25f, .top_k = 50 },
    { .temperature = 1.5f, .top_p = 1.0f, .repetition_penalty = 1.0f, .min_p = 0.05f },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 5 },
};

/* Best tokens: the oracle's scores in its order; equal tokens but where two scores are as good as
 * one. */
static void check_best(const struct token *wanted, uint32_t count, const int32_t *tokens,
                       const float *scores)
{
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        bool possible = i < count && wanted[i].score > -INFINITY;
        assert_int_equal(tokens[i] >= 0, possible);
        if (possible) {
            op_assert_near("score", i, scores[i], wanted[i].score, 1e-5, 1e-6);
            bool clear = (i == 0 || wanted[i - 1].score - wanted[i].score > 1e-4) &&
                         (i + 1 == count || wanted[i].score - wanted[i + 1].score > 1e-4);
            assert_true(!clear || tokens[i] == (int32_t)wanted[i].id);
        }
    }
}

/* Drawn tokens: each at its uniform number's place among those left, which then lose it. */
static void check_drawn(struct token *left, uint32_t count, const float *uniforms,
                        const int32_t *tokens, const float *scores, float log_mass)
{
    double total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += left[i].weight;
    }
    op_assert_near("log mass", 0, log_mass, log(total), 1e-5, 1e-6);
    const double slack = 4e-6 * total; /* what float32 weights can move */
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        assert_int_equal(tokens[i] >= 0, i < count);
        double mass = 0;
        bool found = false;
        for (uint32_t j = 0; j < count && i < count && !found; j++) {
            if (left[j].id == (uint32_t)tokens[i] && left[j].weight > 0) {
                assert_true((double)uniforms[i] * total >= mass - slack);
                assert_true((double)uniforms[i] * total <= mass + left[j].weight + slack);
                op_assert_near("score", i, scores[i], left[j].score, 1e-5, 1e-6);
                total -= left[j].weight;
                left[j].weight = 0;
                found = true;
            }
            mass += left[j].weight;
        }
        assert_true(found || i >= count);
    }
}

static void check_setting(struct cm_backend *backend, const struct cm_sample_row *setting,
                          uint32_t n, float spread)
{
    static struct token wanted[VOCAB_MAX_TESTED];
    float *logits = op_random_array(n, (size_t)ROWS * n, spread);
    float *original = op_random_array(n, (size_t)ROWS * n, spread);
    float *uniforms = op_random_array(3, (size_t)ROWS * CANDIDATES, 1.0f);
    struct cm_sample_row rows[ROWS];
    int32_t history[HISTORY];
    const int32_t mask_ids[BANNED] = { 0, (int32_t)(n / 2), (int32_t)(n - 1) };
    int32_t tokens[ROWS * CANDIDATES];
    float scores[ROWS * CANDIDATES];
    float logprobs[ROWS * CANDIDATES];
    float log_masses[ROWS];
    for (size_t i = 0; i < (size_t)ROWS * n; i++) {
        logits[i] = original[i] = roundf(logits[i] * 256.0f) / 256.0f; /* equal or well apart */
    }
    for (uint32_t i = 0; i < HISTORY; i++) {
        history[i] = (int32_t)(i * i % n);
    }
    for (uint32_t i = 0; i < ROWS * CANDIDATES; i++) {
        uniforms[i] = fabsf(uniforms[i]) * 0.999f;
    }
    for (uint32_t r = 0; r < ROWS; r++) {
        rows[r] = *setting;
        rows[r].history_end = HISTORY;
        rows[r].banned[0] = (struct cm_id_range){ 0, r % 2 == 0 ? BANNED : 0 };
    }
    const struct cm_beam_args args = {
        .logits = logits,
        .n_rows = ROWS,
        .n_vocab = n,
        .n_candidates = CANDIDATES,
        .rows = rows,
        .history = history,
        .mask_ids = mask_ids,
        .uniforms = uniforms,
        .tokens = tokens,
        .scores = scores,
        .logprobs = logprobs,
        .log_masses = log_masses,
    };
    op_beam(backend, &args);
    for (uint32_t r = 0; r < ROWS; r++) {
        const float *row_logits = original + (size_t)r * n;
        uint32_t first = r * CANDIDATES;
        uint32_t count = oracle(&args, r, row_logits, wanted);
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            sum += exp((double)row_logits[i]);
        }
        for (uint32_t i = first; i < first + CANDIDATES && tokens[i] >= 0; i++) {
            op_assert_near("logprob", i, logprobs[i], (double)row_logits[tokens[i]] - log(sum),
                           2e-5, 1e-5);
        }
        if (setting->temperature > 0) {
            check_drawn(wanted, count, uniforms + first, tokens + first, scores + first,
                        log_masses[r]);
        } else {
            check_best(wanted, count, tokens + first, scores + first);
            assert_true(isnan(log_masses[r]));
        }
    }
    cm_free(logits);
    cm_free(original);
    cm_free(uniforms);
}

static void candidates_follow_the_oracle(void **state)
{
    (void)state;
    const uint32_t vocabularies[] = { 5, 13, 600, 2049, VOCAB_MAX_TESTED };
    const float spreads[] = { 0.5f, 4.0f };
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        for (uint32_t threads = 1; threads <= 3; threads += 2) {
            struct cm_backend *backend = op_backend_at(which, threads, CM_PRECISION_EXACT);
            for (size_t i = 0; backend != NULL && i < sizeof settings / sizeof settings[0]; i++) {
                /* An emulated device is slow and has no threads: half the cases each time. */
                size_t first = which == OP_CUDA ? (i + threads / 2) % 2 : 0;
                for (size_t j = first; j < 10; j += which == OP_CUDA ? 2 : 1) {
                    check_setting(backend, &settings[i], vocabularies[j % 5], spreads[j / 5]);
                }
            }
            cm_backend_close(backend);
        }
    }
}

/* All logits alike: more ties than any list holds, and the lowest ids win them. */
static void check_ties(struct cm_backend *backend)
{
    float *logits = op_random_array(1, VOCAB_MAX_TESTED, 1.0f);
    const struct cm_sample_row row = { .top_p = 1.0f, .repetition_penalty = 1.0f };
    int32_t tokens[CANDIDATES];
    float scores[CANDIDATES];
    float logprobs[CANDIDATES];
    float log_mass;
    for (uint32_t i = 0; i < VOCAB_MAX_TESTED; i++) {
        logits[i] = i == 4000 ? 2.0f : 1.0f;
    }
    op_beam(backend, &(struct cm_beam_args){ .logits = logits,
                                             .n_rows = 1,
                                             .n_vocab = VOCAB_MAX_TESTED,
                                             .n_candidates = CANDIDATES,
                                             .rows = &row,
                                             .tokens = tokens,
                                             .scores = scores,
                                             .logprobs = logprobs,
                                             .log_masses = &log_mass });
    assert_int_equal(tokens[0], 4000);
    for (int32_t i = 1; i < CANDIDATES; i++) {
        assert_int_equal(tokens[i], i - 1);
    }
    cm_free(logits);
}

static void ties_go_to_the_lowest_ids(void **state)
{
    (void)state;
    for (int which = CM_CPU_PORTABLE; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *backend = op_backend_at(which, 1, CM_PRECISION_EXACT);
        if (backend != NULL) {
            check_ties(backend);
            cm_backend_close(backend);
        }
    }
}

/* As many candidates as there may be, of a row of which `alike` logits are alike and the others too
 * far off. Drawn, each is at its uniform number's place among those left. */
static void check_full_width(struct cm_backend *backend, float temperature, uint32_t top_k,
                             uint32_t alike)
{
    enum { N = 2503, WIDTH = CM_BEAM_CANDIDATES_MAX };
    float logits[N];
    float uniforms[WIDTH];
    int32_t left[N];
    int32_t tokens[WIDTH];
    float scores[WIDTH];
    float logprobs[WIDTH];
    float log_mass;
    const struct cm_sample_row row = {
        .temperature = temperature, .top_p = 1.0f, .top_k = top_k, .repetition_penalty = 1.0f
    };
    uint32_t count = 0;
    for (uint32_t i = 0; i < N; i++) {
        bool is_alike = i >= N - alike;
        logits[i] = is_alike ? 1.0f : -200.0f;
        if (is_alike) {
            left[count++] = (int32_t)i;
        }
    }
    for (uint32_t i = 0; i < WIDTH; i++) {
        uniforms[i] = (float)(i * 37 % 64) / 64;
    }
    op_beam(backend, &(struct cm_beam_args){ .logits = logits,
                                             .n_rows = 1,
                                             .n_vocab = N,
                                             .n_candidates = WIDTH,
                                             .rows = &row,
                                             .uniforms = uniforms,
                                             .tokens = tokens,
                                             .scores = scores,
                                             .logprobs = logprobs,
                                             .log_masses = &log_mass });
    for (uint32_t i = 0; i < WIDTH && count > 0; i++) {
        uint32_t at = temperature > 0 ? (uint32_t)(uniforms[i] * (float)count) : 0;
        assert_int_equal(tokens[i], left[at]);
        op_assert_near("logprob", i, logprobs[i], -log(alike), 1e-5, 1e-5);
        memmove(left + at, left + at + 1, (--count - at) * sizeof *left);
    }
    for (uint32_t i = alike; i < WIDTH && temperature > 0; i++) {
        assert_int_equal(tokens[i], -1);
    }
}

static void a_full_width_is_found(void **state)
{
    (void)state;
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *backend = op_backend_at(which, 1, CM_PRECISION_EXACT);
        for (uint32_t i = 0; backend != NULL && i < 3; i++) {
            uint32_t alike = i == 0 ? 2503 : i == 1 ? 800 : 60;
            check_full_width(backend, 0.0f, 0, alike);
            check_full_width(backend, 1.0f, 0, alike);
            check_full_width(backend, 1.0f, 200, alike);
        }
        cm_backend_close(backend);
    }
}

/* A token that weighs hardly more than 2^-40 of the best is drawn once that is gone. */
static void the_lightest_token_comes_last(void **state)
{
    (void)state;
    enum { N = 1501 };
    for (int which = 0; which < OP_BACKENDS_COUNT; which++) {
        struct cm_backend *backend = op_backend_at(which, 1, CM_PRECISION_EXACT);
        float logits[N];
        const struct cm_sample_row row = { .temperature = 1.0f, .top_p = 1.0f };
        const float uniforms[] = { 0.5f, 0.5f };
        int32_t tokens[2];
        float scores[2];
        float logprobs[2];
        float log_mass;
        for (uint32_t i = 0; i < N; i++) {
            logits[i] = i == 700 ? 0.0f : i == 1300 ? -27.71f : -100.0f;
        }
        if (backend != NULL) {
            op_beam(backend, &(struct cm_beam_args){ .logits = logits,
                                                     .n_rows = 1,
                                                     .n_vocab = N,
                                                     .n_candidates = 2,
                                                     .rows = &row,
                                                     .uniforms = uniforms,
                                                     .tokens = tokens,
                                                     .scores = scores,
                                                     .logprobs = logprobs,
                                                     .log_masses = &log_mass });
            assert_int_equal(tokens[0], 700);
            assert_int_equal(tokens[1], 1300);
        }
        cm_backend_close(backend);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidates_follow_the_oracle),
        cmocka_unit_test(ties_go_to_the_lowest_ids),
        cmocka_unit_test(a_full_width_is_found),
        cmocka_unit_test(the_lightest_token_comes_last),
    };
    op_select_tests(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
