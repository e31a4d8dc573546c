#include "gguf_writer.h"

#include "loaders/gguf.h"

enum { FILE_BYTES_MAX = 64 << 20 };

static void append(struct cm_text *text, const void *bytes, size_t length)
{
    enum cm_status status = cm_text_append(text, bytes, length);
    CM_ASSERT(status == CM_OK);
}

static void append_u32(struct cm_text *text, uint32_t value)
{
    append(text, &value, sizeof value);
}

static void append_u64(struct cm_text *text, uint64_t value)
{
    append(text, &value, sizeof value);
}

static void append_span(struct cm_text *text, struct cm_span span)
{
    append_u64(text, span.length);
    append(text, span.data, span.length);
}

static void pad(struct cm_text *text, size_t alignment)
{
    while (text->length % alignment != 0) {
        append(text, "", 1);
    }
}

void gguf_writer_init(struct gguf_writer *writer)
{
    *writer = (struct gguf_writer){
        .entries = CM_TEXT_INIT(FILE_BYTES_MAX),
        .tensors = CM_TEXT_INIT(FILE_BYTES_MAX),
        .data = CM_TEXT_INIT(FILE_BYTES_MAX),
        .version = 3,
        .alignment = 32,
    };
}

void gguf_writer_deinit(struct gguf_writer *writer)
{
    cm_text_deinit(&writer->entries);
    cm_text_deinit(&writer->tensors);
    cm_text_deinit(&writer->data);
}

void gguf_writer_key(struct gguf_writer *writer, const char *key, uint32_t type)
{
    append_span(&writer->entries, cm_span_of(key));
    append_u32(&writer->entries, type);
    writer->entries_count++;
}

void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value)
{
    gguf_writer_key(writer, key, CM_GGUF_UINT32);
    append_u32(&writer->entries, value);
}

void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value)
{
    gguf_writer_key(writer, key, CM_GGUF_FLOAT32);
    append(&writer->entries, &value, sizeof value);
}

void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value)
{
    gguf_writer_key(writer, key, CM_GGUF_BOOL);
    append(&writer->entries, value ? "\1" : "\0", 1);
}

void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *value)
{
    gguf_writer_key(writer, key, CM_GGUF_STRING);
    append_span(&writer->entries, cm_span_of(value));
}

static void array(struct gguf_writer *writer, const char *key, uint32_t element_type,
                  uint64_t count)
{
    gguf_writer_key(writer, key, CM_GGUF_ARRAY);
    append_u32(&writer->entries, element_type);
    append_u64(&writer->entries, count);
}

void gguf_writer_spans(struct gguf_writer *writer, const char *key, const struct cm_span *values,
                       uint64_t count)
{
    array(writer, key, CM_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) {
        append_span(&writer->entries, values[i]);
    }
}

void gguf_writer_strings(struct gguf_writer *writer, const char *key, const char *const *values,
                         uint64_t count)
{
    array(writer, key, CM_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++) {
        append_span(&writer->entries, cm_span_of(values[i]));
    }
}

void gguf_writer_i32s(struct gguf_writer *writer, const char *key, const int32_t *values,
                      uint64_t count)
{
    array(writer, key, CM_GGUF_INT32, count);
    append(&writer->entries, values, count * sizeof *values);
}

void gguf_writer_f32s(struct gguf_writer *writer, const char *key, const float *values,
                      uint64_t count)
{
    array(writer, key, CM_GGUF_FLOAT32, count);
    append(&writer->entries, values, count * sizeof *values);
}

void gguf_writer_tensor(struct gguf_writer *writer, const struct cm_tensor *tensor)
{
    uint64_t dims[CM_TENSOR_DIMS_MAX];
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        dims[i] = tensor->dims[tensor->n_dims - 1 - i];
    }
    pad(&writer->data, writer->alignment);
    gguf_writer_tensor_info(writer, cm_span_of(tensor->name), tensor->n_dims, dims,
                            (uint32_t)cm_dtype_info(tensor->dtype)->ggml_type, writer->data.length);
    append(&writer->data, tensor->data, tensor->bytes);
}

void gguf_writer_tensor_info(struct gguf_writer *writer, struct cm_span name, uint32_t n_dims,
                             const uint64_t *dims, uint32_t ggml_type, uint64_t offset)
{
    append_span(&writer->tensors, name);
    append_u32(&writer->tensors, n_dims);
    append(&writer->tensors, dims, n_dims * sizeof *dims);
    append_u32(&writer->tensors, ggml_type);
    append_u64(&writer->tensors, offset);
    writer->tensors_count++;
}

void gguf_writer_finish(const struct gguf_writer *writer, struct cm_text *file)
{
    CM_ASSERT(file->length == 0);
    append(file, "GGUF", 4);
    append_u32(file, writer->version);
    append_u64(file, writer->tensors_count);
    append_u64(file, writer->entries_count);
    append(file, writer->entries.data, writer->entries.length);
    append(file, writer->tensors.data, writer->tensors.length);
    if (writer->data.length > 0) {
        pad(file, writer->alignment);
        append(file, writer->data.data, writer->data.length);
    }
}
