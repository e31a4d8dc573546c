#include "loaders/gguf.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF files are read as they lie");

enum {
    ENTRY_BYTES_MIN = 8 + 1 + 4 + 1,          /* key length, key, type, smallest value */
    TENSOR_BYTES_MIN = 8 + 1 + 4 + 8 + 4 + 8, /* name, dimensions, type, offset */
};

struct cm_gguf {
    const char *path;
    const uint8_t *data;
    size_t bytes;
    struct cm_gguf_entry *entries;
    size_t entries_count;
    struct cm_tensor *tensors;
    uint64_t *offsets; /* [tensors_count] from the start of the data section */
    char *names;       /* the tensors' names, each terminated */
    size_t tensors_count;
    size_t alignment;
};

/* Where reading has got to; every read checks what remains first. */
struct reader {
    const struct cm_gguf *gguf;
    size_t position;
    struct cm_error *error;
};

static const uint8_t scalar_bytes[CM_GGUF_TYPE_COUNT] = {
    [CM_GGUF_UINT8] = 1,  [CM_GGUF_INT8] = 1,  [CM_GGUF_UINT16] = 2,  [CM_GGUF_INT16] = 2,
    [CM_GGUF_UINT32] = 4, [CM_GGUF_INT32] = 4, [CM_GGUF_FLOAT32] = 4, [CM_GGUF_BOOL] = 1,
    [CM_GGUF_UINT64] = 8, [CM_GGUF_INT64] = 8, [CM_GGUF_FLOAT64] = 8,
};

static const char *const type_names[CM_GGUF_TYPE_COUNT] = {
    "uint8", "int8",   "uint16", "int16",  "uint32", "int32",   "float32",
    "bool",  "string", "array",  "uint64", "int64",  "float64",
};

static size_t remaining(const struct reader *reader)
{
    return reader->gguf->bytes - reader->position;
}

static enum cm_status fail_truncated(const struct reader *reader, const char *what)
{
    return cm_error_set(reader->error, CM_INVALID_DATA,
                        "%s: the file ends inside %s at byte %zu of %zu; it is damaged or not "
                        "completely downloaded",
                        reader->gguf->path, what, reader->position, reader->gguf->bytes);
}

static enum cm_status read_bytes(struct reader *reader, void *out, size_t length, const char *what)
{
    if (remaining(reader) < length) {
        return fail_truncated(reader, what);
    }
    memcpy(out, reader->gguf->data + reader->position, length);
    reader->position += length;
    return CM_OK;
}

static enum cm_status read_string(struct reader *reader, struct cm_span *string, const char *what)
{
    uint64_t length = 0;
    enum cm_status status = read_bytes(reader, &length, sizeof length, what);
    if (status != CM_OK) {
        return status;
    }
    if (length > remaining(reader)) {
        return fail_truncated(reader, what);
    }
    string->data = (const char *)reader->gguf->data + reader->position;
    string->length = (size_t)length;
    reader->position += (size_t)length;
    return CM_OK;
}

static enum cm_status read_type(struct reader *reader, struct cm_span key, enum cm_gguf_type *type)
{
    uint32_t number = 0;
    enum cm_status status = read_bytes(reader, &number, sizeof number, "the metadata");
    if (status != CM_OK) {
        return status;
    }
    if (number >= CM_GGUF_TYPE_COUNT) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: metadata key %.*s has the unknown value type %" PRIu32,
                            reader->gguf->path, (int)key.length, key.data, number);
    }
    *type = (enum cm_gguf_type)number;
    return CM_OK;
}

static enum cm_status skip_elements(struct reader *reader, struct cm_gguf_entry *entry)
{
    entry->data = reader->gguf->data + reader->position;
    if (entry->element_type == CM_GGUF_STRING) {
        if (entry->count > remaining(reader) / sizeof(uint64_t)) {
            return fail_truncated(reader, "an array of the metadata");
        }
        for (uint64_t i = 0; i < entry->count; i++) {
            struct cm_span string;
            enum cm_status status = read_string(reader, &string, "an array of the metadata");
            if (status != CM_OK) {
                return status;
            }
        }
        return CM_OK;
    }
    size_t bytes;
    if (cm_size_mul(entry->count, scalar_bytes[entry->element_type], &bytes) ||
        bytes > remaining(reader)) {
        return fail_truncated(reader, "a value of the metadata");
    }
    reader->position += bytes;
    return CM_OK;
}

