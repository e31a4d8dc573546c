/* From what the model wrote to a copy: without white space at its ends and control characters, cut
 * where a stop string begins, and, where the length limit ended it, without the sentence that was
 * begun last. */
#ifndef CM_JOBS_TIDY_H
#define CM_JOBS_TIDY_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

/* An unfinished sentence stays where less than half of the text would be left without it. */
void cm_tidy(struct cm_text *text, const char *const *stops, size_t stops_count, bool unfinished);

#endif
