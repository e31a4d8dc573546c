#include "host/tensor_slice.h"

#include "base/memory.h"

#include <string.h>

static enum cm_status copy_columns(struct cm_tensor_slice *slice, struct cm_slice_range columns,
                                   struct cm_error *error)
{
    struct cm_tensor *tensor = &slice->tensor;
    const struct cm_dtype_info *info = cm_dtype_info(tensor->dtype);
    if (columns.begin % info->block_elements != 0 || columns.count % info->block_elements != 0) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "tensor %s: %s holds blocks of %u values, which --tp would cut; use a "
                            "smaller --tp or a model file of another type",
                            tensor->name, info->name, info->block_elements);
    }
    size_t row_bytes = tensor->bytes / tensor->dims[0];
    size_t begin_bytes = columns.begin / info->block_elements * info->block_bytes;
    size_t count_bytes = columns.count / info->block_elements * info->block_bytes;
    unsigned char *copied = cm_alloc(tensor->dims[0], count_bytes);
    if (copied == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a part of tensor %s",
                            tensor->name);
    }
    for (uint64_t row = 0; row < tensor->dims[0]; row++) {
        memcpy(copied + row * count_bytes,
               (const unsigned char *)tensor->data + row * row_bytes + begin_bytes, count_bytes);
    }
    slice->copied = copied;
    tensor->data = copied;
    tensor->dims[1] = columns.count;
    tensor->bytes = tensor->dims[0] * count_bytes;
    return CM_OK;
}

enum cm_status cm_tensor_slice_init(struct cm_tensor_slice *slice, const struct cm_tensor *tensor,
                                    struct cm_slice_range rows, struct cm_slice_range columns,
                                    struct cm_error *error)
{
    CM_ASSERT(tensor->n_dims >= 1 && tensor->n_dims <= 2 && rows.count > 0 &&
              rows.begin + rows.count <= tensor->dims[0]);
    size_t row_bytes = tensor->bytes / tensor->dims[0];
    *slice = (struct cm_tensor_slice){ .tensor = *tensor };
    slice->tensor.data = (const unsigned char *)tensor->data + rows.begin * row_bytes;
    slice->tensor.dims[0] = rows.count;
    slice->tensor.bytes = rows.count * row_bytes;
    if (tensor->n_dims == 1 || (columns.begin == 0 && columns.count == tensor->dims[1])) {
        return CM_OK;
    }
    CM_ASSERT(columns.count > 0 && columns.begin + columns.count <= tensor->dims[1]);
    return copy_columns(slice, columns, error);
}

void cm_tensor_slice_deinit(struct cm_tensor_slice *slice)
{
    cm_free(slice->copied);
    slice->copied = NULL;
}
