/* Which numbers a copy may name: those of its item, of the offer that its segment gets, and of the
 * question that it answers. What the fact lock lets through and the score accepts begins here. */
#ifndef CM_JOBS_FACT_NUMBERS_H
#define CM_JOBS_FACT_NUMBERS_H

#include "jobs/numbers.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

struct cm_fact_sources {
    const struct cm_item *item;
    const struct cm_segment *segment;   /* only its offer is a fact of the copy */
    const struct cm_question *question; /* NULL: none */
};

/* CM_OUT_OF_MEMORY. */
enum cm_status cm_fact_numbers_add(struct cm_numbers *numbers,
                                   const struct cm_fact_sources *sources) CM_MUST_CHECK;

/* Every column of a segment: what a copy that repeats them did not invent. CM_OUT_OF_MEMORY. */
enum cm_status cm_fact_numbers_add_segment(struct cm_numbers *numbers,
                                           const struct cm_segment *segment) CM_MUST_CHECK;

/* Whether a segment has a column named offer, promotion or discount. */
bool cm_fact_numbers_has_offer(const struct cm_segment *segment);

#endif
