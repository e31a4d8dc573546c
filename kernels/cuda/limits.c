/* What the device can do at best, measured with what does nothing else: a copy inside its memory
 * and large square products by cuBLASLt, which may choose any of its algorithms. Each figure is the
 * least of a few rounds by events. Sizes double until a round takes long enough beside a launch, so
 * that a slow device is not kept busy. */
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

#include <math.h>
#include <stdio.h>

enum {
    ROUNDS_COUNT = 5,
    COPY_BYTES_MIN = 1 << 20,
    COPY_BYTES_MAX = 1 << 30,
    PRODUCT_SIZE_MIN = 128,
    PRODUCT_SIZE_MAX = 8192,
    PATTERN_BYTES = 1 << 20,
};

static const double COPY_S = 250e-6;
static const double PRODUCT_S = 1e-3;

/* --- By events --- */

double cm_cuda_time_s(struct cm_backend *backend, cm_cuda_work *work, void *context)
{
    cudaEvent_t events[2] = { NULL, NULL };
    float elapsed_ms = 0;
    for (int i = 0; i < 2 && cm_cuda_begin(backend); i++) {
        cm_cuda_check(backend, cudaEventCreate(&events[i]), "creating an event");
    }
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaEventRecord(events[0], backend->stream), "timing");
        work(backend, context);
    }
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaEventRecord(events[1], backend->stream), "timing");
        cm_cuda_wait_event(backend, events[1], "timing");
    }
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaEventElapsedTime(&elapsed_ms, events[0], events[1]), "timing");
    }
    for (int i = 0; i < 2 && !backend->stuck; i++) {
        if (events[i] != NULL) {
            cudaEventDestroy(events[i]);
        }
    }
    return backend->failure[0] == '\0' ? (double)elapsed_ms * 1e-3 : 0;
}

static double least_s(struct cm_backend *backend, cm_cuda_work *work, void *context, int rounds)
{
    double least = INFINITY;
    for (int i = 0; i < rounds; i++) {
        least = fmin(least, cm_cuda_time_s(backend, work, context));
    }
    return least;
}

/* --- Memory --- */

struct copy {
    unsigned char *memory; /* [2 * bytes] */
    size_t bytes;
};

static void copy(struct cm_backend *backend, void *context)
{
    const struct copy *of = context;
    cm_cuda_check(backend,
                  cudaMemcpyAsync(of->memory + of->bytes, of->memory, of->bytes,
                                  cudaMemcpyDeviceToDevice, backend->stream),
                  "copying");
}

/* Bytes read and written. */
static double measure_copy_gbs(struct cm_backend *backend)
{
    struct copy of = { NULL, COPY_BYTES_MIN };
    size_t bytes_max = cm_cuda_backend_memory_bytes(backend) / 4;
    bytes_max = bytes_max < COPY_BYTES_MAX ? bytes_max : COPY_BYTES_MAX;
    if (bytes_max < COPY_BYTES_MIN) {
        return 0;
    }
    of.memory = cm_cuda_backend_alloc(backend, 2 * bytes_max);
    if (of.memory == NULL) {
        return 0;
    }
    while (2 * of.bytes <= bytes_max && least_s(backend, copy, &of, 2) < COPY_S) {
        of.bytes *= 2;
    }
    double seconds = least_s(backend, copy, &of, ROUNDS_COUNT);
    cm_cuda_backend_free(backend, of.memory);
    return seconds > 0 ? 2 * (double)of.bytes / seconds * 1e-9 : 0;
}

/* --- Products --- */

/* out [n, n] = left^T right, in a type. */
struct product {
    cudaDataType_t type;
    cudaDataType_t out_type;
    size_t element_bytes;
    uint64_t n;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t operands; /* both: square */
    cublasLtMatrixLayout_t out_layout;
    cublasLtMatmulAlgo_t algorithm;
    unsigned char *memory; /* left and right, out */
    void *workspace;       /* [CM_CUDA_WORKSPACE_BYTES] */
};

static cublasStatus_t create_product(struct product *product)
{
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t result =
        cublasLtMatmulDescCreate(&product->description, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulDescSetAttribute(product->description, CUBLASLT_MATMUL_DESC_TRANSA,
                                                &transposed, sizeof transposed);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatrixLayoutCreate(&product->operands, product->type, product->n,
                                            product->n, (int64_t)product->n);
    }
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatrixLayoutCreate(&product->out_layout, product->out_type, product->n,
                                            product->n, (int64_t)product->n);
    }
    return result;
}

/* The library's first choice of all. */
static cublasStatus_t choose_algorithm(const struct cm_backend *backend, struct product *product)
{
    const uint64_t workspace_bytes = CM_CUDA_WORKSPACE_BYTES;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found[1];
    int found_count = 0;
    cublasStatus_t result = cublasLtMatmulPreferenceCreate(&preference);
    if (result != CUBLAS_STATUS_SUCCESS) {
        return result;
    }
    result =
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace_bytes, sizeof workspace_bytes);
    if (result == CUBLAS_STATUS_SUCCESS) {
        result = cublasLtMatmulAlgoGetHeuristic(
            backend->blas, product->description, product->operands, product->operands,
            product->out_layout, product->out_layout, preference, 1, found, &found_count);
    }
    cublasLtMatmulPreferenceDestroy(preference);
    if (result == CUBLAS_STATUS_SUCCESS) {
        product->algorithm = found[0].algo;
        result = found_count > 0 ? found[0].state : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return result;
}