static enum cm_status read_value(struct reader *reader, struct cm_gguf_entry *entry)
{
    entry->element_type = entry->type;
    entry->count = 1;
    if (entry->type == CM_GGUF_ARRAY) {
        enum cm_status status = read_type(reader, entry->key, &entry->element_type);
        if (status == CM_OK) {
            status = read_bytes(reader, &entry->count, sizeof entry->count, "the metadata");
        }
        if (status != CM_OK) {
            return status;
        }
        if (entry->element_type == CM_GGUF_ARRAY) {
            return cm_error_set(reader->error, CM_UNSUPPORTED,
                                "%s: metadata key %.*s is an array of arrays", reader->gguf->path,
                                (int)entry->key.length, entry->key.data);
        }
    }
    return skip_elements(reader, entry);
}

static enum cm_status read_entry(struct reader *reader, struct cm_gguf *gguf)
{
    struct cm_gguf_entry *entry = &gguf->entries[gguf->entries_count];
    enum cm_status status = read_string(reader, &entry->key, "a metadata key");
    if (status != CM_OK) {
        return status;
    }
    if (entry->key.length > CM_GGUF_KEY_BYTES_MAX || !cm_utf8_valid_name(entry->key)) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: the name of metadata key %zu is not valid UTF-8 of 1 to %d bytes "
                            "without control characters",
                            gguf->path, gguf->entries_count, CM_GGUF_KEY_BYTES_MAX);
    }
    for (size_t i = 0; i < gguf->entries_count; i++) {
        if (cm_span_equal(gguf->entries[i].key, entry->key)) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: metadata key %.*s occurs twice", gguf->path,
                                (int)entry->key.length, entry->key.data);
        }
    }
    status = read_type(reader, entry->key, &entry->type);
    if (status == CM_OK) {
        status = read_value(reader, entry);
    }
    if (status == CM_OK) {
        gguf->entries_count++;
    }
    return status;
}

static enum cm_status read_dims(struct reader *reader, struct cm_tensor *tensor,
                                struct cm_span name)
{
    uint32_t n_dims = 0;
    enum cm_status status = read_bytes(reader, &n_dims, sizeof n_dims, "the tensor table");
    if (status != CM_OK) {
        return status;
    }
    if (n_dims == 0 || n_dims > CM_TENSOR_DIMS_MAX) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: tensor %.*s has %" PRIu32 " dimensions; expected 1 to %d",
                            reader->gguf->path, (int)name.length, name.data, n_dims,
                            CM_TENSOR_DIMS_MAX);
    }
    tensor->n_dims = n_dims;
    /* The file lists the fastest dimension first, a cm_tensor the slowest. */
    for (uint32_t i = n_dims; i-- > 0;) {
        status = read_bytes(reader, &tensor->dims[i], sizeof tensor->dims[i], "the tensor table");
        if (status != CM_OK) {
            return status;
        }
        if (tensor->dims[i] == 0) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: tensor %.*s has a dimension of 0", reader->gguf->path,
                                (int)name.length, name.data);
        }
    }
    return CM_OK;
}

