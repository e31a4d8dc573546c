/* Text for a terminal: how wide it is and what of it fits. Columns are those of utf8proc_charwidth:
 * two for ideographs and emoji, none for combining marks. */
#ifndef CM_JOBS_DISPLAY_TEXT_H
#define CM_JOBS_DISPLAY_TEXT_H

#include "base/text.h"

#include <stdint.h>

int cm_display_width(struct cm_span text);

/* The longest start of `text` that is at most `columns` wide. */
struct cm_span cm_display_cut(struct cm_span text, int columns);

/* Copies as much as fits, with line ends as spaces and without control characters: text of a model
 * must not move the cursor. Always terminated. */
void cm_display_one_line(struct cm_span text, char *out, size_t out_bytes);

/* "1,234,567" */
void cm_display_count(uint64_t count, char out[40]);

#endif
