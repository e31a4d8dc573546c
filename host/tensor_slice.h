/* A rectangle out of a tensor of a model file, in the file's own type: what one of several devices
 * gets of a weight. */
#ifndef CM_HOST_TENSOR_SLICE_H
#define CM_HOST_TENSOR_SLICE_H

#include "base/dtype.h"

/* Elements [begin, begin + count) of a dimension. */
struct cm_slice_range {
    uint64_t begin;
    uint64_t count;
};

struct cm_tensor_slice {
    struct cm_tensor tensor; /* the name and whole rows are borrowed from the original */
    void *copied;            /* NULL where all columns are wanted */
};

/* Of a matrix; of a vector where it has one dimension, when `columns` is not read. Columns are cut
 * at whole blocks of the type: CM_UNSUPPORTED else. CM_OUT_OF_MEMORY. The ranges are inside the
 * tensor. */
enum cm_status cm_tensor_slice_init(struct cm_tensor_slice *slice, const struct cm_tensor *tensor,
                                    struct cm_slice_range rows, struct cm_slice_range columns,
                                    struct cm_error *error) CM_MUST_CHECK;
void cm_tensor_slice_deinit(struct cm_tensor_slice *slice);

#endif
