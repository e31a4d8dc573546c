#include "kernels/matrix_source.h"

#include "kernels/cpu/quants.h"

static uint64_t source_rows(const struct cm_matrix_source *source)
{
    return source->weight->dims[source->transposed ? 1 : 0];
}

static bool is_plain(enum cm_dtype dtype)
{
    return !cm_quants_is_block_type(dtype);
}

enum cm_status cm_tensor_check(const struct cm_tensor *tensor, struct cm_error *error)
{
    size_t bytes;
    enum cm_status status = cm_tensor_bytes(tensor->dtype, tensor->n_dims, tensor->dims, &bytes);
    if (status == CM_OK && bytes != tensor->bytes) {
        status = CM_INVALID_DATA;
    }
    if (status != CM_OK) {
        return cm_error_set(error, status, "tensor %s: its size does not fit its shape and type",
                            tensor->name);
    }
    return CM_OK;
}

enum cm_status cm_tensor_check_table(const struct cm_tensor *tensor, struct cm_error *error)
{
    enum cm_status status = cm_tensor_check(tensor, error);
    if (status == CM_OK && (tensor->n_dims != 2 || tensor->dims[0] > INT32_MAX ||
                            tensor->dims[1] > INT32_MAX || tensor->bytes == 0)) {
        status = cm_error_set(error, CM_INVALID_DATA, "tensor %s: not a table", tensor->name);
    }
    return status;
}

static enum cm_status check_source(const struct cm_matrix_source *source, uint64_t n_in,
                                   struct cm_error *error)
{
    const struct cm_tensor *weight = source->weight;
    const struct cm_tensor *bias = source->bias;
    enum cm_status status = cm_tensor_check(weight, error);
    if (status != CM_OK) {
        return status;
    }
    if (weight->n_dims != 2 || weight->dims[source->transposed ? 0 : 1] != n_in) {
        return cm_error_set(error, CM_INVALID_DATA, "tensor %s: not a matrix with %llu inputs",
                            weight->name, (unsigned long long)n_in);
    }
    if (source->transposed && !is_plain(weight->dtype)) {
        return cm_error_set(error, CM_UNSUPPORTED, "tensor %s: %s cannot be transposed",
                            weight->name, cm_dtype_info(weight->dtype)->name);
    }
    if (bias == NULL) {
        return CM_OK;
    }
    status = cm_tensor_check(bias, error);
    if (status != CM_OK) {
        return status;
    }
    if (!is_plain(bias->dtype) || bias->n_dims != 1 ||
        bias->dims[0] != weight->dims[source->transposed ? 1 : 0]) {
        return cm_error_set(error, CM_INVALID_DATA, "tensor %s: not a bias for %s", bias->name,
                            weight->name);
    }
    return CM_OK;
}

enum cm_status cm_matrix_source_shape(const struct cm_matrix_source *sources, size_t sources_count,
                                      uint32_t *n_out, uint32_t *n_in, struct cm_error *error)
{
    uint64_t inputs = sources[0].weight->dims[sources[0].transposed ? 0 : 1];
    uint64_t outputs = 0;
    for (size_t i = 0; i < sources_count; i++) {
        enum cm_status status = check_source(&sources[i], inputs, error);
        if (status != CM_OK) {
            return status;
        }
        uint64_t rows = source_rows(&sources[i]);
        if (inputs == 0 || rows == 0) {
            return cm_error_set(error, CM_INVALID_DATA, "tensor %s: an empty matrix",
                                sources[i].weight->name);
        }
        if (inputs > INT32_MAX || rows > INT32_MAX || (outputs += rows) > INT32_MAX) {
            return cm_error_set(error, CM_LIMIT, "tensor %s: too large for one matrix",
                                sources[i].weight->name);
        }
    }
    *n_in = (uint32_t)inputs;
    *n_out = (uint32_t)outputs;
    return CM_OK;
}

void cm_matrix_source_row(const struct cm_matrix_source *sources, uint64_t row, uint32_t n_in,
                          float *out)
{
    while (row >= source_rows(sources)) {
        row -= source_rows(sources);
        sources++;
    }
    const struct cm_tensor *weight = sources->weight;
    const struct cm_dtype_info *info = cm_dtype_info(weight->dtype);
    const uint8_t *data = weight->data;
    if (sources->transposed) {
        for (uint32_t k = 0; k < n_in; k++) {
            size_t element = (size_t)k * weight->dims[1] + row;
            cm_quants_dequantise(weight->dtype, data + element * info->block_bytes, 1, out + k);
        }
    } else {
        size_t row_bytes = (size_t)(n_in / info->block_elements) * info->block_bytes;
        cm_quants_dequantise(weight->dtype, data + row * row_bytes, n_in, out);
    }
}

const uint8_t *cm_matrix_source_blocks(const struct cm_matrix_source **sources, uint64_t *row,
                                       uint32_t n_in)
{
    while (*row >= source_rows(*sources)) {
        *row -= source_rows(*sources);
        (*sources)++;
    }
    const struct cm_tensor *weight = (*sources)->weight;
    const struct cm_dtype_info *info = cm_dtype_info(weight->dtype);
    size_t row_bytes = (size_t)(n_in / info->block_elements) * info->block_bytes;
    return is_plain(weight->dtype) ? NULL : (const uint8_t *)weight->data + *row * row_bytes;
}

bool cm_matrix_source_bias(const struct cm_matrix_source *sources, size_t sources_count,
                           float *bias)
{
    bool any = false;
    for (size_t i = 0; i < sources_count; i++) {
        uint64_t n = source_rows(&sources[i]);
        if (sources[i].bias != NULL) {
            cm_quants_dequantise(sources[i].bias->dtype, sources[i].bias->data, n, bias);
            any = true;
        }
        bias += n;
    }
    return any;
}