static enum cm_status read_type_and_offset(struct reader *reader, struct cm_tensor *tensor,
                                           struct cm_span name, uint64_t *offset)
{
    uint32_t type = 0;
    enum cm_status status = read_bytes(reader, &type, sizeof type, "the tensor table");
    if (status == CM_OK) {
        status = read_bytes(reader, offset, sizeof *offset, "the tensor table");
    }
    if (status != CM_OK) {
        return status;
    }
    if (!cm_dtype_from_ggml(type, &tensor->dtype)) {
        return cm_error_set(reader->error, CM_UNSUPPORTED,
                            "%s: tensor %.*s has the ggml type %" PRIu32
                            ", which copymill does not read; use a Q8_0, Q4_K_M or F16 file",
                            reader->gguf->path, (int)name.length, name.data, type);
    }
    status = cm_tensor_bytes(tensor->dtype, tensor->n_dims, tensor->dims, &tensor->bytes);
    if (status == CM_LIMIT) {
        return cm_error_set(reader->error, CM_INVALID_DATA, "%s: the size of tensor %.*s overflows",
                            reader->gguf->path, (int)name.length, name.data);
    }
    if (status != CM_OK) {
        const struct cm_dtype_info *info = cm_dtype_info(tensor->dtype);
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: rows of tensor %.*s hold %" PRIu64
                            " values, no multiple of the %" PRIu32 " of a %s block",
                            reader->gguf->path, (int)name.length, name.data,
                            tensor->dims[tensor->n_dims - 1], info->block_elements, info->name);
    }
    return CM_OK;
}

static enum cm_status read_tensor(struct reader *reader, struct cm_gguf *gguf, struct cm_span *name)
{
    struct cm_tensor *tensor = &gguf->tensors[gguf->tensors_count];
    enum cm_status status = read_string(reader, name, "a tensor name");
    if (status != CM_OK) {
        return status;
    }
    if (name->length > CM_GGUF_TENSOR_NAME_BYTES_MAX || !cm_utf8_valid_name(*name)) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: the name of tensor %zu is not valid UTF-8 of 1 to %d bytes "
                            "without control characters",
                            gguf->path, gguf->tensors_count, CM_GGUF_TENSOR_NAME_BYTES_MAX);
    }
    status = read_dims(reader, tensor, *name);
    if (status == CM_OK) {
        status = read_type_and_offset(reader, tensor, *name, &gguf->offsets[gguf->tensors_count]);
    }
    if (status == CM_OK) {
        gguf->tensors_count++;
    }
    return status;
}

static enum cm_status fail_memory(const struct reader *reader)
{
    return cm_error_set(reader->error, CM_OUT_OF_MEMORY, "%s: out of memory while it was read",
                        reader->gguf->path);
}

/* Names are kept terminated in one block; they occur in the file, so their sum is bounded by it. */
static enum cm_status read_tensors(struct reader *reader, struct cm_gguf *gguf, size_t count)
{
    size_t names_bytes_max = count * (CM_GGUF_TENSOR_NAME_BYTES_MAX + 1);
    if (names_bytes_max > remaining(reader)) {
        names_bytes_max = remaining(reader);
    }
    gguf->tensors = cm_alloc(count, sizeof *gguf->tensors);
    gguf->offsets = cm_alloc(count, sizeof *gguf->offsets);
    gguf->names = cm_alloc(names_bytes_max, 1);
    if (gguf->tensors == NULL || gguf->offsets == NULL || gguf->names == NULL) {
        return fail_memory(reader);
    }
    char *name_end = gguf->names;
    for (size_t i = 0; i < count; i++) {
        struct cm_span name;
        enum cm_status status = read_tensor(reader, gguf, &name);
        if (status != CM_OK) {
            return status;
        }
        memcpy(name_end, name.data, name.length);
        gguf->tensors[i].name = name_end;
        name_end += name.length + 1;
    }
    return CM_OK;
}

struct extent {
    uint64_t begin;
    uint64_t end;
    const char *name;
};

