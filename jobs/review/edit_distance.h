/* How much a person changed: Levenshtein distance in characters (Unicode code points). Own code
 * because the libraries at hand compare bytes, or sequences of a few dozen characters. */
#ifndef CM_JOBS_REVIEW_EDIT_DISTANCE_H
#define CM_JOBS_REVIEW_EDIT_DISTANCE_H

#include "base/status.h"
#include "base/text.h"

#include <stdint.h>

/* Beyond this many characters that differ in both texts, after what they begin and end with alike
 * is left out, the longer one's length is given: time stays bounded, and such an edit is a new
 * text. */
enum { CM_EDIT_CHARACTERS_MAX = 8192 };

/* CM_OUT_OF_MEMORY only. Both are UTF-8. */
enum cm_status cm_edit_distance(struct cm_span a, struct cm_span b,
                                uint32_t *distance) CM_MUST_CHECK;

#endif
