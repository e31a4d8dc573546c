/* Weights that no matmul packs: vectors in float32 and tables, which stay as they are in the file.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/quants.h"
#include "kernels/matrix_source.h"

enum cm_status cm_cpu_vector_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                                    float **vector, struct cm_error *error)
{
    enum cm_status status = cm_tensor_check(tensor, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_dtype_info *info = cm_dtype_info(tensor->dtype);
    size_t elements = tensor->bytes / info->block_bytes * info->block_elements;
    size_t bytes;
    float *created = NULL;
    if (!cm_size_mul(elements, sizeof *created, &bytes)) {
        created = cm_cpu_backend_alloc(backend, bytes);
    }
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for tensor %s", tensor->name);
    }
    cm_quants_dequantise(tensor->dtype, tensor->data, elements, created);
    *vector = created;
    return CM_OK;
}

enum cm_status cm_cpu_table_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                                   struct cm_table **table, struct cm_error *error)
{
    enum cm_status status = cm_tensor_check_table(tensor, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_table *created = cm_alloc(1, sizeof *created);
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for tensor %s", tensor->name);
    }
    created->functions = backend->functions;
    created->dtype = tensor->dtype;
    created->n_rows = (uint32_t)tensor->dims[0];
    created->dim = (uint32_t)tensor->dims[1];
    created->row_bytes = tensor->bytes / created->n_rows;
    created->data = tensor->data;
    *table = created;
    return CM_OK;
}

void cm_cpu_table_close(struct cm_table *table)
{
    cm_free(table);
}
