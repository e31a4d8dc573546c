/* Beam sampling draws the continuations of all branches together without replacement: how often
 * each is drawn, over many seeds, against what follows from the probabilities. */
#include "host/beam_search.h"
#include "host/philox.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { BEAMS = 2, TOKENS = 3, CANDIDATES = 4, SEEDS = 40000, CHOICES = BEAMS * TOKENS };

static const double first_scores[BEAMS] = { -0.9, -0.8 };
static const double token_scores[BEAMS][TOKENS] = { { -0.8, -1.2, -1.6 }, { -1.0, -1.4, -1.9 } };

/* What cm_op_beam gives for tokens [first_token, first_token + TOKENS) with these scores. */
static void draw_tokens(const double scores[TOKENS], const struct cm_request *request,
                        uint32_t position, uint32_t beam, int32_t first_token,
                        int32_t tokens[CANDIDATES], float drawn_scores[CANDIDATES], float *log_mass)
{
    bool taken[TOKENS] = { false };
    double left = 0;
    for (uint32_t i = 0; i < TOKENS; i++) {
        left += exp(scores[i]);
    }
    *log_mass = (float)log(left);
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        float uniforms[2];
        cm_philox_uniforms(request->seed, request->attempt, position, cm_philox_beam_lane(beam, i),
                           uniforms);
        double target = (double)uniforms[0] * left;
        double mass = 0;
        tokens[i] = -1;
        for (int32_t t = 0; t < TOKENS && i < TOKENS && (tokens[i] < 0 || mass <= target); t++) {
            if (!taken[t]) {
                tokens[i] = t;
                mass += exp(scores[t]);
            }
        }
        if (tokens[i] >= 0) {
            taken[tokens[i]] = true;
            left -= exp(scores[tokens[i]]);
            drawn_scores[i] = (float)scores[tokens[i]];
            tokens[i] += first_token;
        }
    }
}

static uint32_t best_of(const double weights[CHOICES], uint32_t taken)
{
    uint32_t best = CHOICES;
    for (uint32_t i = 0; i < CHOICES; i++) {
        if ((taken >> i & 1) != 0 && (best == CHOICES || weights[i] > weights[best])) {
            best = i;
        }
    }
    return best;
}

/* The probability that `c` is the best of the CANDIDATES drawn one after the other, when those in
 * `taken` have been drawn already. */
static double best_probability(const double weights[CHOICES], uint32_t taken, uint32_t drawn,
                               uint32_t c)
{
    double left = 0;
    double probability = 0;
    if (drawn == CANDIDATES) {
        return best_of(weights, taken) == c ? 1 : 0;
    }
    for (uint32_t i = 0; i < CHOICES; i++) {
        left += (taken >> i & 1) != 0 ? 0 : weights[i];
    }
    for (uint32_t i = 0; i < CHOICES; i++) {
        if ((taken >> i & 1) == 0) {
            probability +=
                weights[i] / left * best_probability(weights, taken | 1U << i, drawn + 1, c);
        }
    }
    return probability;
}

/* Two branches, known by their first token, then one step of sampling: the first branch after it is
 * the best that was drawn. */
static void sample_once(struct cm_sequence *sequence, uint64_t seed, uint32_t best_counts[CHOICES])
{
    static const struct cm_beam_choices nothing = { NULL, NULL, NULL, 0 };
    struct cm_beam_choices choices[BEAMS] = { nothing, nothing };
    int32_t tokens[BEAMS][CANDIDATES];
    float scores[BEAMS][CANDIDATES];
    cm_sequence_restart(sequence);
    sequence->request.seed[0] = seed;
    sequence->branches_count = BEAMS;
    for (uint32_t b = 0; b < BEAMS; b++) {
        struct cm_branch *branch = &sequence->branches[b];
        branch->output[0] = (int32_t)b;
        branch->output_tokens = 1;
        branch->endable_tokens = 1;
        branch->score = first_scores[b];
        draw_tokens(token_scores[b], &sequence->request, 1, b, 10 * (int32_t)b, tokens[b],
                    scores[b], &choices[b].log_mass);
        choices[b].tokens = tokens[b];
        choices[b].scores = scores[b];
        choices[b].logprobs = scores[b];
    }
    assert_false(cm_beam_search_advance(sequence, NULL, choices, CANDIDATES, NULL));
    assert_int_equal(sequence->branches_count, BEAMS);
    const struct cm_branch *best = &sequence->branches[0];
    assert_true(best->score >= sequence->branches[1].score);
    best_counts[best->output[1] / 10 * TOKENS + best->output[1] % 10]++;
}

static void draws_are_without_replacement_from_all(void **state)
{
    (void)state;
    const int32_t prompt[1] = { 0 };
    const struct cm_request request = {
        .prompt = prompt,
        .prompt_tokens = 1,
        .output_tokens_max = 4,
        .sampling = { .temperature = 1.0f, .beams = BEAMS, .ignore_stop = true },
    };
    struct cm_sequence *sequence = cm_sequence_create(&request);
    struct cm_node node = { .page = 0 };
    uint32_t best_counts[CHOICES] = { 0 };
    double weights[CHOICES];
    assert_non_null(sequence);
    sequence->path[0] = &node;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        sample_once(sequence, seed, best_counts);
    }
    for (uint32_t c = 0; c < CHOICES; c++) {
        weights[c] = exp(first_scores[c / TOKENS] + token_scores[c / TOKENS][c % TOKENS]);
    }
    for (uint32_t c = 0; c < CHOICES; c++) {
        double expected = best_probability(weights, 0, 0, c);
        double found = best_counts[c] / (double)SEEDS;
        print_message("choice %u: %.4f, expected %.4f\n", c, found, expected);
        assert_true(fabs(found - expected) < 0.008); /* three standard deviations */
    }
    cm_sequence_free(sequence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_without_replacement_from_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
