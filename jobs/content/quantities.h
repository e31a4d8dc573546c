/* Numbers with the units behind them: "500 ml" is half a litre, and neither 500 g nor 500. */
#ifndef CM_JOBS_CONTENT_QUANTITIES_H
#define CM_JOBS_CONTENT_QUANTITIES_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

struct cm_unit; /* of the table in quantities.c */

struct cm_quantity {
    double value;
    const struct cm_unit *unit; /* NULL: none that is known */
    bool is_untold;             /* a fact's: a measure whose unit it does not tell */
    struct cm_span span;        /* number and unit in the text */
};

/* Zero-initialise; release with cm_quantities_deinit. */
struct cm_quantities {
    struct cm_quantity *items;
    size_t count;
    size_t capacity;
};

void cm_quantities_deinit(struct cm_quantities *quantities);

/* Every number of `text`, which is borrowed. CM_OUT_OF_MEMORY only. */
enum cm_status cm_quantities_fill(struct cm_quantities *quantities,
                                  struct cm_span text) CM_MUST_CHECK;

/* The same of facts, a line each, name and value. */
enum cm_status cm_quantities_fill_facts(struct cm_quantities *quantities,
                                        struct cm_span facts) CM_MUST_CHECK;

/* Whether a fact says the same in another unit of the same kind: 1.5 l for 1500 ml, within 2 %. */
bool cm_quantities_hold_converted(const struct cm_quantities *facts,
                                  const struct cm_quantity *quantity);

/* Whether the facts hold the number, but only with units that mean something else, or as a measure
 * whose unit they do not tell. */
bool cm_quantities_contradict(const struct cm_quantities *facts,
                              const struct cm_quantity *quantity);

#endif
