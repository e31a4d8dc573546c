/* Numbers in text, read the same way in copy and in facts: "1,299.00", "１２９９" and "1299" are
 * one number, "50%" is not "50", and "12 oz" not "12 cm". Facts may also write them as words. */
#ifndef CM_JOBS_NUMBERS_H
#define CM_JOBS_NUMBERS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_NUMBER_BYTES = 40 };

struct cm_number_key {
    char text[CM_NUMBER_BYTES]; /* "1299", "12.5", "50%"; "½" for a character that is a number */
    uint64_t units;             /* those it stands before, for cm_unit_allowed */
};

/* A set of numbers; zero-initialise, release with cm_numbers_deinit. */
struct cm_numbers {
    struct cm_number_key *keys;
    size_t count;
    size_t capacity;
};

void cm_numbers_deinit(struct cm_numbers *numbers);

/* Adds every number of a fact, in digits or words. One that can be read in two ways ("1.299") is
 * added in both. */
enum cm_status cm_numbers_add(struct cm_numbers *numbers, struct cm_span fact) CM_MUST_CHECK;

/* The same of a measure whose unit the fact does not tell: its numbers go with no unit. */
enum cm_status cm_numbers_add_untold(struct cm_numbers *numbers, struct cm_span fact) CM_MUST_CHECK;

/* The first number of `text` from `*at` on that the set does not hold, as it stands in the text;
 * `*at` moves past it. False when there is none. */
bool cm_numbers_next_missing(const struct cm_numbers *numbers, struct cm_span text, size_t *at,
                             struct cm_span *missing);

#endif
