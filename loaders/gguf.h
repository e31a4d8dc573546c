/* The GGUF container, versions 2 and 3 (specification: docs/gguf.md of ggml): typed metadata and
 * tensors over a mapped file that nobody vouches for.
 *
 * Opening checks all of it: every count against the bytes that remain before memory is taken for
 * it, every length and offset against the file, every tensor's bytes against its type and shape,
 * and that no two tensors overlap. Entries and tensors point into the map.
 */
#ifndef CM_LOADERS_GGUF_H
#define CM_LOADERS_GGUF_H

#include "base/dtype.h"
#include "base/status.h"
#include "base/text.h"
#include "loaders/file_map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_GGUF_ENTRIES_MAX = 4096,
    CM_GGUF_KEY_BYTES_MAX = 65535,
    CM_GGUF_TENSORS_MAX = 1 << 17,
    CM_GGUF_TENSOR_NAME_BYTES_MAX = 255,
    CM_GGUF_ALIGNMENT_DEFAULT = 32,
    CM_GGUF_ALIGNMENT_MAX = 1 << 16,
};

enum cm_gguf_type {
    CM_GGUF_UINT8,
    CM_GGUF_INT8,
    CM_GGUF_UINT16,
    CM_GGUF_INT16,
    CM_GGUF_UINT32,
    CM_GGUF_INT32,
    CM_GGUF_FLOAT32,
    CM_GGUF_BOOL,
    CM_GGUF_STRING,
    CM_GGUF_ARRAY,
    CM_GGUF_UINT64,
    CM_GGUF_INT64,
    CM_GGUF_FLOAT64,
    CM_GGUF_TYPE_COUNT
};

struct cm_gguf_entry {
    struct cm_span key;
    enum cm_gguf_type type;
    enum cm_gguf_type element_type; /* arrays: never itself an array */
    uint64_t count;                 /* elements of an array, else 1 */
    const uint8_t *data;            /* the value; for an array its first element */
};

struct cm_gguf; /* read-only after opening */

/* True where the file begins as a GGUF file does. */
bool cm_gguf_recognise(const struct cm_file_map *map);

/* `map` and `path` (used in messages) must outlive the result. */
enum cm_status cm_gguf_open(const struct cm_file_map *map, const char *path, struct cm_gguf **gguf,
                            struct cm_error *error) CM_MUST_CHECK;
void cm_gguf_close(struct cm_gguf *gguf);

const char *cm_gguf_path(const struct cm_gguf *gguf);
size_t cm_gguf_tensors_count(const struct cm_gguf *gguf);
const struct cm_tensor *cm_gguf_tensors(const struct cm_gguf *gguf);

/* NULL where there is no such key. */
const struct cm_gguf_entry *cm_gguf_find(const struct cm_gguf *gguf, const char *key);

/* Typed values. CM_NOT_FOUND without the key, CM_INVALID_DATA for another type or a value out of
 * range; both with a message that names file, key, value and range. Integers of any width and sign
 * are accepted, as the writers differ in them. */
enum cm_status cm_gguf_uint(const struct cm_gguf *gguf, const char *key, uint32_t min, uint32_t max,
                            uint32_t *value, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_gguf_float(const struct cm_gguf *gguf, const char *key, double min, double max,
                             float *value, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_gguf_bool(const struct cm_gguf *gguf, const char *key, bool *value,
                            struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_gguf_string(const struct cm_gguf *gguf, const char *key, struct cm_span *value,
                              struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_gguf_array(const struct cm_gguf *gguf, const char *key,
                             enum cm_gguf_type element_type, const struct cm_gguf_entry **entry,
                             struct cm_error *error) CM_MUST_CHECK;

/* The next string of an array of strings: `*cursor` starts at entry->data. */
struct cm_span cm_gguf_next_string(const uint8_t **cursor);

#endif
