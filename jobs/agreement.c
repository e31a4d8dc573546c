#include "jobs/agreement.h"

#include <math.h>

void cm_agreement_add_value(struct cm_agreement *agreement, float logit, float reference)
{
    double difference = fabs((double)logit - (double)reference);
    /* NaN compares as false with everything, so it is caught by name. */
    if (isnan(difference)) {
        difference = INFINITY;
    }
    agreement->difference_max = fmax(agreement->difference_max, difference);
    agreement->difference_sum += difference;
    agreement->values_count++;
}

void cm_agreement_add_choice(struct cm_agreement *agreement, int32_t choice, int32_t reference,
                             double margin, double margin_min)
{
    if (margin > margin_min) {
        agreement->choices_count++;
        agreement->choices_same += choice == reference;
    }
}

int32_t cm_logits_first(const float *logits, size_t n_vocab)
{
    size_t first = 0;
    for (size_t i = 1; i < n_vocab; i++) {
        first = logits[i] > logits[first] ? i : first;
    }
    return (int32_t)first;
}

/* log(sum(exp(logits))) */
static double log_total(const float *logits, size_t n_vocab)
{
    double highest = logits[cm_logits_first(logits, n_vocab)];
    double total = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        total += exp(logits[i] - highest);
    }
    return highest + log(total);
}

double cm_logits_logprob(const float *logits, size_t n_vocab, int32_t token)
{
    return logits[token] - log_total(logits, n_vocab);
}

double cm_logits_mean_logprob(const float *logits, size_t n_vocab, const int32_t *tokens,
                              size_t tokens_count)
{
    double sum = 0;
    for (size_t i = 0; i + 1 < tokens_count; i++) {
        sum += cm_logits_logprob(logits + i * n_vocab, n_vocab, tokens[i + 1]);
    }
    return tokens_count < 2 ? 0 : sum / (double)(tokens_count - 1);
}

static double divergence(const float *logits, const float *reference, size_t n_vocab)
{
    double total = log_total(logits, n_vocab);
    double reference_total = log_total(reference, n_vocab);
    double sum = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        double expected = reference[i] - reference_total;
        sum += exp(expected) * (expected - (logits[i] - total));
    }
    return sum;
}

void cm_agreement_add_row(struct cm_agreement *agreement, const float *logits,
                          const float *reference, size_t n_vocab, double margin_min)
{
    for (size_t i = 0; i < n_vocab; i++) {
        cm_agreement_add_value(agreement, logits[i], reference[i]);
    }
    agreement->divergence_sum += divergence(logits, reference, n_vocab);
    agreement->divergence_rows_count++;

    int32_t first = cm_logits_first(reference, n_vocab);
    double second = -INFINITY;
    for (size_t i = 0; i < n_vocab; i++) {
        second = (int32_t)i == first ? second : fmax(second, reference[i]);
    }
    cm_agreement_add_choice(agreement, cm_logits_first(logits, n_vocab), first,
                            reference[first] - second, margin_min);
}

void cm_agreement_add_logprob(struct cm_agreement *agreement, double mean_logprob, double reference)
{
    double difference = fabs(mean_logprob - reference);
    agreement->logprob_difference_max =
        fmax(agreement->logprob_difference_max, isnan(difference) ? INFINITY : difference);
}

double cm_agreement_difference_mean(const struct cm_agreement *agreement)
{
    return agreement->values_count == 0
               ? 0
               : agreement->difference_sum / (double)agreement->values_count;
}

double cm_agreement_divergence_mean(const struct cm_agreement *agreement)
{
    return agreement->divergence_rows_count == 0
               ? 0
               : agreement->divergence_sum / (double)agreement->divergence_rows_count;
}
