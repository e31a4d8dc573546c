/* Vectors and look-up tables in device memory. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/quants.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/matrix_source.h"

enum cm_status cm_cuda_vector_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                                     float **vector, struct cm_error *error)
{
    enum cm_status status = cm_tensor_check(tensor, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_dtype_info *info = cm_dtype_info(tensor->dtype);
    size_t elements = tensor->bytes / info->block_bytes * info->block_elements;
    float *values = cm_alloc(elements, sizeof *values);
    float *created = values == NULL ? NULL : cm_cuda_reserve(backend, elements * sizeof *values);
    if (created == NULL) {
        status =
            cm_error_set(error, CM_OUT_OF_MEMORY, "no device memory for tensor %s", tensor->name);
    } else {
        cm_quants_dequantise(tensor->dtype, tensor->data, elements, values);
        cm_cuda_backend_upload(backend, created, values, elements * sizeof *values);
        *vector = created;
    }
    cm_free(values);
    return status;
}

/* A block type cannot be looked up by element: it becomes float32, or bfloat16 where that is the
 * precision of the products too. */
static enum cm_status upload_dequantised(struct cm_backend *backend, const struct cm_tensor *tensor,
                                         struct cm_table *table)
{
    size_t row_bytes = tensor->bytes / table->n_rows;
    size_t element_bytes = cm_dtype_info(table->dtype)->block_bytes;
    float *values = cm_alloc(table->dim, sizeof *values);
    uint16_t *halves = cm_alloc(table->dim, sizeof *halves);
    enum cm_status status = values == NULL || halves == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t row = 0; status == CM_OK && row < table->n_rows; row++) {
        unsigned char *to = (unsigned char *)table->data + (size_t)row * table->dim * element_bytes;
        cm_quants_dequantise(tensor->dtype, (const unsigned char *)tensor->data + row * row_bytes,
                             table->dim, values);
        for (uint32_t i = 0; table->dtype == CM_BF16 && i < table->dim; i++) {
            halves[i] = cm_bf16_from_float(values[i]);
        }
        cm_cuda_backend_upload(backend, to,
                               table->dtype == CM_BF16 ? (void *)halves : (void *)values,
                               table->dim * element_bytes);
    }
    cm_free(values);
    cm_free(halves);
    return status;
}

enum cm_status cm_cuda_table_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                                    struct cm_table **table, struct cm_error *error)
{
    enum cm_status status = cm_tensor_check_table(tensor, error);
    if (status != CM_OK) {
        return status;
    }
    bool plain = !cm_quants_is_block_type(tensor->dtype);
    struct cm_table *created = cm_alloc(1, sizeof *created);
    size_t bytes;
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for tensor %s", tensor->name);
    }
    created->functions = backend->functions;
    created->backend = backend;
    created->n_rows = (uint32_t)tensor->dims[0];
    created->dim = (uint32_t)tensor->dims[1];
    created->dtype = plain                                      ? tensor->dtype
                     : backend->precision == CM_PRECISION_EXACT ? CM_F32
                                                                : CM_BF16;
    status = cm_tensor_bytes(created->dtype, 2, tensor->dims, &bytes);
    if (status == CM_OK) {
        created->data = cm_cuda_reserve(backend, bytes);
        status = created->data == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    }
    if (status == CM_OK && plain) {
        cm_cuda_backend_upload(backend, created->data, tensor->data, bytes);
    } else if (status == CM_OK) {
        status = upload_dequantised(backend, tensor, created);
    }
    if (status != CM_OK) {
        cm_cuda_table_close(created);
        return cm_error_set(error, status, "no device memory for tensor %s", tensor->name);
    }
    *table = created;
    return CM_OK;
}

void cm_cuda_table_close(struct cm_table *table)
{
    cm_cuda_backend_free(table->backend, table->data);
    cm_free(table);
}
