/* Measures written one way: "500ML", "500 milliliters" and "５００ ml" are "500 ml". The number and
 * the unit stay what they were; nothing is converted, so that a copy can quote the fact.
 */
#ifndef CM_JOBS_PREPARE_UNITS_H
#define CM_JOBS_PREPARE_UNITS_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>

/* Whether an attribute of this name is a measure: "Net weight", "容量". */
bool cm_units_is_measure(const char *attribute_name);

/* Appends `value` (UTF-8) with every number and unit in the usual form: one space between ("1.5
 * kg"), none in Chinese ("1.5kg", "500毫升"). `is_measure`: single letters are units too
 * ("200W" of a power, not of a colour code). CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_units_append(struct cm_text *text, struct cm_span value, bool chinese,
                               bool is_measure) CM_MUST_CHECK;

#endif
