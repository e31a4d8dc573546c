/* y[n_rows, n_out] f32 = x[n_rows, n_in] f32 * W[n_out, n_in]^T + bias[n_out] f32, by cuBLASLt
 *
 *   exact  W and x float32, float32 arithmetic (no TF32)
 *   bf16   W bfloat16, x rounded to bfloat16 (narrow.cu), products added in float32; n_in is padded
 *          with zeros to a multiple of 16 bytes
 *
 * Row-major x and W are column-major matrices [n_in, n_rows] and [n_in, n_out], so this is
 * y^T = W^T x with W transposed. Each matrix has one algorithm, chosen at creation for rows_max
 * rows among those that do not split the sum over n_in, and used for every n_rows: an element of y
 * is then the same sequence of operations however many rows there are.
 * Bytes: weights once, and x and y; flops: 2 n_rows n_in n_out. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/quants.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/matrix_source.h"

#include <string.h>

enum { TENSOR_CORE_ALIGNMENT = 8, ALGORITHMS_MAX = 16, PACK_BYTES_MAX = 4 << 20 };

/* --- Weights --- */

static bool is_exact(const struct cm_backend *backend)
{
    return backend->precision == CM_PRECISION_EXACT;
}

static size_t element_bytes(const struct cm_backend *backend)
{
    return is_exact(backend) ? sizeof(float) : sizeof(uint16_t);
}

/* Dequantises some rows at a time in host memory and uploads them. */
static enum cm_status pack(struct cm_matrix *matrix, const struct cm_matrix_source *sources)
{
    struct cm_backend *backend = matrix->backend;
    size_t row_bytes = matrix->padded * element_bytes(backend);
    uint32_t rows_max = (uint32_t)(PACK_BYTES_MAX / row_bytes);
    rows_max = rows_max > 0 ? rows_max : 1;
    float *row = cm_alloc(matrix->padded, sizeof *row);
    unsigned char *rows = cm_alloc(rows_max, row_bytes);
    enum cm_status status = row == NULL || rows == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t begin = 0; status == CM_OK && begin < matrix->n_out;) {
        uint32_t count = matrix->n_out - begin < rows_max ? matrix->n_out - begin : rows_max;
        for (uint32_t i = 0; i < count; i++) {
            cm_matrix_source_row(sources, begin + i, matrix->n_in, row);
            unsigned char *to = rows + i * row_bytes;
            if (is_exact(backend)) {
                memcpy(to, row, row_bytes);
                continue;
            }
            for (uint32_t k = 0; k < matrix->padded; k++) {
                ((uint16_t *)(void *)to)[k] = cm_bf16_from_float(row[k]);
            }
        }
        cm_cuda_backend_upload(backend, (unsigned char *)matrix->weights + begin * row_bytes, rows,
                               count * row_bytes);
        begin += count;
    }
    cm_free(row);
    cm_free(rows);
    return status;
}

static enum cm_status pack_bias(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                                size_t sources_count)
{
    float *bias = cm_alloc(matrix->n_out, sizeof *bias);
    enum cm_status status = bias == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    if (status == CM_OK && cm_matrix_source_bias(sources, sources_count, bias)) {
        matrix->bias = cm_cuda_reserve(matrix->backend, matrix->n_out * sizeof *bias);
        if (matrix->bias == NULL) {
            status = CM_OUT_OF_MEMORY;
        } else {
            cm_cuda_backend_upload(matrix->backend, matrix->bias, bias,
                                   matrix->n_out * sizeof *bias);
        }
    }
    cm_free(bias);
    return status;
}

