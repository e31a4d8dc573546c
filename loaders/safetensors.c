#include "loaders/safetensors.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "loaders/json_file.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct cm_safetensors {
    json_t *header; /* owns the tensors' names */
    struct cm_tensor *tensors;
    size_t tensors_count;
};

struct extent {
    uint64_t begin;
    uint64_t end;
    const char *name;
};

struct reader {
    const char *path;
    const uint8_t *data; /* the section after the header */
    size_t data_bytes;
    struct extent *extents;
    size_t extents_count;
    struct cm_error *error;
};

static const struct {
    const char *name;
    uint32_t bytes;
    int dtype; /* enum cm_dtype; -1: not handed on */
} dtypes[] = {
    { "F32", 4, CM_F32 }, { "F16", 2, CM_F16 }, { "BF16", 2, CM_BF16 }, { "F64", 8, -1 },
    { "I64", 8, -1 },     { "I32", 4, -1 },     { "I16", 2, -1 },       { "I8", 1, -1 },
    { "U64", 8, -1 },     { "U32", 4, -1 },     { "U16", 2, -1 },       { "U8", 1, -1 },
    { "BOOL", 1, -1 },    { "F8_E4M3", 1, -1 }, { "F8_E5M2", 1, -1 },
};

static enum cm_status fail(const struct reader *reader, const char *name, const char *what)
{
    return cm_error_set(reader->error, CM_INVALID_DATA, "%s: tensor %s: %s", reader->path, name,
                        what);
}

/* Index in `dtypes`, or -1. */
static int find_dtype(struct cm_span name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (cm_span_equal_text(name, dtypes[i].name)) {
            return (int)i;
        }
    }
    return -1;
}

static bool read_size(const json_t *value, uint64_t *size)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *size = (uint64_t)json_integer_value(value);
    return true;
}

/* More dimensions than a cm_tensor has are no error of the file: such a tensor is not listed. */
static enum cm_status read_shape(const struct reader *reader, const char *name, const json_t *shape,
                                 size_t element_bytes, struct cm_tensor *tensor)
{
    if (!json_is_array(shape)) {
        return fail(reader, name, "shape is no array");
    }
    size_t bytes = element_bytes;
    size_t n_dims = json_array_size(shape);
    for (size_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        if (!read_size(json_array_get(shape, i), &dim) || dim == 0) {
            return fail(reader, name, "shape holds something that is no positive whole number");
        }
        if (cm_size_mul(bytes, dim, &bytes)) {
            return fail(reader, name, "its size overflows");
        }
        if (i < CM_TENSOR_DIMS_MAX) {
            tensor->dims[i] = dim;
        }
    }
    tensor->n_dims = n_dims > CM_TENSOR_DIMS_MAX ? 0 : (uint32_t)n_dims;
    tensor->bytes = bytes;
    return CM_OK;
}

static enum cm_status read_offsets(const struct reader *reader, const char *name,
                                   const json_t *offsets, struct extent *extent)
{
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
        !read_size(json_array_get(offsets, 0), &extent->begin) ||
        !read_size(json_array_get(offsets, 1), &extent->end)) {
        return fail(reader, name, "data_offsets are not two whole numbers");
    }
    if (extent->begin > extent->end || extent->end > reader->data_bytes) {
        return fail(reader, name,
                    "data_offsets are not inside the file; it is damaged or not completely "
                    "downloaded");
    }
    extent->name = name;
    return CM_OK;
}

static enum cm_status read_tensor(struct reader *reader, struct cm_safetensors *file,
                                  const char *name, const json_t *value)
{
    if (!cm_utf8_valid_name(cm_span_of(name)) || !json_is_object(value)) {
        return fail(reader, name, "is not described by an object, or its name is not printable");
    }
    int type = find_dtype(cm_json_span(json_object_get(value, "dtype")));
    if (type < 0) {
        return fail(reader, name, "dtype is missing or not one of the format's");
    }
    struct cm_tensor tensor = { .name = name };
    struct extent *extent = &reader->extents[reader->extents_count];
    enum cm_status status =
        read_shape(reader, name, json_object_get(value, "shape"), dtypes[type].bytes, &tensor);
    if (status == CM_OK) {
        status = read_offsets(reader, name, json_object_get(value, "data_offsets"), extent);
    }
    if (status != CM_OK) {
        return status;
    }
    if (extent->end - extent->begin != tensor.bytes) {
        return fail(reader, name, "data_offsets do not fit shape and dtype");
    }
    reader->extents_count++;
    if (dtypes[type].dtype < 0 || tensor.n_dims == 0) {
        return CM_OK;
    }
    tensor.dtype = (enum cm_dtype)dtypes[type].dtype;
    tensor.data = reader->data + extent->begin;
    if ((uintptr_t)tensor.data % dtypes[type].bytes != 0) {
        return cm_error_set(reader->error, CM_UNSUPPORTED,
                            "%s: tensor %s is not aligned to its elements; save the model again "
                            "with a current safetensors",
                            reader->path, name);
    }
    file->tensors[file->tensors_count++] = tensor;
    return CM_OK;
}

static int compare_extents(const void *left, const void *right)
{
    const struct extent *a = left;
    const struct extent *b = right;
    return (a->begin > b->begin) - (a->begin < b->begin);
}

