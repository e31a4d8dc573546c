/* The checkpoint of tests/golden/tiny/llama, or one like it, as a GGUF file: what a folder cannot
 * hold, such as weights that are integers. Failing ends the test. */
#ifndef CM_TESTS_SUPPORT_TINY_GGUF_H
#define CM_TESTS_SUPPORT_TINY_GGUF_H

#include "base/dtype.h"
#include "base/text.h"

/* Appends the file to `bytes`. `folder` has a model of the family and the sizes of that checkpoint.
 * Matrices are of `type`, CM_F32, CM_Q8_0 or CM_Q4_0, where their rows are whole blocks, all else
 * is float32. `more` is a tensor to add, or NULL. */
void tiny_gguf_append(struct cm_text *bytes, const char *folder, enum cm_dtype type,
                      const struct cm_tensor *more);

#endif
