#include "jobs/export/edited_fields.h"

#include "base/text.h"

#include <string.h>

bool cm_edited_fields_is_part(const char *name)
{
    return strcmp(name, "question") != 0 && strcmp(name, "question_id") != 0;
}

/* The next line that is not empty; false at the end. */
static bool next_line(const char **text, struct cm_span *line)
{
    while (**text == '\n') {
        (*text)++;
    }
    *line = (struct cm_span){ *text, strcspn(*text, "\n") };
    *text += line->length;
    return line->length > 0;
}

static size_t count_lines(const char *text)
{
    struct cm_span line;
    size_t count = 0;
    while (next_line(&text, &line)) {
        count++;
    }
    return count;
}

/* Takes a value's line from both texts; false where the generated one is another. */
static bool replace(json_t *value, const char **generated, const char **edited,
                    enum cm_status *status)
{
    struct cm_span before;
    struct cm_span after;
    const char *text = json_string_value(value);
    if (text == NULL || !next_line(generated, &before) || !cm_span_equal_text(before, text) ||
        !next_line(edited, &after)) {
        return false;
    }
    if (json_string_setn(value, after.data, after.length) != 0) {
        *status = CM_OUT_OF_MEMORY;
    }
    return *status == CM_OK;
}

static bool replace_all(json_t *fields, const char *generated, const char *edited,
                        enum cm_status *status)
{
    const char *name;
    json_t *value;
    json_object_foreach(fields, name, value)
    {
        size_t index;
        json_t *item;
        if (!cm_edited_fields_is_part(name)) {
            continue;
        }
        if (!json_is_array(value) && !replace(value, &generated, &edited, status)) {
            return false;
        }
        json_array_foreach(value, index, item)
        {
            if (!replace(item, &generated, &edited, status)) {
                return false;
            }
        }
    }
    struct cm_span rest;
    return !next_line(&generated, &rest);
}

enum cm_status cm_edited_fields_apply(json_t *fields, const char *generated, const char *edited)
{
    enum cm_status status = CM_OK;
    if (count_lines(generated) != count_lines(edited)) {
        return CM_NOT_FOUND;
    }
    json_t *changed = json_deep_copy(fields);
    if (changed == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    bool matched = replace_all(changed, generated, edited, &status);
    if (status == CM_OK && !matched) {
        status = CM_NOT_FOUND;
    }
    if (status == CM_OK && json_object_update(fields, changed) != 0) {
        status = CM_OUT_OF_MEMORY;
    }
    json_decref(changed);
    return status;
}