static enum cm_status check_contiguous(struct reader *reader)
{
    qsort(reader->extents, reader->extents_count, sizeof *reader->extents, compare_extents);
    uint64_t expected = 0;
    for (size_t i = 0; i < reader->extents_count; i++) {
        const struct extent *extent = &reader->extents[i];
        if (extent->begin != expected) {
            return fail(reader, extent->name,
                        extent->begin < expected ? "its data overlap another tensor's"
                                                 : "there is a hole before its data");
        }
        expected = extent->end;
    }
    if (expected != reader->data_bytes) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: the tensors end at byte %" PRIu64
                            " of the data, which has %zu bytes",
                            reader->path, expected, reader->data_bytes);
    }
    return CM_OK;
}

static enum cm_status check_metadata(const struct reader *reader, const json_t *metadata)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata)) {
        return cm_error_set(reader->error, CM_INVALID_DATA, "%s: __metadata__ is no object",
                            reader->path);
    }
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return cm_error_set(reader->error, CM_INVALID_DATA,
                                "%s: __metadata__ holds something that is no string", reader->path);
        }
    }
    return CM_OK;
}

static enum cm_status read_header(struct reader *reader, struct cm_safetensors *file)
{
    size_t count = json_object_size(file->header);
    file->tensors = cm_alloc(count, sizeof *file->tensors);
    reader->extents = cm_alloc(count, sizeof *reader->extents);
    if (file->tensors == NULL || reader->extents == NULL) {
        return cm_error_set(reader->error, CM_OUT_OF_MEMORY, "%s: out of memory", reader->path);
    }
    const char *name;
    json_t *value;
    json_object_foreach(file->header, name, value)
    {
        enum cm_status status = strcmp(name, "__metadata__") == 0
                                    ? check_metadata(reader, value)
                                    : read_tensor(reader, file, name, value);
        if (status != CM_OK) {
            return status;
        }
    }
    return check_contiguous(reader);
}

static enum cm_status read_file(struct reader *reader, const struct cm_file_map *map,
                                struct cm_safetensors *file)
{
    size_t file_bytes = cm_file_map_bytes(map);
    const uint8_t *start = cm_file_map_data(map);
    uint64_t header_bytes = 0;
    if (file_bytes >= sizeof header_bytes) {
        memcpy(&header_bytes, start, sizeof header_bytes);
    }
    if (header_bytes < 2 || header_bytes > CM_SAFETENSORS_HEADER_BYTES_MAX ||
        header_bytes > file_bytes - sizeof header_bytes) {
        return cm_error_set(reader->error, CM_INVALID_DATA,
                            "%s: a header of %" PRIu64
                            " bytes does not fit into a file of %zu; it is no safetensors file, or "
                            "damaged",
                            reader->path, header_bytes, file_bytes);
    }
    const char *text = (const char *)start + sizeof header_bytes;
    if (text[0] != '{') {
        return cm_error_set(reader->error, CM_INVALID_DATA, "%s: the header is no JSON object",
                            reader->path);
    }
    reader->data = start + sizeof header_bytes + header_bytes;
    reader->data_bytes = file_bytes - sizeof header_bytes - (size_t)header_bytes;
    enum cm_status status =
        cm_json_parse(text, (size_t)header_bytes, reader->path, &file->header, reader->error);
    return status == CM_OK ? read_header(reader, file) : status;
}

enum cm_status cm_safetensors_open(const struct cm_file_map *map, const char *path,
                                   struct cm_safetensors **file, struct cm_error *error)
{
    struct cm_safetensors *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    struct reader reader = { .path = path, .error = error };
    enum cm_status status = read_file(&reader, map, opened);
    cm_free(reader.extents);
    if (status != CM_OK) {
        cm_safetensors_close(opened);
        return status;
    }
    *file = opened;
    return CM_OK;
}

void cm_safetensors_close(struct cm_safetensors *file)
{
    if (file != NULL) {
        cm_free(file->tensors);
        cm_json_close(file->header);
        cm_free(file);
    }
}

size_t cm_safetensors_tensors_count(const struct cm_safetensors *file)
{
    return file->tensors_count;
}

const struct cm_tensor *cm_safetensors_tensors(const struct cm_safetensors *file)
{
    return file->tensors;
}

/* --- The index of several files --- */

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static bool plain_name(const json_t *value)
{
    struct cm_span name = cm_json_span(value);
    return name.length <= CM_SHARD_NAME_BYTES_MAX && cm_utf8_valid_name(name) &&
           name.data[0] != '.' && memchr(name.data, '/', name.length) == NULL;
}

enum cm_status cm_safetensors_shards(const json_t *index, const char *path, const char ***names,
                                     size_t *names_count, struct cm_error *error)
{
    json_t *weights = json_object_get(index, "weight_map");
    if (!json_is_object(weights) || json_object_size(weights) == 0) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: weight_map is missing, empty or no object",
                            path);
    }
    const char **all = cm_alloc(json_object_size(weights), sizeof *all);
    if (all == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    size_t count = 0;
    const char *tensor;
    json_t *value;
    json_object_foreach(weights, tensor, value)
    {
        if (!plain_name(value)) {
            cm_free(all);
            return cm_error_set(error, CM_INVALID_DATA,
                                "%s: weight_map names no file of the same folder for %s", path,
                                tensor);
        }
        all[count++] = json_string_value(value);
    }
    qsort(all, count, sizeof *all, compare_names);
    size_t unique = 1;
    for (size_t i = 1; i < count; i++) {
        if (strcmp(all[i], all[unique - 1]) != 0) {
            all[unique++] = all[i];
        }
    }
    if (unique > CM_SAFETENSORS_SHARDS_MAX) {
        cm_free(all);
        return cm_error_set(error, CM_LIMIT, "%s: names %zu files; the limit is %d", path, unique,
                            CM_SAFETENSORS_SHARDS_MAX);
    }
    *names = all;
    *names_count = unique;
    return CM_OK;
}
