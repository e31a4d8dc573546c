#include "jobs/model_check.h"

#include "base/checked.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Below this margin in the reference the order of two tokens is a matter of rounding. */
#define MARGIN_MIN 1e-3

/* The references for full logits are of tiny models, those of the highest logits of real ones. */
struct cm_check_rules cm_check_rules(enum cm_engine_precision precision,
                                     enum cm_reference_kind kind)
{
    bool is_tiny = kind == CM_REFERENCE_LOGITS || kind == CM_REFERENCE_HIDDEN;
    switch (precision) {
    case CM_ENGINE_EXACT:
        return (struct cm_check_rules){ is_tiny ? 5e-5 : 5e-4, INFINITY, 1.0, true };
    case CM_ENGINE_BF16:
    case CM_ENGINE_FP16:
        return (struct cm_check_rules){ is_tiny ? 0.15 : INFINITY, is_tiny ? 0.02 : INFINITY, 0.5,
                                        false };
    case CM_ENGINE_FP8:
        return (struct cm_check_rules){ is_tiny ? 3 : INFINITY, is_tiny ? 0.3 : INFINITY, 0.5,
                                        false };
    default:
        /* Quantised arithmetic is judged against its peers on real models; here only what is
         * plainly broken. Tiny models of random weights were within 0.31, 0.034 on average; with
         * fp8 within 1.7 and 0.16. */
        return (struct cm_check_rules){ is_tiny ? 0.6 : INFINITY, is_tiny ? 0.06 : INFINITY, 0.5,
                                        false };
    }
}

/* Written so that a figure that is not a number falls short. */
bool cm_engine_check_agrees(const struct cm_engine_check *check, const struct cm_check_rules *rules)
{
    const struct cm_agreement *agreement = &check->agreement;
    bool are_logits_close = isfinite(agreement->difference_max) &&
                            agreement->difference_max <= rules->difference_max &&
                            cm_agreement_difference_mean(agreement) <= rules->difference_mean_max;
    bool are_choices_same =
        (double)agreement->choices_same >= rules->choices_min * (double)agreement->choices_count;
    bool is_text_same = !rules->greedy_is_asked || (check->greedy_same == check->greedy_count &&
                                                    check->beams_same == check->beams_count);
    return are_logits_close && are_choices_same && is_text_same &&
           check->cuts_same == check->cuts_count;
}

/* One case under way. */
struct work {
    struct cm_engine *engine;
    const struct cm_reference *reference;
    double margin_min;
    struct cm_engine_check *check;
    uint32_t n_vocab;
    int32_t *tokens; /* the prompt and what follows it */
    uint32_t tokens_count;
    float *logits; /* [tokens_count, n_vocab] */
};

/* Tokens whose logits are compared: the prompt and the continuation or, where only the generated
 * positions have references, all greedy tokens but the last. */
static size_t tokens_of(const struct cm_reference *reference, const struct cm_reference_case *one)
{
    size_t more = one->greedy_count > 0 ? one->greedy_count - 1 : 0;
    return one->ids_count +
           (reference->kind == CM_REFERENCE_LOGITS ? one->continuation_count : more);
}

static enum cm_status prepare(struct work *work, const struct cm_reference_case *one,
                              struct cm_error *error)
{
    const int32_t *after =
        work->reference->kind == CM_REFERENCE_LOGITS ? one->continuation : one->greedy;
    size_t count = tokens_of(work->reference, one);
    size_t values;
    cm_free(work->tokens);
    cm_free(work->logits);
    work->logits = NULL;
    work->tokens = cm_alloc(count, sizeof *work->tokens);
    if (work->tokens != NULL && !cm_size_mul(count, work->n_vocab, &values)) {
        work->logits = cm_alloc(values, sizeof *work->logits);
    }
    if (work->tokens == NULL || work->logits == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the logits of %zu tokens.",
                            count);
    }
    memcpy(work->tokens, one->ids, one->ids_count * sizeof *work->tokens);
    memcpy(work->tokens + one->ids_count, after, (count - one->ids_count) * sizeof *after);
    work->tokens_count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        if ((uint32_t)work->tokens[i] >= work->n_vocab) {
            return cm_error_set(error, CM_INVALID_DATA,
                                "The reference holds token %d, but the model's vocabulary ends at "
                                "%u: it is another model's.",
                                (int)work->tokens[i], work->n_vocab - 1);
        }
    }
    return cm_engine_logits(work->engine, work->tokens, work->tokens_count, 0, 0, work->logits,
                            error);
}

