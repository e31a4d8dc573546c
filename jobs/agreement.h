/* How far logits are from a reference: differences, first choices, log-probabilities and
 * Kullback-Leibler divergence, summed up row by row. */
#ifndef CM_JOBS_AGREEMENT_H
#define CM_JOBS_AGREEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise. */
struct cm_agreement {
    double difference_max; /* of single logits; infinite where one is not finite */
    double difference_sum;
    uint64_t values_count;
    uint64_t choices_count; /* rows whose first choice is clear in the reference */
    uint64_t choices_same;
    double divergence_sum; /* KL(reference || logits) in nats */
    uint64_t divergence_rows_count;
    double logprob_difference_max; /* of the mean log-probability of a text */
};

/* One logit. */
void cm_agreement_add_value(struct cm_agreement *agreement, float logit, float reference);

/* The first choice of a row, counted unless the reference's margin over the second is too small to
 * ask for the same. */
void cm_agreement_add_choice(struct cm_agreement *agreement, int32_t choice, int32_t reference,
                             double margin, double margin_min);

/* A whole row: values, divergence and first choice. */
void cm_agreement_add_row(struct cm_agreement *agreement, const float *logits,
                          const float *reference, size_t n_vocab, double margin_min);

void cm_agreement_add_logprob(struct cm_agreement *agreement, double mean_logprob,
                              double reference);

double cm_agreement_difference_mean(const struct cm_agreement *agreement);
double cm_agreement_divergence_mean(const struct cm_agreement *agreement);

int32_t cm_logits_first(const float *logits, size_t n_vocab);
double cm_logits_logprob(const float *logits, size_t n_vocab, int32_t token);

/* Mean log-probability of tokens[1...], where logits row i predicts tokens[i + 1]; 0 for fewer than
 * two tokens. */
double cm_logits_mean_logprob(const float *logits, size_t n_vocab, const int32_t *tokens,
                              size_t tokens_count);

#endif
