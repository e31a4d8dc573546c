/* What the fuzz targets share. A target is LLVMFuzzerTestOneInput in a file of its own: it hands
 * the bytes to one reader and holds what comes out to the promises of the reader's header. A
 * sanitizer sees what goes wrong with memory; CM_ASSERT reports a broken promise. */
#ifndef CM_TESTS_FUZZ_FUZZ_H
#define CM_TESTS_FUZZ_FUZZ_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The path of a file in memory that holds these bytes, until the next call. */
const char *fuzz_file(const uint8_t *data, size_t size);

static inline struct cm_span fuzz_span(const uint8_t *data, size_t size)
{
    return (struct cm_span){ size == 0 ? "" : (const char *)data, size };
}

/* Valid UTF-8 without control characters other than the line end and, if `tab`, the tab. */
void fuzz_expect_clean(struct cm_span text, bool tab);

/* Opens the bytes as a catalog and reads it to the end. */
void fuzz_read_catalog(const uint8_t *data, size_t size);

/* Opens a file or folder as a model. Where it opens, its tensors are read at both ends, and its
 * tokenizer is built and used. */
void fuzz_read_model(const char *path);

struct cm_tokenizer_data;

/* Builds the tokenizer, and encodes and decodes with it. */
void fuzz_use_tokenizer(const struct cm_tokenizer_data *data);

#endif
