/* Cells of shop exports as plain text: HTML tags and entities removed, white space made regular. */
#ifndef CM_LOADERS_MARKUP_H
#define CM_LOADERS_MARKUP_H

#include "base/status.h"
#include "base/text.h"

/* Replaces the content of `plain` by `source` (valid UTF-8) as plain text: no tags, no content of
 * script and style, entities decoded, one space or one line end between words, none at the ends, no
 * other control character than the line end. Never longer than the source. A line end of the source
 * is kept in plain text and is a space where block tags (p, br, li, ...) end the lines. */
enum cm_status cm_markup_to_text(struct cm_span source, struct cm_text *plain) CM_MUST_CHECK;

/* Puts `separator` for every line end, for values that belong on one line. */
enum cm_status cm_markup_join_lines(struct cm_text *plain, const char *separator) CM_MUST_CHECK;

#endif
