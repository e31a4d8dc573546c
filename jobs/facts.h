/* What a prompt may say about an item or a segment: values cleaned to one line of plain text, and
 * lists of "name: value" without the columns that only machines need (codes, links, stock). */
#ifndef CM_JOBS_FACTS_H
#define CM_JOBS_FACTS_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/catalog.h"
#include "loaders/segments.h"

#include <stdbool.h>

/* Most characters of a whole list; a fact that would go past it is left out. */
enum { CM_FACTS_CHARACTERS_MAX = 1500 };

/* Appends `value` as data: white space and line ends become single spaces, control and invisible
 * formatting characters are removed, and it ends after `characters_max` characters. */
enum cm_status cm_facts_append_value(struct cm_text *text, struct cm_span value,
                                     size_t characters_max) CM_MUST_CHECK;

/* False for identifiers, links, stock, dates and the like: nothing a reader of copy wants. */
bool cm_facts_is_readable(const struct cm_attribute *attribute);

/* Brand, category and the readable attributes, a line each; the title, the price and the old
 * description are left to the template. `language` chooses the words "Brand" and "Category". */
enum cm_status cm_facts_append_item(struct cm_text *text, const struct cm_item *item,
                                    const char *language) CM_MUST_CHECK;

/* Every column but the id and the language, a line each. */
enum cm_status cm_facts_append_segment(struct cm_text *text,
                                       const struct cm_segment *segment) CM_MUST_CHECK;

#endif
