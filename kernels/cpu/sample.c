/* Sampling: controls in Hugging Face's order, then one draw.
 *
 * Every filter keeps a prefix of the tokens in the order "descending weight, ties by lower id", so
 * the set that is kept is one (weight, id) pair: the last token of the prefix. Prefixes are found
 * by bisection over the bits of the weight, which needs neither a sort nor memory. Weights are
 * float32, sums are float64 in order of id. */
#include "kernels/cpu/variant.h"

#include <math.h>
#include <string.h>

/* The tokens at or before (weight, last_id); `mass` is their sum. */
struct prefix {
    float weight;
    uint32_t last_id;
    double mass;
};

/* Maps floats to integers in the same order, so that a search can halve an interval of values. */
static int32_t ordered_bits(float value)
{
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0 ? bits ^ 0x7FFFFFFF : bits;
}

static float from_ordered_bits(int32_t bits)
{
    float value;
    bits = bits < 0 ? bits ^ 0x7FFFFFFF : bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t best_id(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = x[i] > x[best] ? i : best;
    }
    return best;
}

static uint32_t count_at_least(const float *x, uint32_t n, float value)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        count += x[i] >= value;
    }
    return count;
}

static double mass_at_least(const float *weights, uint32_t n, float value)
{
    double mass = 0;
    for (uint32_t i = 0; i < n; i++) {
        mass += weights[i] >= value ? weights[i] : 0.0f;
    }
    return mass;
}

/* The k-th largest of x[n], 1 <= k <= n. */
static float kth_largest(const float *x, uint32_t n, uint32_t k)
{
    int64_t low = ordered_bits(-INFINITY);
    int64_t high = (int64_t)ordered_bits(INFINITY) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (count_at_least(x, n, from_ordered_bits((int32_t)middle)) >= k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return from_ordered_bits((int32_t)low);
}

/* The shortest prefix whose mass is over `target`, or all that has weight when none is. */
static struct prefix prefix_over(const float *weights, uint32_t n, double target)
{
    int64_t low = 1; /* the smallest weight above zero */
    int64_t high = (int64_t)ordered_bits(1.0f) + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (mass_at_least(weights, n, from_ordered_bits((int32_t)middle)) > target) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct prefix prefix = { .weight = from_ordered_bits((int32_t)low) };
    prefix.mass = mass_at_least(weights, n, from_ordered_bits((int32_t)low + 1));
    for (uint32_t i = 0; i < n; i++) {
        if (weights[i] == prefix.weight) {
            prefix.last_id = i;
            prefix.mass += weights[i];
            if (prefix.mass > target) {
                break;
            }
        }
    }
    return prefix;
}

static void drop_after(float *weights, uint32_t n, const struct prefix *prefix)
{
    for (uint32_t i = 0; i < n; i++) {
        if (weights[i] < prefix->weight || (weights[i] == prefix->weight && i > prefix->last_id)) {
            weights[i] = 0.0f;
        }
    }
}

/* Once per distinct token: a token counts at its first place in the history. */
static void penalise(const struct cm_sample_row *row, const int32_t *history, float *x, uint32_t n)
{
    for (uint32_t i = row->history_begin; i < row->history_end; i++) {
        bool seen = history[i] < 0 || (uint32_t)history[i] >= n;
        for (uint32_t j = row->history_begin; j < i && !seen; j++) {
            seen = history[j] == history[i];
        }
        if (!seen) {
            float *logit = &x[history[i]];
            *logit =
                *logit < 0 ? *logit * row->repetition_penalty : *logit / row->repetition_penalty;
        }
    }
}

/* Turns logits into unnormalised weights, 1 for the best, 0 for what the controls drop. */
static struct prefix weigh(const struct cm_sample_row *row, const int32_t *history, float *x,
                           uint32_t n, float *highest_logit)
{
    for (uint32_t i = 0; i < n; i++) {
        x[i] = isnan(x[i]) ? -INFINITY : x[i];
    }
    if (row->repetition_penalty != 1.0f) {
        penalise(row, history, x, n);
    }
    uint32_t best = best_id(x, n);
    *highest_logit = x[best];
    if (row->temperature <= 0.0f || !isfinite(x[best])) {
        memset(x, 0, n * sizeof *x);
        x[best] = 1.0f;
        return (struct prefix){ 1.0f, best, 1.0 };
    }
    for (uint32_t i = 0; i < n; i++) {
        x[i] /= row->temperature;
    }
    float highest = x[best];
    float lowest = row->top_k > 0 && row->top_k < n ? kth_largest(x, n, row->top_k) : -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        float weight = x[i] == highest ? 1.0f : expf(x[i] - highest);
        x[i] = x[i] >= lowest && weight >= row->min_p ? weight : 0.0f;
    }
    return (struct prefix){ 0.0f, n, mass_at_least(x, n, 0.0f) };
}

