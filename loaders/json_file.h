/* JSON files of a model folder, through jansson: of bounded size, valid UTF-8, no duplicate keys,
 * allocated through base/memory.h. */
#ifndef CM_LOADERS_JSON_FILE_H
#define CM_LOADERS_JSON_FILE_H

#include "base/status.h"
#include "base/text.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_JSON_FILE_BYTES_MAX = 256 << 20 };

/* The document is an object. `path` is only named in messages. */
enum cm_status cm_json_parse(const char *text, size_t length, const char *path, json_t **document,
                             struct cm_error *error) CM_MUST_CHECK;

enum cm_json_integers {
    CM_JSON_INTEGERS,          /* one of more than 64 bits is an error */
    CM_JSON_INTEGERS_AS_REALS, /* for files that stand for "no limit" by 10^30 */
};

/* CM_NOT_FOUND where there is no such file. */
enum cm_status cm_json_open(const char *path, enum cm_json_integers integers, json_t **document,
                            struct cm_error *error) CM_MUST_CHECK;
void cm_json_close(void *document);

/* The text of a string value; the empty span for anything else. */
struct cm_span cm_json_span(const json_t *string);

/* NULL where the key is absent or null. */
json_t *cm_json_get(const json_t *object, const char *key);

/* Typed values, as cm_gguf_uint and its kin: CM_NOT_FOUND without the key (or null),
 * CM_INVALID_DATA with a message that names file, key, value and range. */
enum cm_status cm_json_uint(const json_t *object, const char *path, const char *key, uint32_t min,
                            uint32_t max, uint32_t *value, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_json_float(const json_t *object, const char *path, const char *key, double min,
                             double max, float *value, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_json_bool(const json_t *object, const char *path, const char *key, bool *value,
                            struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_json_string(const json_t *object, const char *path, const char *key,
                              struct cm_span *value, struct cm_error *error) CM_MUST_CHECK;

#endif
