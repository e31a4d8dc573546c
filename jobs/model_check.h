/* Holds the engine to reference logits and greedy tokens: the second half of `copymill model
 * check`. */
#ifndef CM_JOBS_MODEL_CHECK_H
#define CM_JOBS_MODEL_CHECK_H

#include "host/engine.h"
#include "jobs/agreement.h"
#include "loaders/reference.h"

#include <stdbool.h>
#include <stddef.h>

struct cm_engine_check {
    char variant[64]; /* of the engine that was held to the reference */
    struct cm_agreement agreement;
    size_t greedy_count; /* tokens asked for while the reference's margin is clear */
    size_t greedy_same;
    size_t cuts_count;  /* ways of computing the same text, beside the first */
    size_t cuts_same;   /* of these, with the same bytes */
    size_t beams_count; /* texts of beam searches */
    size_t beams_same;  /* of these, with the same tokens and nearly the same score */
};

/* What agreement is asked for; INFINITY where a figure is only reported. */
struct cm_check_rules {
    double difference_max;
    double difference_mean_max;
    double choices_min; /* share of the clear first choices */
    bool greedy_is_asked;
};
struct cm_check_rules cm_check_rules(enum cm_engine_precision precision,
                                     enum cm_reference_kind kind);
bool cm_engine_check_agrees(const struct cm_engine_check *check,
                            const struct cm_check_rules *rules);

/* First choices count where the reference's margin is clear. Opens an engine with these options,
 * but for the sizes, which the reference decides; that takes its time and memory. */
enum cm_status cm_engine_check(const struct cm_engine_options *options,
                               const struct cm_reference *reference, struct cm_engine_check *check,
                               struct cm_error *error) CM_MUST_CHECK;

#endif
