/* The parts of a text that a person edited as one. A text of several parts has a line for each, in
 * the order of its fields, so an edited one with as many lines has the same parts. */
#ifndef CM_JOBS_EXPORT_EDITED_FIELDS_H
#define CM_JOBS_EXPORT_EDITED_FIELDS_H

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>

/* Changes the values of `fields`, those of `generated`, to the lines of `edited`. CM_NOT_FOUND,
 * with the fields as they were: the lines are no parts, or as many as before. CM_OUT_OF_MEMORY. */
enum cm_status cm_edited_fields_apply(json_t *fields, const char *generated,
                                      const char *edited) CM_MUST_CHECK;

/* Whether a field is a part of the text; others say what the text is about. */
bool cm_edited_fields_is_part(const char *name);

#endif