static struct prefix controls(const struct cm_sample_row *row, const int32_t *history, float *x,
                              uint32_t n, float *highest_logit)
{
    struct cm_sample_row before_min_p = *row;
    before_min_p.min_p = 0.0f;
    struct prefix kept = weigh(&before_min_p, history, x, n, highest_logit);
    if (row->top_p < 1.0f) {
        kept = prefix_over(x, n, nextafter(row->top_p * kept.mass, -1.0));
        drop_after(x, n, &kept);
    }
    if (row->min_p > 0.0f) {
        kept = (struct prefix){ fminf(row->min_p, 1.0f), n, 0.0 };
        drop_after(x, n, &kept);
        kept.mass = mass_at_least(x, n, 0.0f);
    }
    return kept;
}

static double log_sum_exp(const float *x, uint32_t n)
{
    float highest = x[best_id(x, n)];
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += isnan(x[i]) ? 0.0 : exp((double)x[i] - highest);
    }
    return highest + log(sum);
}

/* The logit that a weight came from, before temperature and penalty. */
static double logit_of(const struct cm_sample_row *row, const int32_t *history, double highest,
                       const struct prefix *token)
{
    double logit = highest + (double)row->temperature * log(token->weight);
    for (uint32_t i = row->history_begin; i < row->history_end; i++) {
        if (history[i] == (int32_t)token->last_id) {
            return logit < 0 ? logit / row->repetition_penalty : logit * row->repetition_penalty;
        }
    }
    return logit;
}

void cm_op_sample(struct cm_backend *backend, const struct cm_sample_args *args)
{
    (void)backend;
    for (uint32_t r = 0; r < args->n_rows; r++) {
        const struct cm_sample_row *row = &args->rows[r];
        float *x = (float *)args->logits + (size_t)r * args->n_vocab;
        double log_sum = row->want_logprob ? log_sum_exp(x, args->n_vocab) : 0.0;
        float highest;
        struct prefix kept = controls(row, args->history, x, args->n_vocab, &highest);
        struct prefix drawn = prefix_over(x, args->n_vocab, row->uniform * kept.mass);
        args->tokens[r] = (int32_t)drawn.last_id;
        args->logprobs[r] = row->want_logprob
                                ? (float)(logit_of(row, args->history, highest, &drawn) - log_sum)
                                : NAN;
    }
}

void cm_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                float *probabilities)
{
    (void)backend;
    for (uint32_t r = 0; r < args->n_rows; r++) {
        float *x = probabilities + (size_t)r * args->n_vocab;
        memcpy(x, args->logits + (size_t)r * args->n_vocab, args->n_vocab * sizeof *x);
        float highest;
        struct prefix kept = controls(&args->rows[r], args->history, x, args->n_vocab, &highest);
        for (uint32_t i = 0; i < args->n_vocab; i++) {
            x[i] = (float)(x[i] / kept.mass);
        }
    }
}
