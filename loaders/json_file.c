#include "loaders/json_file.h"

#include "loaders/file_map.h"
#include "loaders/json_memory.h"

#include <inttypes.h>

static enum cm_status parse(const char *text, size_t length, size_t flags, const char *path,
                            json_t **document, struct cm_error *error)
{
    cm_json_memory_begin();
    json_error_t problem;
    json_t *parsed = json_loadb(text, length, flags | JSON_REJECT_DUPLICATES, &problem);
    if (cm_json_memory_failed()) {
        json_decref(parsed); /* which may be there, with a value left out */
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory while it was parsed", path);
    }
    if (parsed == NULL) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: line %d, column %d: %s", path,
                            problem.line, problem.column, problem.text);
    }
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return cm_error_set(error, CM_INVALID_DATA, "%s: is no JSON object", path);
    }
    *document = parsed;
    return CM_OK;
}

enum cm_status cm_json_parse(const char *text, size_t length, const char *path, json_t **document,
                             struct cm_error *error)
{
    return parse(text, length, 0, path, document, error);
}

enum cm_status cm_json_open(const char *path, enum cm_json_integers integers, json_t **document,
                            struct cm_error *error)
{
    size_t flags = integers == CM_JSON_INTEGERS_AS_REALS ? JSON_DECODE_INT_AS_REAL : 0;
    struct cm_file_map *map;
    enum cm_status status = cm_file_map_open(path, &map, error);
    if (status != CM_OK) {
        return status;
    }
    size_t bytes = cm_file_map_bytes(map);
    if (bytes > CM_JSON_FILE_BYTES_MAX) {
        status = cm_error_set(error, CM_LIMIT, "%s: has %zu bytes; the limit is %d", path, bytes,
                              CM_JSON_FILE_BYTES_MAX);
    } else {
        status = parse((const char *)cm_file_map_data(map), bytes, flags, path, document, error);
    }
    cm_file_map_close(map);
    return status;
}

void cm_json_close(void *document)
{
    json_decref(document);
}

struct cm_span cm_json_span(const json_t *string)
{
    if (!json_is_string(string)) {
        return (struct cm_span){ "", 0 };
    }
    return (struct cm_span){ json_string_value(string), json_string_length(string) };
}

json_t *cm_json_get(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum cm_status find_required(const json_t *object, const char *path, const char *key,
                                    const json_t **value, struct cm_error *error)
{
    *value = cm_json_get(object, key);
    if (*value == NULL) {
        return cm_error_set(error, CM_NOT_FOUND, "%s: %s is missing", path, key);
    }
    return CM_OK;
}

enum cm_status cm_json_uint(const json_t *object, const char *path, const char *key, uint32_t min,
                            uint32_t max, uint32_t *value, struct cm_error *error)
{
    const json_t *found;
    enum cm_status status = find_required(object, path, key, &found, error);
    if (status != CM_OK) {
        return status;
    }
    if (!json_is_integer(found)) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %s is no whole number; expected %" PRIu32 " to %" PRIu32, path,
                            key, min, max);
    }
    json_int_t number = json_integer_value(found);
    if (number < (json_int_t)min || number > (json_int_t)max) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %s is %" JSON_INTEGER_FORMAT "; expected %" PRIu32 " to %" PRIu32,
                            path, key, number, min, max);
    }
    *value = (uint32_t)number;
    return CM_OK;
}

enum cm_status cm_json_float(const json_t *object, const char *path, const char *key, double min,
                             double max, float *value, struct cm_error *error)
{
    const json_t *found;
    enum cm_status status = find_required(object, path, key, &found, error);
    if (status != CM_OK) {
        return status;
    }
    double number = json_number_value(found);
    if (!json_is_number(found) || !(number >= min && number <= max)) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is %g; expected a number from %g to %g",
                            path, key, number, min, max);
    }
    *value = (float)number;
    return CM_OK;
}

enum cm_status cm_json_bool(const json_t *object, const char *path, const char *key, bool *value,
                            struct cm_error *error)
{
    const json_t *found;
    enum cm_status status = find_required(object, path, key, &found, error);
    if (status != CM_OK) {
        return status;
    }
    if (!json_is_boolean(found)) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is neither true nor false", path, key);
    }
    *value = json_is_true(found);
    return CM_OK;
}

enum cm_status cm_json_string(const json_t *object, const char *path, const char *key,
                              struct cm_span *value, struct cm_error *error)
{
    const json_t *found;
    enum cm_status status = find_required(object, path, key, &found, error);
    if (status != CM_OK) {
        return status;
    }
    if (!json_is_string(found)) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is no string", path, key);
    }
    *value = cm_json_span(found);
    return CM_OK;
}