static int compare_extents(const void *left, const void *right)
{
    const struct extent *a = left;
    const struct extent *b = right;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static enum cm_status check_overlap(struct reader *reader, const struct cm_gguf *gguf)
{
    struct extent *extents = cm_alloc(gguf->tensors_count, sizeof *extents);
    if (extents == NULL) {
        return fail_memory(reader);
    }
    for (size_t i = 0; i < gguf->tensors_count; i++) {
        extents[i] = (struct extent){ gguf->offsets[i], gguf->offsets[i] + gguf->tensors[i].bytes,
                                      gguf->tensors[i].name };
    }
    qsort(extents, gguf->tensors_count, sizeof *extents, compare_extents);
    enum cm_status status = CM_OK;
    for (size_t i = 1; i < gguf->tensors_count && status == CM_OK; i++) {
        if (extents[i].begin < extents[i - 1].end) {
            status = cm_error_set(reader->error, CM_INVALID_DATA,
                                  "%s: the data of tensors %s and %s overlap", gguf->path,
                                  extents[i - 1].name, extents[i].name);
        }
    }
    cm_free(extents);
    return status;
}

static enum cm_status place_tensors(struct reader *reader, struct cm_gguf *gguf)
{
    if (gguf->tensors_count == 0) {
        return CM_OK; /* a file of a vocabulary alone need not be padded to its data section */
    }
    size_t start;
    if (cm_size_align(reader->position, gguf->alignment, &start) || start > gguf->bytes) {
        return fail_truncated(reader, "the padding before the tensor data");
    }
    size_t available = gguf->bytes - start;
    for (size_t i = 0; i < gguf->tensors_count; i++) {
        struct cm_tensor *tensor = &gguf->tensors[i];
        uint64_t offset = gguf->offsets[i];
        if (offset % gguf->alignment != 0) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: the data of tensor %s starts at %" PRIu64
                                ", which is not aligned to %zu",
                                gguf->path, tensor->name, offset, gguf->alignment);
        }
        if (offset > available || tensor->bytes > available - offset) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: tensor %s (%zu bytes from %" PRIu64
                                ") reaches past the end of the data (%zu bytes); the file is "
                                "damaged or not completely downloaded",
                                gguf->path, tensor->name, tensor->bytes, offset, available);
        }
        tensor->data = gguf->data + start + offset;
    }
    return check_overlap(reader, gguf);
}

static enum cm_status read_counts(struct reader *reader, size_t *tensors_count,
                                  size_t *entries_count)
{
    const char *path = reader->gguf->path;
    char magic[4] = { 0 };
    uint32_t version = 0;
    uint64_t counts[2] = { 0 };
    enum cm_status status = read_bytes(reader, magic, sizeof magic, "the header");
    if (status == CM_OK && memcmp(magic, "GGUF", sizeof magic) != 0) {
        return cm_error_set(reader->error, CM_INVALID_DATA, "%s: is not a GGUF file", path);
    }
    if (status == CM_OK) {
        status = read_bytes(reader, &version, sizeof version, "the header");
    }
    if (status == CM_OK && version != 2 && version != 3) {
        return cm_error_set(reader->error, CM_UNSUPPORTED,
                            "%s: GGUF version %" PRIu32 " is not supported; expected 2 or 3%s",
                            path, version, (version & 0xffff) == 0 ? " (big-endian file?)" : "");
    }
    if (status == CM_OK) {
        status = read_bytes(reader, counts, sizeof counts, "the header");
    }
    if (status != CM_OK) {
        return status;
    }
    size_t left = remaining(reader);
    if (counts[0] > left / TENSOR_BYTES_MIN || counts[1] > left / ENTRY_BYTES_MIN) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: the header announces %" PRIu64 " tensors and %" PRIu64
                            " metadata keys, more than %zu bytes can hold",
                            path, counts[0], counts[1], left);
    }
    if (counts[0] > CM_GGUF_TENSORS_MAX || counts[1] > CM_GGUF_ENTRIES_MAX) {
        return cm_error_set(reader->error, CM_LIMIT,
                            "%s: the header announces %" PRIu64 " tensors and %" PRIu64
                            " metadata keys; the limits are %d and %d",
                            path, counts[0], counts[1], CM_GGUF_TENSORS_MAX, CM_GGUF_ENTRIES_MAX);
    }
    *tensors_count = (size_t)counts[0];
    *entries_count = (size_t)counts[1];
    return CM_OK;
}

static enum cm_status read_alignment(struct reader *reader, struct cm_gguf *gguf)
{
    uint32_t alignment = CM_GGUF_ALIGNMENT_DEFAULT;
    if (cm_gguf_find(gguf, "general.alignment") != NULL) {
        enum cm_status status = cm_gguf_uint(gguf, "general.alignment", 8, CM_GGUF_ALIGNMENT_MAX,
                                             &alignment, reader->error);
        if (status != CM_OK) {
            return status;
        }
    }
    if ((alignment & (alignment - 1)) != 0) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: general.alignment is %" PRIu32 "; expected a power of two",
                            gguf->path, alignment);
    }
    gguf->alignment = alignment;
    return CM_OK;
}

