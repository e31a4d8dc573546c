/* Writes GGUF files for tests: small models, and files with one thing wrong. Nothing is checked,
 * so that anything can be written; running out of memory ends the test. */
#ifndef CM_TESTS_SUPPORT_GGUF_WRITER_H
#define CM_TESTS_SUPPORT_GGUF_WRITER_H

#include "base/dtype.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct gguf_writer {
    struct cm_text entries;
    struct cm_text tensors;
    struct cm_text data;
    uint32_t version;
    uint64_t entries_count; /* written to the header as they are: change them to lie */
    uint64_t tensors_count;
    uint32_t alignment; /* of the data; general.alignment is the caller's to write */
};

void gguf_writer_init(struct gguf_writer *writer); /* version 3, alignment 32 */
void gguf_writer_deinit(struct gguf_writer *writer);

/* Metadata; `type` is the file's number of the value type (enum cm_gguf_type). */
void gguf_writer_key(struct gguf_writer *writer, const char *key, uint32_t type);
void gguf_writer_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_writer_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_writer_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_writer_string(struct gguf_writer *writer, const char *key, const char *value);
void gguf_writer_spans(struct gguf_writer *writer, const char *key, const struct cm_span *values,
                       uint64_t count);
void gguf_writer_strings(struct gguf_writer *writer, const char *key, const char *const *values,
                         uint64_t count);
void gguf_writer_i32s(struct gguf_writer *writer, const char *key, const int32_t *values,
                      uint64_t count);
void gguf_writer_f32s(struct gguf_writer *writer, const char *key, const float *values,
                      uint64_t count);

/* A tensor with its data, aligned. Dimensions as in cm_tensor, the slowest first. */
void gguf_writer_tensor(struct gguf_writer *writer, const struct cm_tensor *tensor);

/* A line of the tensor table alone; `dims` in the order of the file, the fastest first. */
void gguf_writer_tensor_info(struct gguf_writer *writer, struct cm_span name, uint32_t n_dims,
                             const uint64_t *dims, uint32_t ggml_type, uint64_t offset);

/* The whole file, appended to `file`. */
void gguf_writer_finish(const struct gguf_writer *writer, struct cm_text *file);

#endif