/* The workspace, and room for the rows of x as bfloat16, as wide as the widest matrix. */
static enum cm_status reserve_scratch(struct cm_backend *backend, uint32_t elements)
{
    size_t bytes;
    if (backend->workspace == NULL) {
        backend->workspace = cm_cuda_reserve(backend, CM_CUDA_WORKSPACE_BYTES);
    }
    if (backend->workspace == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    if (is_exact(backend) || elements <= backend->narrow_elements) {
        return CM_OK;
    }
    if (cm_size_mul(elements * sizeof(uint16_t), backend->rows_max, &bytes)) {
        return CM_OUT_OF_MEMORY;
    }
    void *narrow = cm_cuda_reserve(backend, bytes);
    if (narrow == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_cuda_backend_free(backend, backend->narrow);
    backend->narrow = narrow;
    backend->narrow_elements = elements;
    return CM_OK;
}

/* --- The product --- */

static cublasStatus_t create_layouts(struct cm_matrix *matrix)
{
    const struct cm_backend *backend = matrix->backend;
    cudaDataType_t type = is_exact(backend) ? CUDA_R_32F : CUDA_R_16BF;
    uint64_t rows = backend->rows_max;
    cublasStatus_t result = cublasLtMatrixLayoutCreate(
        &matrix->weights_layout, type, matrix->padded, matrix->n_out, matrix->padded);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatrixLayoutCreate(&matrix->x_layout, type, matrix->padded, rows,
                                            matrix->padded);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatrixLayoutCreate(&matrix->y_layout, CUDA_R_32F, matrix->n_out, rows,
                                            matrix->n_out);
    }
    return result;
}

static cublasStatus_t create_product(struct cm_matrix *matrix)
{
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cublasStatus_t result =
        cublasLtMatmulDescCreate(&matrix->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulDescSetAttribute(matrix->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                &transposed, sizeof transposed);
    }
    if (result == CUBLAS_STATUS_SUCCESS && matrix->bias != NULL) {
        const cudaDataType_t type = CUDA_R_32F;
        result = cublasLtMatmulDescSetAttribute(matrix->product, CUBLASLT_MATMUL_DESC_EPILOGUE,
                                                &epilogue, sizeof epilogue);
        if (result == CUBLAS_STATUS_SUCCESS) {
            result =
                cublasLtMatmulDescSetAttribute(matrix->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                               &matrix->bias, sizeof matrix->bias);
        }
        if (result == CUBLAS_STATUS_SUCCESS) {
            result = cublasLtMatmulDescSetAttribute(
                matrix->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
        }
    }
    return result;
}

/* The library's first choice for rows_max rows that does not split the sum. */
static cublasStatus_t choose_algorithm(struct cm_matrix *matrix)
{
    const uint64_t workspace_bytes = CM_CUDA_WORKSPACE_BYTES;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found[1];
    int found_count = 0;
    cublasStatus_t result = cublasLtMatmulPreferenceCreate(&preference);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulPreferenceSetAttribute(preference,
                                                      CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                      &workspace_bytes, sizeof workspace_bytes);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulPreferenceSetAttribute(
            preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulAlgoGetHeuristic(
            matrix->backend->blas, matrix->product, matrix->weights_layout, matrix->x_layout,
            matrix->y_layout, matrix->y_layout, preference, 1, found, &found_count);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = found_count > 0 ? found[0].state : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        matrix->algorithm = found[0].algo;
    }
    if (preference != NULL) {
        cublasLtMatmulPreferenceDestroy(preference);
    }
    return result;
}

enum cm_status cm_cuda_matrix_create(struct cm_backend *backend,
                                     const struct cm_matrix_source *sources, size_t sources_count,
                                     struct cm_matrix **matrix, struct cm_error *error)
{
    CM_ASSERT(sources_count > 0);
    const char *name = sources[0].weight->name;
    struct cm_matrix *created = cm_alloc(1, sizeof *created);
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for a matrix");
    }
    created->functions = backend->functions;
    created->backend = backend;
    enum cm_status status =
        cm_matrix_source_shape(sources, sources_count, &created->n_out, &created->n_in, error);
    if (status != CM_OK) {
        goto done;
    }
    created->padded = is_exact(backend) ? created->n_in
                                        : (created->n_in + TENSOR_CORE_ALIGNMENT - 1) &
                                              ~(uint32_t)(TENSOR_CORE_ALIGNMENT - 1);
    created->bytes = (size_t)created->n_out * created->padded * element_bytes(backend);
    created->weights = cm_cuda_reserve(backend, created->bytes);
    if (created->weights == NULL || pack(created, sources) != CM_OK ||
        pack_bias(created, sources, sources_count) != CM_OK ||
        reserve_scratch(backend, created->padded) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY,
                              "no device memory for matrix %s [%u, %u]; use a smaller model or "
                              "more devices",
                              name, created->n_out, created->n_in);
        goto done;
    }
    cublasStatus_t result = create_layouts(created);
    result = result == CUBLAS_STATUS_SUCCESS ? create_product(created) : result;
    result = result == CUBLAS_STATUS_SUCCESS ? choose_algorithm(created) : result;
    cm_cuda_check_blas(backend, result, name);
    status = cm_cuda_backend_status(backend, error);
done:
    if (status != CM_OK) {
        cm_cuda_matrix_close(created);
        return status;
    }
    *matrix = created;
    return CM_OK;
}

void cm_cuda_matrix_close(struct cm_matrix *matrix)
{
    cm_cuda_backend_free(matrix->backend, matrix->weights);
    cm_cuda_backend_free(matrix->backend, matrix->bias);
    if (matrix->product != NULL) {
        cublasLtMatmulDescDestroy(matrix->product);
    }
    cublasLtMatrixLayout_t const layouts[] = { matrix->weights_layout, matrix->x_layout,
                                               matrix->y_layout };
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        if (layouts[i] != NULL) {
            cublasLtMatrixLayoutDestroy(layouts[i]);
        }
    }
    cm_free(matrix);
}

uint32_t cm_cuda_matrix_n_in(const struct cm_matrix *matrix)
{
    return matrix->n_in;
}

uint32_t cm_cuda_matrix_n_out(const struct cm_matrix *matrix)
{
    return matrix->n_out;
}

size_t cm_cuda_matrix_bytes(const struct cm_matrix *matrix)
{
    return matrix->bytes;
}

uint64_t cm_cuda_matrix_rows_count(const struct cm_matrix *matrix)
{
    return matrix->rows_count;
}

/* --- The op --- */

void cm_cuda_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                       uint32_t n_rows, float *y)
{
    CM_ASSERT(n_rows <= backend->rows_max);
    if (n_rows == 0 || !cm_cuda_begin(backend)) {
        return;
    }
    const void *operand = x;
    const uint64_t rows = n_rows;
    const float one = 1.0f;
    const float zero = 0.0f;
    if (!is_exact(backend)) {
        cm_cuda_check(backend,
                      cm_cuda_narrow(x, n_rows, matrix->n_in, matrix->padded, backend->narrow,
                                     backend->stream),
                      "narrow");
        operand = backend->narrow;
    }
    cublasStatus_t result = cublasLtMatrixLayoutSetAttribute(
        matrix->x_layout, CUBLASLT_MATRIX_LAYOUT_COLS, &rows, sizeof rows);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatrixLayoutSetAttribute(matrix->y_layout, CUBLASLT_MATRIX_LAYOUT_COLS,
                                                  &rows, sizeof rows);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmul(backend->blas, matrix->product, &one, matrix->weights,
                                matrix->weights_layout, operand, matrix->x_layout, &zero, y,
                                matrix->y_layout, y, matrix->y_layout, &matrix->algorithm,
                                backend->workspace, CM_CUDA_WORKSPACE_BYTES, backend->stream);
    }
    cm_cuda_check_blas(backend, result, "matmul");
    cm_cuda_count_rows(matrix, n_rows);
}
