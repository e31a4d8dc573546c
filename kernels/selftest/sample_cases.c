/* Sampling and beam search over vocabularies with ties, a history and masks. */
#include "kernels/selftest/trial.h"

#include <math.h>
#include <string.h>

enum { VOCABULARY_MAX = 5000, HISTORY = 40, ROWS = 9, CANDIDATES = 20 };

static const uint32_t vocabularies[] = { 1, 5, 100, 1023, VOCABULARY_MAX };

/* Penalties that float32 holds exactly. */
static const struct cm_sample_row settings[] = {
    { .temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.25f },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f },
    { .temperature = 0.7f, .top_p = 0.95f, .repetition_penalty = 1.5f, .top_k = 50 },
    { .temperature = 1.5f, .top_p = 0.99f, .repetition_penalty = 1.25f, .top_k = 700 },
    { .temperature = 0.8f, .top_p = 1.0f, .repetition_penalty = 1.0f, .min_p = 0.05f },
    { .temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f, .top_k = 7 },
    { .temperature = 0.9f, .top_p = 0.5f, .repetition_penalty = 1.0f, .min_p = 1.0f, .top_k = 3 },
};

enum {
    VOCABULARIES_COUNT = sizeof vocabularies / sizeof vocabularies[0],
    SETTINGS_COUNT = sizeof settings / sizeof settings[0],
};

/* What the rows of a shape look at, on the device. */
struct inputs {
    uint32_t n;
    float *logits; /* [ROWS, n] rounded, so that there are ties */
    const struct cm_sample_row *rows;
    const int32_t *history;
    const int32_t *mask_ids;
};

/* Rows 1, 4 and 7 have bans, row 2 a list of allowed tokens. */
static void set_rows(const struct cm_sample_row *setting, uint32_t n, struct cm_sample_row *rows,
                     int32_t *mask_ids)
{
    for (int32_t i = 0; i < HISTORY; i++) {
        mask_ids[i] = (3 * i + 1) % (int32_t)n;
    }
    for (int32_t i = 0; i < HISTORY; i++) { /* rising */
        mask_ids[HISTORY + i] = i < (int32_t)n ? i * (int32_t)(n > HISTORY ? n / HISTORY : 1) : 0;
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        rows[i] = *setting;
        rows[i].uniform = i + 1 == ROWS ? 0x1.fffffep-1f : ((float)i + 0.37f) / ROWS;
        rows[i].history_end = n > 31 ? HISTORY : 0;
        rows[i].want_logprob = i % 2 == 0;
        if (n > 2 * HISTORY && i % 3 == 1) {
            rows[i].banned[i % CM_SAMPLE_BANS_MAX] = (struct cm_id_range){ i, HISTORY };
        }
        if (n > 2 * HISTORY && i == 2) {
            rows[i].only_allowed = true;
            rows[i].allowed = (struct cm_id_range){ HISTORY, 2 * HISTORY };
        }
    }
}

static struct inputs put_inputs(struct cm_trial *trial, uint32_t shape)
{
    static float logits[ROWS * VOCABULARY_MAX];
    struct cm_sample_row rows[ROWS];
    int32_t history[HISTORY];
    int32_t mask_ids[2 * HISTORY];
    struct inputs inputs = { .n = vocabularies[shape / SETTINGS_COUNT] };
    cm_trial_numbers(shape, (size_t)ROWS * inputs.n, 8.0f, logits);
    for (uint32_t i = 0; i < ROWS * inputs.n; i++) {
        logits[i] = roundf(logits[i] * 16.0f) / 16.0f;
    }
    for (int32_t i = 0; i < HISTORY; i++) {
        history[i] = i * i % 31;
    }
    set_rows(&settings[shape % SETTINGS_COUNT], inputs.n, rows, mask_ids);
    inputs.logits = cm_trial_input(trial, logits, (size_t)ROWS * inputs.n * sizeof *logits);
    inputs.rows = cm_trial_input(trial, rows, sizeof rows);
    inputs.history = cm_trial_input(trial, history, sizeof history);
    inputs.mask_ids = cm_trial_input(trial, mask_ids, sizeof mask_ids);
    return inputs;
}

static void sample(struct cm_trial *trial, uint32_t shape)
{
    struct inputs inputs = put_inputs(trial, shape);
    struct cm_sample_args args = {
        .logits = inputs.logits,
        .n_rows = ROWS,
        .n_vocab = inputs.n,
        .rows = inputs.rows,
        .history = inputs.history,
        .mask_ids = inputs.mask_ids,
        .tokens = cm_trial_ids(trial, "token", ROWS),
        .logprobs = cm_trial_floats(trial, "logprob", ROWS, 1e-5, 2e-6),
    };
    float *probabilities =
        cm_trial_floats(trial, "probability", (size_t)ROWS * inputs.n, 1e-6, 2e-5);
    if (cm_trial_failed(trial)) {
        return;
    }
    cm_trial_begin(trial);
    cm_op_sample_probabilities(trial->backend, &args, probabilities);
    cm_op_sample(trial->backend, &args);
    cm_trial_end(trial);
}

static void beam(struct cm_trial *trial, uint32_t shape)
{
    struct inputs inputs = put_inputs(trial, shape);
    float uniforms[ROWS * CANDIDATES];
    cm_trial_numbers(7, ROWS * CANDIDATES, 0.5f, uniforms);
    for (uint32_t i = 0; i < ROWS * CANDIDATES; i++) {
        uniforms[i] += 0.5f;
    }
    struct cm_beam_args args = {
        .logits = inputs.logits,
        .n_rows = ROWS,
        .n_vocab = inputs.n,
        .n_candidates = inputs.n < CANDIDATES ? inputs.n : CANDIDATES,
        .rows = inputs.rows,
        .history = inputs.history,
        .mask_ids = inputs.mask_ids,
        .uniforms = cm_trial_input(trial, uniforms, sizeof uniforms),
        .tokens = cm_trial_ids(trial, "token", ROWS * CANDIDATES),
        .scores = cm_trial_random(trial, 8, ROWS * CANDIDATES, 1.0f),
        .logprobs = cm_trial_random(trial, 8, ROWS * CANDIDATES, 1.0f),
        .log_masses = cm_trial_floats(trial, "log mass", ROWS, 1e-5, 1e-5),
    };
    if (cm_trial_failed(trial)) {
        return;
    }
    /* Behind the last possible token the scores are whatever they are. */
    if (settings[shape % SETTINGS_COUNT].temperature == 0.0f && inputs.n > 2 * HISTORY) {
        cm_trial_expose(trial, "score", args.scores, (size_t)ROWS * args.n_candidates, 1e-5, 2e-6);
        cm_trial_expose(trial, "logprob", args.logprobs, (size_t)ROWS * args.n_candidates, 1e-5,
                        2e-6);
    }
    cm_trial_begin(trial);
    cm_op_beam(trial->backend, &args);
    cm_trial_end(trial);
}

const struct cm_trial_case CM_SAMPLE_CASES[] = {
    { "sample", VOCABULARIES_COUNT *SETTINGS_COUNT, sample, 11 },
    { "beam", VOCABULARIES_COUNT *SETTINGS_COUNT, beam, 11 },
    { 0 },
};
