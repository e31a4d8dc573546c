#include "loaders/json_flatten.h"

#include "loaders/json_memory.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLAT_BYTES_MAX = 2 * CM_JSON_ELEMENT_BYTES_MAX, NAME_BYTES_MAX = 1024 };

void cm_json_flat_init(struct cm_json_flat *flat)
{
    flat->bytes = CM_TEXT_INIT(FLAT_BYTES_MAX);
    flat->name = CM_TEXT_INIT(NAME_BYTES_MAX);
}

void cm_json_flat_deinit(struct cm_json_flat *flat)
{
    cm_text_deinit(&flat->bytes);
    cm_text_deinit(&flat->name);
}

static void note_limit(struct cm_json_flat *flat, const char *what)
{
    snprintf(flat->problem, sizeof flat->problem, "%s", what);
}

/* Puts over a limit into the problem; only a lack of memory goes on as an error. */
static enum cm_status soften(struct cm_json_flat *flat, enum cm_status status)
{
    if (status == CM_LIMIT) {
        note_limit(flat, "has names or values that are too long");
        return CM_OK;
    }
    return status;
}

/* The shortest decimal that reads back as the same number: 49.99, not 49.990000000000002. */
static enum cm_status append_real(struct cm_text *text, double value)
{
    enum { DIGITS_MIN = 15, DIGITS_MAX = 17 };
    char digits[40];
    for (int precision = DIGITS_MIN; precision <= DIGITS_MAX; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) {
            break;
        }
    }
    return cm_text_append_string(text, digits);
}

static enum cm_status append_scalar(struct cm_text *text, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        return cm_text_append(text, json_string_value(value), json_string_length(value));
    case JSON_INTEGER:
        return cm_text_printf(text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL:
        return append_real(text, json_real_value(value));
    case JSON_TRUE:
        return cm_text_append_string(text, "true");
    case JSON_FALSE:
        return cm_text_append_string(text, "false");
    default:
        return CM_OK;
    }
}

static bool is_container(const json_t *value)
{
    return json_is_object(value) || json_is_array(value);
}

/* Scalars of an array joined with ", ", or the scalar itself. */
static enum cm_status append_value(struct cm_text *text, const json_t *value)
{
    if (!json_is_array(value)) {
        return append_scalar(text, value);
    }
    enum cm_status status = CM_OK;
    size_t start = text->length;
    for (size_t i = 0; status == CM_OK && i < json_array_size(value); i++) {
        const json_t *element = json_array_get(value, i);
        if (is_container(element) || json_is_null(element)) {
            continue;
        }
        if (text->length > start) {
            status = cm_text_append_string(text, ", ");
        }
        if (status == CM_OK) {
            status = append_scalar(text, element);
        }
    }
    return status;
}

static enum cm_status add_pair(struct cm_json_flat *flat, struct cm_span name, const json_t *value)
{
    if (flat->pairs_count == CM_JSON_PAIRS_MAX) {
        note_limit(flat, "has more than 1024 values");
        return CM_OK;
    }
    size_t before = flat->bytes.length;
    enum cm_status status = cm_text_append_span(&flat->bytes, name);
    size_t name_end = flat->bytes.length;
    if (status == CM_OK) {
        status = append_value(&flat->bytes, value);
    }
    if (status != CM_OK || flat->bytes.length == name_end) {
        flat->bytes.length = before;
        return status;
    }
    flat->ends[2 * flat->pairs_count] = name_end;
    flat->ends[2 * flat->pairs_count + 1] = flat->bytes.length;
    flat->pairs_count++;
    return CM_OK;
}

static const json_t *first_of(const json_t *object, const char *const *names)
{
    for (; *names != NULL; names++) {
        const json_t *value = json_object_get(object, *names);
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}

/* [{"name": "Color", "value": "red"}, ...] as shop systems write attributes and options. */
static enum cm_status add_named_values(struct cm_json_flat *flat, const json_t *array)
{
    static const char *const names[] = { "name", "key", "label", NULL };
    static const char *const values[] = { "value", "values", "options", "option", NULL };
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < json_array_size(array); i++) {
        const json_t *element = json_array_get(array, i);
        const json_t *name = json_is_object(element) ? first_of(element, names) : NULL;
        const json_t *value = json_is_object(element) ? first_of(element, values) : NULL;
        if (json_is_string(name) && value != NULL && !json_is_object(value)) {
            struct cm_span span = { json_string_value(name), json_string_length(name) };
            status = add_pair(flat, span, value);
        }
    }
    return status;
}

static bool holds_objects(const json_t *array)
{
    return json_is_object(json_array_get(array, 0));
}

static enum cm_status add_object(struct cm_json_flat *flat, json_t *object);

static enum cm_status add_member(struct cm_json_flat *flat, const char *key, json_t *value)
{
    size_t prefix_length = flat->name.length;
    enum cm_status status = prefix_length > 0 ? cm_text_append_char(&flat->name, '.') : CM_OK;
    if (status == CM_OK) {
        status = cm_text_append_string(&flat->name, key);
    }
    if (status == CM_OK) {
        if (json_is_object(value)) {
            status = add_object(flat, value);
        } else if (json_is_array(value) && holds_objects(value)) {
            status = add_named_values(flat, value);
        } else {
            status = add_pair(flat, cm_text_span(&flat->name), value);
        }
    }
    flat->name.length = prefix_length;
    return soften(flat, status);
}

/* Recursion is bounded: the reader refuses elements deeper than CM_JSON_DEPTH_MAX. */
static enum cm_status add_object(struct cm_json_flat *flat, json_t *object)
{
    enum cm_status status = CM_OK;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        status = add_member(flat, key, value);
        if (status != CM_OK) {
            break;
        }
    }
    return status;
}

static void point_pairs(struct cm_json_flat *flat)
{
    const char *bytes = cm_text_string(&flat->bytes);
    size_t start = 0;
    for (size_t i = 0; i < flat->pairs_count; i++) {
        size_t name_end = flat->ends[2 * i];
        size_t value_end = flat->ends[2 * i + 1];
        flat->pairs[i].name = (struct cm_span){ bytes + start, name_end - start };
        flat->pairs[i].value = (struct cm_span){ bytes + name_end, value_end - name_end };
        start = value_end;
    }
}

enum cm_status cm_json_flat_parse(struct cm_json_flat *flat, struct cm_span text)
{
    cm_text_clear(&flat->bytes);
    cm_text_clear(&flat->name);
    flat->pairs_count = 0;
    flat->problem[0] = '\0';
    cm_json_memory_begin();

    json_error_t reason;
    json_t *root = json_loadb(text.data, text.length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &reason);
    if (cm_json_memory_failed()) {
        json_decref(root);
        return CM_OUT_OF_MEMORY;
    }
    if (root == NULL) {
        snprintf(flat->problem, sizeof flat->problem, "is not valid JSON: %s", reason.text);
        return CM_OK;
    }
    enum cm_status status = CM_OK;
    if (json_is_object(root)) {
        status = add_object(flat, root);
    } else {
        note_limit(flat, "is no JSON object; write it as {\"title\": ...}");
    }
    json_decref(root);
    point_pairs(flat);
    return status;
}