static enum cm_status read_file(struct reader *reader, struct cm_gguf *gguf)
{
    size_t tensors_count = 0;
    size_t entries_count = 0;
    enum cm_status status = read_counts(reader, &tensors_count, &entries_count);
    if (status != CM_OK) {
        return status;
    }
    gguf->entries = cm_alloc(entries_count, sizeof *gguf->entries);
    if (gguf->entries == NULL) {
        return fail_memory(reader);
    }
    for (size_t i = 0; i < entries_count; i++) {
        status = read_entry(reader, gguf);
        if (status != CM_OK) {
            return status;
        }
    }
    status = read_alignment(reader, gguf);
    if (status == CM_OK) {
        status = read_tensors(reader, gguf, tensors_count);
    }
    return status == CM_OK ? place_tensors(reader, gguf) : status;
}

bool cm_gguf_recognise(const struct cm_file_map *map)
{
    return cm_file_map_bytes(map) >= 4 && memcmp(cm_file_map_data(map), "GGUF", 4) == 0;
}

enum cm_status cm_gguf_open(const struct cm_file_map *map, const char *path, struct cm_gguf **gguf,
                            struct cm_error *error)
{
    struct cm_gguf *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    opened->path = path;
    opened->data = cm_file_map_data(map);
    opened->bytes = cm_file_map_bytes(map);
    struct reader reader = { .gguf = opened, .error = error };
    enum cm_status status = read_file(&reader, opened);
    if (status != CM_OK) {
        cm_gguf_close(opened);
        return status;
    }
    *gguf = opened;
    return CM_OK;
}

void cm_gguf_close(struct cm_gguf *gguf)
{
    if (gguf != NULL) {
        cm_free(gguf->names);
        cm_free(gguf->offsets);
        cm_free(gguf->tensors);
        cm_free(gguf->entries);
        cm_free(gguf);
    }
}

const char *cm_gguf_path(const struct cm_gguf *gguf)
{
    return gguf->path;
}

size_t cm_gguf_tensors_count(const struct cm_gguf *gguf)
{
    return gguf->tensors_count;
}

const struct cm_tensor *cm_gguf_tensors(const struct cm_gguf *gguf)
{
    return gguf->tensors;
}

/* --- Typed values --- */

const struct cm_gguf_entry *cm_gguf_find(const struct cm_gguf *gguf, const char *key)
{
    for (size_t i = 0; i < gguf->entries_count; i++) {
        if (cm_span_equal_text(gguf->entries[i].key, key)) {
            return &gguf->entries[i];
        }
    }
    return NULL;
}

static enum cm_status find_required(const struct cm_gguf *gguf, const char *key,
                                    const struct cm_gguf_entry **entry, struct cm_error *error)
{
    *entry = cm_gguf_find(gguf, key);
    if (*entry == NULL) {
        return cm_error_set(error, CM_NOT_FOUND, "%s: metadata key %s is missing", gguf->path, key);
    }
    return CM_OK;
}

static enum cm_status fail_type(const struct cm_gguf *gguf, const char *key,
                                const struct cm_gguf_entry *entry, const char *expected,
                                struct cm_error *error)
{
    return cm_error_set(error, CM_INVALID_DATA, "%s: %s is of type %s; expected %s", gguf->path,
                        key, type_names[entry->type], expected);
}

/* False for an entry that is no integer. Values above INT64_MAX are out of every range asked for.
 */
static bool integer_value(const struct cm_gguf_entry *entry, int64_t *value)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } raw = { 0 };
    if (entry->type == CM_GGUF_ARRAY || entry->type == CM_GGUF_STRING) {
        return false;
    }
    memcpy(&raw, entry->data, scalar_bytes[entry->type]);
    switch (entry->type) {
    case CM_GGUF_UINT8:
        *value = raw.u8;
        return true;
    case CM_GGUF_INT8:
        *value = raw.i8;
        return true;
    case CM_GGUF_UINT16:
        *value = raw.u16;
        return true;
    case CM_GGUF_INT16:
        *value = raw.i16;
        return true;
    case CM_GGUF_UINT32:
        *value = raw.u32;
        return true;
    case CM_GGUF_INT32:
        *value = raw.i32;
        return true;
    case CM_GGUF_UINT64:
        *value = raw.u64 > INT64_MAX ? INT64_MAX : (int64_t)raw.u64;
        return true;
    case CM_GGUF_INT64:
        *value = raw.i64;
        return true;
    default:
        return false;
    }
}

