/* Element types of tensors and the view that loaders hand to the engine.
 *
 * The block types are those of the GGUF specification: a tensor row is a whole number of blocks of
 * `block_elements` values in `block_bytes` bytes. The names and the numbers in `cm_dtype_from_ggml`
 * follow that specification.
 */
#ifndef CM_BASE_DTYPE_H
#define CM_BASE_DTYPE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum cm_dtype {
    CM_F32,
    CM_F16,
    CM_BF16,
    CM_Q4_0,
    CM_Q4_1,
    CM_Q5_0,
    CM_Q5_1,
    CM_Q8_0,
    CM_Q4_K,
    CM_Q5_K,
    CM_Q6_K,
    CM_DTYPE_COUNT
};

struct cm_dtype_info {
    const char *name;        /* "Q4_1" */
    uint32_t block_elements; /* values per block; 1 for the plain types */
    uint32_t block_bytes;
    int32_t ggml_type; /* number in a GGUF file */
};

/* Never NULL for a valid dtype. */
const struct cm_dtype_info *cm_dtype_info(enum cm_dtype dtype);

/* False where the number names no type that copymill reads. */
int cm_dtype_from_ggml(uint32_t ggml_type, enum cm_dtype *dtype);

enum { CM_TENSOR_DIMS_MAX = 4 };

/* A tensor in memory that somebody else owns. `dims[0]` is the slowest (row-major, as in PyTorch:
 * a linear layer is [n_out, n_in]); `data` holds `bytes` bytes of `dtype` without padding. */
struct cm_tensor {
    const char *name;
    enum cm_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[CM_TENSOR_DIMS_MAX];
    const void *data;
    size_t bytes;
};

/* Bytes of a tensor of this type and shape. CM_LIMIT on overflow, CM_INVALID_DATA where the last
 * dimension is no multiple of the block. */
enum cm_status cm_tensor_bytes(enum cm_dtype dtype, uint32_t n_dims, const uint64_t *dims,
                               size_t *bytes) CM_MUST_CHECK;

#endif