static void compare_all(struct work *work, const struct cm_reference_case *one)
{
    struct cm_agreement *agreement = &work->check->agreement;
    for (size_t row = 0; row < work->tokens_count; row++) {
        cm_agreement_add_row(agreement, work->logits + row * work->n_vocab,
                             one->logits + row * work->n_vocab, work->n_vocab, work->margin_min);
    }
    cm_agreement_add_logprob(
        agreement,
        cm_logits_mean_logprob(work->logits, work->n_vocab, work->tokens, work->tokens_count),
        cm_logits_mean_logprob(one->logits, work->n_vocab, work->tokens, work->tokens_count));
}

static enum cm_status compare_top(struct work *work, const struct cm_reference_case *one,
                                  struct cm_error *error)
{
    struct cm_agreement *agreement = &work->check->agreement;
    for (size_t i = 0; i < one->greedy_count; i++) {
        const float *row = work->logits + (one->ids_count - 1 + i) * work->n_vocab;
        const struct cm_reference_top *top = one->top + i * one->top_count;
        for (size_t k = 0; k < one->top_count; k++) {
            if ((uint32_t)top[k].id >= work->n_vocab) {
                return cm_error_set(error, CM_INVALID_DATA,
                                    "The reference holds token %d, which the model lacks.",
                                    (int)top[k].id);
            }
            cm_agreement_add_value(agreement, row[top[k].id], top[k].logit);
        }
        cm_agreement_add_choice(agreement, cm_logits_first(row, work->n_vocab), top[0].id,
                                one->margins[i], work->margin_min);
    }
    cm_agreement_add_logprob(
        agreement, cm_logits_mean_logprob(work->logits, work->n_vocab, one->ids, one->ids_count),
        one->mean_logprob);
    return CM_OK;
}

/* The same text in other cuts: token by token, in chunks, and as a fork of another sequence. */
static enum cm_status compare_cuts(struct work *work, struct cm_error *error)
{
    const struct {
        uint32_t chunk_tokens;
        uint32_t shared_tokens;
    } cuts[] = { { 1, 0 },
                 { 7, 0 },
                 { 64, 0 },
                 { 0, 1 },
                 { 0, work->tokens_count / 2 },
                 { 7, work->tokens_count - 1 } };
    size_t values = (size_t)work->tokens_count * work->n_vocab; /* fitted when it was allocated */
    float *logits = cm_alloc(values, sizeof *logits);
    if (logits == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for logits.");
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0] && status == CM_OK; i++) {
        status = cm_engine_logits(work->engine, work->tokens, work->tokens_count,
                                  cuts[i].chunk_tokens, cuts[i].shared_tokens, logits, error);
        if (status == CM_OK) {
            work->check->cuts_count++;
            work->check->cuts_same += memcmp(logits, work->logits, values * sizeof *logits) == 0;
        }
    }
    cm_free(logits);
    return status;
}

enum { REQUEST_ID = 1 };

/* Decodes from the case's prompt as a job does it; the request is then to be released. */
static enum cm_status decode(struct work *work, const struct cm_reference_case *one,
                             size_t output_tokens, size_t beams, struct cm_result *result,
                             struct cm_error *error)
{
    struct cm_request request = { .id = REQUEST_ID,
                                  .prompt = one->ids,
                                  .prompt_tokens = (uint32_t)one->ids_count,
                                  .output_tokens_max = (uint32_t)output_tokens,
                                  .sampling = CM_SAMPLING_GREEDY };
    request.sampling.ignore_stop = true;
    request.sampling.beams = (uint32_t)beams;
    enum cm_status status = cm_engine_submit(work->engine, &request, error);
    if (status != CM_OK) {
        return status == CM_FULL ? cm_error_set(error, CM_INTERNAL, "The idle engine is full.")
                                 : status;
    }
    do {
        status = cm_engine_step(work->engine, error);
        if (status != CM_OK && status != CM_END) {
            return status;
        }
    } while (cm_engine_finished(work->engine, result) != CM_OK && status != CM_END);
    return status == CM_END ? cm_error_set(error, CM_INTERNAL, "The engine has lost a request.")
                            : CM_OK;
}