enum cm_status cm_gguf_uint(const struct cm_gguf *gguf, const char *key, uint32_t min, uint32_t max,
                            uint32_t *value, struct cm_error *error)
{
    const struct cm_gguf_entry *entry;
    enum cm_status status = find_required(gguf, key, &entry, error);
    if (status != CM_OK) {
        return status;
    }
    int64_t number;
    if (!integer_value(entry, &number)) {
        return fail_type(gguf, key, entry, "an integer", error);
    }
    if (number < (int64_t)min || number > (int64_t)max) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %s is %" PRId64 "; expected %" PRIu32 " to %" PRIu32, gguf->path,
                            key, number, min, max);
    }
    *value = (uint32_t)number;
    return CM_OK;
}

enum cm_status cm_gguf_float(const struct cm_gguf *gguf, const char *key, double min, double max,
                             float *value, struct cm_error *error)
{
    const struct cm_gguf_entry *entry;
    enum cm_status status = find_required(gguf, key, &entry, error);
    if (status != CM_OK) {
        return status;
    }
    double number;
    if (entry->type == CM_GGUF_FLOAT32) {
        float single;
        memcpy(&single, entry->data, sizeof single);
        number = (double)single;
    } else if (entry->type == CM_GGUF_FLOAT64) {
        memcpy(&number, entry->data, sizeof number);
    } else {
        return fail_type(gguf, key, entry, "a float", error);
    }
    if (!(number >= min && number <= max)) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is %g; expected %g to %g", gguf->path,
                            key, number, min, max);
    }
    *value = (float)number;
    return CM_OK;
}

enum cm_status cm_gguf_bool(const struct cm_gguf *gguf, const char *key, bool *value,
                            struct cm_error *error)
{
    const struct cm_gguf_entry *entry;
    enum cm_status status = find_required(gguf, key, &entry, error);
    if (status != CM_OK) {
        return status;
    }
    if (entry->type != CM_GGUF_BOOL || entry->data[0] > 1) {
        return fail_type(gguf, key, entry, "a bool of 0 or 1", error);
    }
    *value = entry->data[0] == 1;
    return CM_OK;
}

enum cm_status cm_gguf_string(const struct cm_gguf *gguf, const char *key, struct cm_span *value,
                              struct cm_error *error)
{
    const struct cm_gguf_entry *entry;
    enum cm_status status = find_required(gguf, key, &entry, error);
    if (status != CM_OK) {
        return status;
    }
    if (entry->type != CM_GGUF_STRING) {
        return fail_type(gguf, key, entry, "a string", error);
    }
    const uint8_t *cursor = entry->data;
    *value = cm_gguf_next_string(&cursor);
    if (!cm_utf8_valid(*value)) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is not valid UTF-8", gguf->path, key);
    }
    return CM_OK;
}

enum cm_status cm_gguf_array(const struct cm_gguf *gguf, const char *key,
                             enum cm_gguf_type element_type, const struct cm_gguf_entry **entry,
                             struct cm_error *error)
{
    enum cm_status status = find_required(gguf, key, entry, error);
    if (status != CM_OK) {
        return status;
    }
    if ((*entry)->type != CM_GGUF_ARRAY || (*entry)->element_type != element_type) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: %s is not an array of %s", gguf->path, key,
                            type_names[element_type]);
    }
    return CM_OK;
}

struct cm_span cm_gguf_next_string(const uint8_t **cursor)
{
    uint64_t length;
    memcpy(&length, *cursor, sizeof length);
    struct cm_span string = { (const char *)*cursor + sizeof length, (size_t)length };
    *cursor += sizeof length + (size_t)length;
    return string;
}
