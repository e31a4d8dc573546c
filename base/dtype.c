#include "base/dtype.h"

#include "base/checked.h"

static const struct cm_dtype_info infos[CM_DTYPE_COUNT] = {
    [CM_F32] = { "F32", 1, 4, 0 },        [CM_F16] = { "F16", 1, 2, 1 },
    [CM_BF16] = { "BF16", 1, 2, 30 },     [CM_Q4_0] = { "Q4_0", 32, 18, 2 },
    [CM_Q4_1] = { "Q4_1", 32, 20, 3 },    [CM_Q5_0] = { "Q5_0", 32, 22, 6 },
    [CM_Q5_1] = { "Q5_1", 32, 24, 7 },    [CM_Q8_0] = { "Q8_0", 32, 34, 8 },
    [CM_Q4_K] = { "Q4_K", 256, 144, 12 }, [CM_Q5_K] = { "Q5_K", 256, 176, 13 },
    [CM_Q6_K] = { "Q6_K", 256, 210, 14 },
};

const struct cm_dtype_info *cm_dtype_info(enum cm_dtype dtype)
{
    CM_ASSERT((unsigned)dtype < CM_DTYPE_COUNT);
    return &infos[dtype];
}

int cm_dtype_from_ggml(uint32_t ggml_type, enum cm_dtype *dtype)
{
    for (unsigned i = 0; i < CM_DTYPE_COUNT; i++) {
        if ((uint32_t)infos[i].ggml_type == ggml_type) {
            *dtype = (enum cm_dtype)i;
            return 1;
        }
    }
    return 0;
}

enum cm_status cm_tensor_bytes(enum cm_dtype dtype, uint32_t n_dims, const uint64_t *dims,
                               size_t *bytes)
{
    const struct cm_dtype_info *info = cm_dtype_info(dtype);
    if (n_dims == 0 || n_dims > CM_TENSOR_DIMS_MAX ||
        dims[n_dims - 1] % info->block_elements != 0) {
        return CM_INVALID_DATA;
    }
    size_t total = info->block_bytes;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t dim = i == n_dims - 1 ? dims[i] / info->block_elements : dims[i];
        if (cm_size_mul(total, dim, &total)) {
            return CM_LIMIT;
        }
    }
    *bytes = total;
    return CM_OK;
}
