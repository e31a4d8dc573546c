/* y[n_rows, n_out] f32 = x[n_rows, n_in] f32 * W[n_out, n_in]^T + bias[n_out] f32, by cuBLASLt
 *
 *   exact       W and x float32, float32 arithmetic (no TF32)
 *   bf16, fp16  W and x rounded to that type (narrow.cu), products added in float32
 *   fp8         W as e4m3 with a scale for each output, x as e4m3 with a scale for each row,
 *               products added in float32; the scales and the bias come after (narrow.cu)
 *   int8, int4  by a kernel of our own, see matmul_integer.cu
 *
 * Rows of narrow types are padded with zeros to a multiple of 16 bytes. Row-major x and W are
 * column-major matrices [n_in, n_rows] and [n_in, n_out], so this is y^T = W^T x with W transposed.
 * Its algorithms (matmul_choice.c) all leave the same bits: an element of y is the same sequence of
 * operations however many rows there are.
 * Bytes: weights once, and x and y (fp8: y three times); flops: 2 n_rows n_in n_out. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/matrix_source.h"

/* The workspace of cuBLASLt, and room for the rows of x in the type of the product. */
static enum cm_status reserve_scratch(struct cm_matrix *matrix)
{
    enum { ROWS = 16 }; /* integers take whole tiles of these */
    struct cm_backend *backend = matrix->backend;
    size_t rows = ((size_t)backend->rows_max + ROWS - 1) / ROWS * ROWS;
    size_t row_bytes = (size_t)matrix->padded * sizeof(uint16_t) + sizeof(float);
    size_t bytes;
    if (backend->workspace == NULL && matrix->format != CM_CUDA_INTEGERS) {
        backend->workspace = cm_cuda_reserve(backend, CM_CUDA_WORKSPACE_BYTES);
        if (backend->workspace == NULL) {
            return CM_OUT_OF_MEMORY;
        }
    }
    if (cm_size_mul(rows, row_bytes, &bytes)) {
        return CM_OUT_OF_MEMORY;
    }
    if (matrix->format == CM_CUDA_F32 || bytes <= backend->narrow_bytes) {
        return CM_OK;
    }
    void *narrow = cm_cuda_reserve(backend, bytes);
    if (narrow == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_cuda_backend_free(backend, backend->narrow);
    backend->narrow = narrow;
    backend->narrow_bytes = bytes;
    return CM_OK;
}

/* --- The product --- */

static cublasStatus_t create_layouts(struct cm_matrix *matrix)
{
    static const cudaDataType_t types[] = {
        [CM_CUDA_F32] = CUDA_R_32F,
        [CM_CUDA_BF16] = CUDA_R_16BF,
        [CM_CUDA_F16] = CUDA_R_16F,
        [CM_CUDA_FP8] = CUDA_R_8F_E4M3,
    };
    const cudaDataType_t type = types[matrix->format];
    uint64_t rows = matrix->backend->rows_max;
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
    if (result == CUBLAS_STATUS_SUCCESS && matrix->bias != NULL && matrix->format != CM_CUDA_FP8) {
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
    cm_cuda_matrix_choose_format(created, sources, sources_count);
    if (cm_cuda_matrix_pack(created, sources, sources_count) != CM_OK ||
        reserve_scratch(created) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY,
                              "no device memory for matrix %s [%u, %u]; use a smaller model or "
                              "more devices",
                              name, created->n_out, created->n_in);
        goto done;
    }
    if (created->format == CM_CUDA_INTEGERS) {
        status = cm_cuda_backend_status(backend, error);
        goto done;
    }
    cublasStatus_t result = create_layouts(created);
    result = result == CUBLAS_STATUS_SUCCESS ? create_product(created) : result;
    result = result == CUBLAS_STATUS_SUCCESS ? cm_cuda_choose(created) : result;
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
    cm_cuda_backend_free(matrix->backend, matrix->scales);
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

/* x in the type of the product; for e4m3 with the rows' scales behind. */
static const void *narrow(const struct cm_matrix *matrix, const float *x, uint32_t n_rows,
                          float **row_scales)
{
    struct cm_backend *backend = matrix->backend;
    cudaError_t result = cudaSuccess;
    if (matrix->format == CM_CUDA_F32) {
        return x;
    }
    if (matrix->format == CM_CUDA_FP8) {
        *row_scales = (float *)(void *)((unsigned char *)backend->narrow +
                                        (size_t)backend->rows_max * matrix->padded);
        result = cm_cuda_narrow_fp8(x, n_rows, matrix->n_in, matrix->padded, backend->narrow,
                                    *row_scales, backend->stream);
    } else {
        result = cm_cuda_narrow(x, n_rows, matrix->n_in, matrix->padded,
                                matrix->format == CM_CUDA_BF16, backend->narrow, backend->stream);
    }
    cm_cuda_check(backend, result, "narrow");
    return backend->narrow;
}

/* `operand` is x in the type of the product. */
static void multiply(struct cm_matrix *matrix, const void *operand, uint32_t n_rows, float *y)
{
    cm_cuda_check_blas(matrix->backend,
                       cm_cuda_blas_multiply(matrix, cm_cuda_algorithm(matrix, n_rows),
                                             matrix->weights, operand, n_rows, y),
                       "matmul");
    cm_cuda_count_rows(matrix, n_rows);
}

void cm_cuda_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                       uint32_t n_rows, float *y)
{
    CM_ASSERT(n_rows <= backend->rows_max);
    if (n_rows == 0 || !cm_cuda_begin(backend)) {
        return;
    }
    if (matrix->format == CM_CUDA_INTEGERS) {
        cm_cuda_check(backend,
                      cm_cuda_integer_matmul(&matrix->integers, x, n_rows, matrix->n_in,
                                             backend->narrow, y, backend->stream),
                      "matmul");
        cm_cuda_count_rows(matrix, n_rows);
        return;
    }
    float *row_scales = NULL;
    const void *operand = narrow(matrix, x, n_rows, &row_scales);
    multiply(matrix, operand, n_rows, y);
    if (matrix->format == CM_CUDA_FP8) {
        cm_cuda_check(backend,
                      cm_cuda_scale(y, n_rows, matrix->n_out, row_scales, matrix->scales,
                                    matrix->bias, backend->stream),
                      "scale");
    }
}

/* --- The op behind what makes its rows, which come in the type of the product at once --- */

static bool takes_halves(const struct cm_matrix *matrix)
{
    return matrix->format == CM_CUDA_BF16 || matrix->format == CM_CUDA_F16;
}

void cm_cuda_op_norm_matmul(struct cm_backend *backend, const struct cm_norm_args *norm,
                            struct cm_matrix *matrix, float *y)
{
    CM_ASSERT(norm->dim == matrix->n_in && norm->n_rows <= backend->rows_max);
    if (!takes_halves(matrix)) {
        cm_cuda_op_norm(backend, norm);
        cm_cuda_op_matmul(backend, matrix, norm->out, norm->n_rows, y);
    } else if (norm->n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cm_cuda_norm_narrow(norm, matrix->format == CM_CUDA_BF16, matrix->padded,
                                          backend->narrow, backend->stream),
                      "norm");
        multiply(matrix, backend->narrow, norm->n_rows, y);
    }
}

void cm_cuda_op_gated_matmul(struct cm_backend *backend, enum cm_activation_kind kind,
                             const float *x, uint32_t n_rows, float *hidden,
                             struct cm_matrix *matrix, float *y)
{
    CM_ASSERT(n_rows <= backend->rows_max);
    if (!takes_halves(matrix)) {
        cm_cuda_op_gated(backend, kind, x, n_rows, matrix->n_in, hidden);
        cm_cuda_op_matmul(backend, matrix, hidden, n_rows, y);
    } else if (n_rows > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cm_cuda_gated_narrow(kind, x, n_rows, matrix->n_in,
                                           matrix->format == CM_CUDA_BF16, matrix->padded,
                                           backend->narrow, backend->stream),
                      "gated");
        multiply(matrix, backend->narrow, n_rows, y);
    }
}

void cm_cuda_op_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args)
{
    cm_cuda_op_norm_matmul(backend, args->norm, args->gate_up, args->products);
    cm_cuda_op_gated_matmul(backend, args->kind, args->products, args->norm->n_rows, args->hidden,
                            args->down, args->y);
}
