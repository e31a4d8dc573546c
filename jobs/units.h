/* Units of measure behind a number, in English and Chinese. "12 oz" is not what a fact "12 cm"
 * says, "12 centimetres" is. A unit is one of fewer than 64 kinds, so that a set of them is a
 * number. */
#ifndef CM_JOBS_UNITS_H
#define CM_JOBS_UNITS_H

#include "base/text.h"
#include "jobs/word_walk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_UNIT_NONE,
    CM_UNIT_PERCENT,
    CM_UNIT_FIRST,
    CM_UNIT_UNTOLD = 63, /* of a bare number whose name says that it is a measure */
};

extern const struct cm_word_list cm_units; /* spellings, lower case */

uint32_t cm_unit_of(int32_t spelling); /* the kind; CM_UNIT_NONE for -1 */

/* Whether nothing can come of a spelling but the unit: "oz", not "m", which begins "mugs" too. */
bool cm_unit_is_clear(int32_t spelling);

/* The unit that stands at `at`, behind spaces and hyphens or at once. */
uint32_t cm_unit_read(struct cm_span text, size_t at);

/* Whether a fact is a measure whose unit it does not tell: "weight", "5". Nobody knows that these
 * are pounds. */
bool cm_unit_is_untold(struct cm_span name, struct cm_span value);

/* What numbers a set of kinds allows: a number that stands bare in the facts goes with every unit,
 * but is no percentage; one whose unit is not told goes with none. */
bool cm_unit_allowed(uint64_t kinds, uint32_t unit);

/* Whether a piece of text can be or begin a unit behind a number. */
bool cm_unit_may_begin(struct cm_span text);

#endif
