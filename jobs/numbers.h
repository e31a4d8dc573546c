/* Numbers in text, read the same way in copy and in facts: "1,299.00", "１２９９" and "1299" are
 * one number, "50%" is not "50". */
#ifndef CM_JOBS_NUMBERS_H
#define CM_JOBS_NUMBERS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

enum { CM_NUMBER_BYTES = 40 };

/* A set of numbers; zero-initialise, release with cm_numbers_deinit. */
struct cm_numbers {
    char (*keys)[CM_NUMBER_BYTES];
    size_t count;
    size_t capacity;
};

void cm_numbers_deinit(struct cm_numbers *numbers);

/* Adds every number of a fact. A number that can be read in two ways ("1.299") is added in both. */
enum cm_status cm_numbers_add(struct cm_numbers *numbers, struct cm_span fact) CM_MUST_CHECK;

/* The first number of `text` from `*at` on that the set does not hold, as it stands in the text;
 * `*at` moves past it. False when there is none. */
bool cm_numbers_next_missing(const struct cm_numbers *numbers, struct cm_span text, size_t *at,
                             struct cm_span *missing);

#endif