static void destroy_product(struct product *product)
{
    if (product->description != NULL) {
        cublasLtMatmulDescDestroy(product->description);
    }
    if (product->operands != NULL) {
        cublasLtMatrixLayoutDestroy(product->operands);
    }
    if (product->out_layout != NULL) {
        cublasLtMatrixLayoutDestroy(product->out_layout);
    }
    product->description = NULL;
    product->operands = NULL;
    product->out_layout = NULL;
}

static size_t operand_bytes(const struct product *product)
{
    return product->n * product->n * product->element_bytes;
}

static void multiply(struct cm_backend *backend, void *context)
{
    const struct product *product = context;
    const float one = 1.0f;
    const float zero = 0.0f;
    unsigned char *right = product->memory + operand_bytes(product);
    void *out = right + operand_bytes(product);
    cm_cuda_check_blas(backend,
                       cublasLtMatmul(backend->blas, product->description, &one, product->memory,
                                      product->operands, right, product->operands, &zero, out,
                                      product->out_layout, out, product->out_layout,
                                      &product->algorithm, product->workspace,
                                      CM_CUDA_WORKSPACE_BYTES, backend->stream),
                       "measuring products");
}

/* Numbers of magnitude 1/2 to 2 in each of the types: a device multiplies zeros with less power,
 * and so at a higher clock. */
static void fill(struct cm_backend *backend, unsigned char *memory, size_t bytes)
{
    enum { WORDS = PATTERN_BYTES / 4 };
    uint32_t *pattern = cm_alloc(WORDS, sizeof *pattern);
    uint64_t state = 1;
    if (pattern == NULL) {
        return;
    }
    for (uint32_t i = 0; i < WORDS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pattern[i] = ((uint32_t)(state >> 32) & 0x80bf80bf) | 0x3f003f00;
    }
    for (size_t at = 0; at < bytes; at += PATTERN_BYTES) {
        size_t part = bytes - at < PATTERN_BYTES ? bytes - at : PATTERN_BYTES;
        if (at == 0) {
            cm_cuda_backend_upload(backend, memory, pattern, part);
        } else if (cm_cuda_begin(backend)) {
            cm_cuda_check(backend,
                          cudaMemcpyAsync(memory + at, memory, part, cudaMemcpyDeviceToDevice,
                                          backend->stream),
                          "copying");
        }
    }
    cm_free(pattern);
}

/* 0 where the device or the library lacks the type. */
static double measure_product_gflops(struct cm_backend *backend, struct product product)
{
    double seconds = 0;
    uint64_t n_max = PRODUCT_SIZE_MAX;
    size_t free_bytes = cm_cuda_backend_memory_bytes(backend);
    while (n_max > PRODUCT_SIZE_MIN &&
           n_max * n_max * (2 * product.element_bytes + sizeof(float)) > free_bytes / 4) {
        n_max /= 2;
    }
    size_t bytes = n_max * n_max * (2 * product.element_bytes + sizeof(float));
    product.memory = cm_cuda_reserve(backend, bytes);
    product.workspace = cm_cuda_reserve(backend, CM_CUDA_WORKSPACE_BYTES);
    if (product.memory != NULL && product.workspace != NULL) {
        fill(backend, product.memory, bytes);
        for (product.n = PRODUCT_SIZE_MIN;; product.n *= 2) {
            bool is_there = create_product(&product) == CUBLAS_STATUS_SUCCESS &&
                            choose_algorithm(backend, &product) == CUBLAS_STATUS_SUCCESS;
            seconds = is_there ? least_s(backend, multiply, &product, 2) : 0;
            if (!is_there || product.n == n_max || !(seconds < PRODUCT_S)) {
                break;
            }
            destroy_product(&product);
        }
        seconds = seconds > 0 ? least_s(backend, multiply, &product, ROUNDS_COUNT) : 0;
        destroy_product(&product);
    }
    cm_cuda_backend_free(backend, product.memory);
    cm_cuda_backend_free(backend, product.workspace);
    double n = (double)product.n;
    return seconds > 0 ? 2 * n * n * n / seconds * 1e-9 : 0;
}

void cm_cuda_backend_measure_limits(struct cm_backend *backend, bool bandwidth,
                                    struct cm_machine_limits *limits)
{
    struct cudaDeviceProp properties;
    *limits = (struct cm_machine_limits){ 0 };
    if (cudaGetDeviceProperties(&properties, backend->device) == cudaSuccess) {
        snprintf(limits->device_name, sizeof limits->device_name, "%.60s", properties.name);
        limits->sm_count = (uint32_t)properties.multiProcessorCount;
    }
    limits->bandwidth_gbs = bandwidth ? measure_copy_gbs(backend) : 0;
    limits->fp32_gflops = measure_product_gflops(
        backend,
        (struct product){ .type = CUDA_R_32F, .out_type = CUDA_R_32F, .element_bytes = 4 });
    limits->bf16_gflops = measure_product_gflops(
        backend,
        (struct product){ .type = CUDA_R_16BF, .out_type = CUDA_R_16BF, .element_bytes = 2 });
    limits->fp8_gflops = measure_product_gflops(
        backend,
        (struct product){ .type = CUDA_R_8F_E4M3, .out_type = CUDA_R_16BF, .element_bytes = 1 });
}