/* After the first token that is not clear in the reference the two texts may part for good. */
static enum cm_status compare_greedy(struct work *work, const struct cm_reference_case *one,
                                     struct cm_error *error)
{
    struct cm_result result;
    enum cm_status status = decode(work, one, one->greedy_count, 1, &result, error);
    if (status != CM_OK) {
        return status;
    }
    for (size_t i = 0; i < one->greedy_count && one->margins[i] > work->margin_min; i++) {
        work->check->greedy_count++;
        bool is_same = i < result.output_tokens && result.output[i] == one->greedy[i];
        work->check->greedy_same += is_same;
        if (!is_same) {
            break;
        }
    }
    cm_engine_release(work->engine, REQUEST_ID);
    return CM_OK;
}

static enum cm_status compare_beams(struct work *work, const struct cm_reference_case *one,
                                    struct cm_error *error)
{
    const double score_tolerance = 5e-5;
    struct cm_result result;
    enum cm_status status =
        decode(work, one, one->beams[0].tokens_count, one->beams_count, &result, error);
    if (status != CM_OK) {
        return status;
    }
    for (size_t i = 0; i < one->beams_count; i++) {
        const struct cm_reference_beam *wanted = &one->beams[i];
        struct cm_beam beam;
        work->check->beams_count++;
        work->check->beams_same +=
            cm_engine_beam(work->engine, REQUEST_ID, (uint32_t)i, &beam) == CM_OK &&
            beam.output_tokens == wanted->tokens_count &&
            memcmp(beam.output, wanted->tokens, wanted->tokens_count * sizeof *beam.output) == 0 &&
            fabs(beam.score - wanted->score) <= score_tolerance;
    }
    cm_engine_release(work->engine, REQUEST_ID);
    return CM_OK;
}

static enum cm_status check_case(struct work *work, const struct cm_reference_case *one,
                                 struct cm_error *error)
{
    enum cm_status status = prepare(work, one, error);
    if (status != CM_OK) {
        return status;
    }
    if (work->reference->kind == CM_REFERENCE_LOGITS) {
        compare_all(work, one);
        status = compare_cuts(work, error);
    } else {
        status = compare_top(work, one, error);
    }
    if (status == CM_OK && one->greedy_count > 0) {
        status = compare_greedy(work, one, error);
    }
    return status == CM_OK && one->beams_count > 0 ? compare_beams(work, one, error) : status;
}

static enum cm_status open_engine(const struct cm_engine_options *options,
                                  const struct cm_reference *reference, struct cm_engine **engine,
                                  struct cm_error *error)
{
    size_t longest = 1;
    size_t batch = 2; /* a text and the one it forks from */
    for (size_t i = 0; i < reference->cases_count; i++) {
        const struct cm_reference_case *one = &reference->cases[i];
        size_t count = tokens_of(reference, one);
        size_t greedy = one->ids_count + one->greedy_count;
        size_t beam = one->ids_count + (one->beams_count > 0 ? one->beams[0].tokens_count : 0);
        count = count > greedy ? count : greedy;
        count = count > beam ? count : beam;
        longest = count > longest ? count : longest;
        batch = batch > one->beams_count ? batch : one->beams_count;
    }
    if (longest > INT32_MAX || batch > INT32_MAX) {
        return cm_error_set(error, CM_LIMIT, "The reference's texts are too long.");
    }
    struct cm_engine_options sized = *options;
    sized.batch = (uint32_t)batch;
    sized.context_tokens = (uint32_t)longest;
    return cm_engine_open(&sized, engine, error);
}

enum cm_status cm_engine_check(const struct cm_engine_options *options,
                               const struct cm_reference *reference, struct cm_engine_check *check,
                               struct cm_error *error)
{
    struct work work = { .reference = reference, .margin_min = MARGIN_MIN, .check = check };
    *check = (struct cm_engine_check){ 0 };
    enum cm_status status = open_engine(options, reference, &work.engine, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_engine_info info;
    cm_engine_info(work.engine, &info);
    snprintf(check->variant, sizeof check->variant, "%s", info.variant);
    work.n_vocab = info.n_vocab;
    if (reference->kind == CM_REFERENCE_LOGITS && reference->n_vocab != info.n_vocab) {
        status = cm_error_set(error, CM_INVALID_DATA,
                              "The reference is for a vocabulary of %u tokens, the model has %u.",
                              reference->n_vocab, info.n_vocab);
    }
    for (size_t i = 0; i < reference->cases_count && status == CM_OK; i++) {
        status = check_case(&work, &reference->cases[i], error);
    }
    cm_free(work.tokens);
    cm_free(work.logits);
    cm_engine_close(work.engine);
    return status;
}
