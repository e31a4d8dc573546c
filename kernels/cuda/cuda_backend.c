#include "kernels/cuda/cuda_backend.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define CM_CUDA_MEMBER(name) .name = cm_cuda_##name,
static const struct cm_backend_functions functions = { CM_BACKEND_FUNCTIONS(CM_CUDA_MEMBER) };

/* Compute capability 8.0: bfloat16, cp.async; 8.9: e4m3. */
enum { CAPABILITY_MIN = 80, CAPABILITY_FP8_MIN = 89 };

static const char *const precision_names[] = {
    [CM_PRECISION_EXACT] = "exact", [CM_PRECISION_BF16] = "bf16", [CM_PRECISION_FP16] = "fp16",
    [CM_PRECISION_INT8] = "int8",   [CM_PRECISION_INT4] = "int4", [CM_PRECISION_FP8] = "fp8",
};

/* --- Failures --- */

void cm_cuda_fail(struct cm_backend *backend, const char *what, const char *reason)
{
    if (backend->failure[0] == '\0') {
        snprintf(backend->failure, sizeof backend->failure, "CUDA device %d failed. %s: %s",
                 backend->device, what, reason);
        cm_comm_fail(backend->comm, backend->failure);
    }
}

void cm_cuda_check(struct cm_backend *backend, cudaError_t result, const char *what)
{
    if (result != cudaSuccess) {
        cm_cuda_fail(backend, what, cudaGetErrorString(result));
    }
}

void cm_cuda_check_blas(struct cm_backend *backend, cublasStatus_t result, const char *what)
{
    if (result != CUBLAS_STATUS_SUCCESS) {
        cm_cuda_fail(backend, what, cublasLtGetStatusString(result));
    }
}

bool cm_cuda_begin(struct cm_backend *backend)
{
    cm_cuda_check(backend, cudaSetDevice(backend->device), "choosing the device");
    return backend->failure[0] == '\0';
}

enum cm_status cm_cuda_backend_status(struct cm_backend *backend, struct cm_error *error)
{
    if (backend->failure[0] == '\0') {
        return CM_OK;
    }
    return cm_error_set(error, CM_DEVICE_FAILED, "%s", backend->failure);
}

/* --- Opening --- */

uint32_t cm_cuda_devices_count(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0 ? (uint32_t)count : 0;
}

static enum cm_status find_device(const struct cm_backend_options *options,
                                  struct cudaDeviceProp *properties, struct cm_error *error)
{
    int count = 0;
    cudaError_t result = cudaGetDeviceCount(&count);
    if (result != cudaSuccess || count == 0) {
        return cm_error_set(
            error, CM_NOT_FOUND,
            "no CUDA device: %s. Look at what nvidia-smi shows, or use --device cpu",
            result != cudaSuccess ? cudaGetErrorString(result) : "none is present");
    }
    if (options->device_index >= (uint32_t)count) {
        return cm_error_set(error, CM_NOT_FOUND,
                            "no CUDA device %u; this machine has %d, numbered from 0",
                            options->device_index, count);
    }
    result = cudaGetDeviceProperties(properties, (int)options->device_index);
    if (result != cudaSuccess) {
        return cm_error_set(error, CM_DEVICE_FAILED, "CUDA device %u: %s", options->device_index,
                            cudaGetErrorString(result));
    }
    int capability = 10 * properties->major + properties->minor;
    if (capability < CAPABILITY_MIN) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "CUDA device %u, %s, has compute capability %d.%d; copymill needs 8.0 "
                            "(Ampere) or later. Use --device cpu",
                            options->device_index, properties->name, properties->major,
                            properties->minor);
    }
    if (options->precision == CM_PRECISION_FP8 && capability < CAPABILITY_FP8_MIN) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "CUDA device %u, %s, has compute capability %d.%d; --precision fp8 "
                            "needs 8.9 (Ada, Hopper) or later. Use int8, int4 or bf16",
                            options->device_index, properties->name, properties->major,
                            properties->minor);
    }
    return CM_OK;
}

static enum cm_status open_parts(struct cm_backend *backend, struct cm_error *error)
{
    cm_cuda_check(backend, cudaSetDevice(backend->device), "choosing the device");
    cm_cuda_check(backend, cudaStreamCreateWithFlags(&backend->stream, cudaStreamNonBlocking),
                  "creating a stream");
    cm_cuda_check(
        backend,
        cudaHostAlloc((void **)&backend->staging, CM_CUDA_STAGING_BYTES, cudaHostAllocDefault),
        "reserving memory for copies");
    cm_cuda_check_blas(backend, cublasLtCreate(&backend->blas), "opening cuBLASLt");
    return cm_cuda_backend_status(backend, error);
}

enum cm_status cm_backend_open_cuda(const struct cm_backend_options *options,
                                    struct cm_backend **backend, struct cm_error *error)
{
    struct cudaDeviceProp properties;
    enum cm_status status = find_device(options, &properties, error);
    if (status != CM_OK) {
        return status;
    }
    if (options->rows_max == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "rows_max must be at least 1");
    }
    struct cm_backend *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for the CUDA back end");
    }
    opened->functions = &functions;
    opened->device = (int)options->device_index;
    opened->rows_max = options->rows_max;
    opened->timeout_s = options->timeout_s;
    opened->precision =
        options->precision == CM_PRECISION_AUTO ? CM_PRECISION_BF16 : options->precision;
    /* cuBLASLt's version chooses its kernels, and these the roundings. */
    snprintf(opened->variant, sizeof opened->variant, "cuda-sm%d%d-blas%zu-%s", properties.major,
             properties.minor, cublasLtGetVersion(), precision_names[opened->precision]);
    status = open_parts(opened, error);
    if (status != CM_OK) {
        cm_cuda_backend_close(opened);
        return status;
    }
    *backend = opened;
    return CM_OK;
}

void cm_cuda_backend_close(struct cm_backend *backend)
{
    cudaSetDevice(backend->device);
    if (backend->stream != NULL && !backend->stuck) {
        cm_cuda_wait_stream(backend, backend->stream, "closing");
    }
    cm_cuda_backend_forget(backend);
    cm_free(backend->recordings);
    if (backend->stuck) { /* to give anything back would wait for it */
        cm_free(backend);
        return;
    }
    if (backend->stream != NULL) {
        cudaStreamDestroy(backend->stream);
    }
    cm_cuda_forget_choices(backend);
    if (backend->blas != NULL) {
        cublasLtDestroy(backend->blas);
    }
    cudaFree(backend->workspace);
    cudaFree(backend->narrow);
    cm_cuda_backend_host_free(backend, backend->staging);
    cm_free(backend);
}

const char *cm_cuda_backend_variant(const struct cm_backend *backend)
{
    return backend->variant;
}

uint32_t cm_cuda_backend_threads(const struct cm_backend *backend)
{
    (void)backend;
    return 1;
}

enum cm_precision cm_cuda_backend_precision(const struct cm_backend *backend)
{
    return backend->precision;
}

/* --- Memory --- */

uint64_t cm_cuda_backend_memory_bytes(struct cm_backend *backend)
{
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaMemGetInfo(&free_bytes, &total_bytes), "asking for its memory");
    }
    return free_bytes;
}

void *cm_cuda_reserve(struct cm_backend *backend, size_t bytes)
{
    void *memory = NULL;
    if (!cm_cuda_begin(backend)) {
        return NULL;
    }
    if (cudaMalloc(&memory, bytes > 0 ? bytes : 1) != cudaSuccess) {
        cudaGetLastError(); /* no more memory is not a failure of the device */
        return NULL;
    }
    return memory;
}

void *cm_cuda_backend_alloc(struct cm_backend *backend, size_t bytes)
{
    void *memory = cm_cuda_reserve(backend, bytes);
    if (memory != NULL) {
        cm_cuda_check(backend, cudaMemsetAsync(memory, 0, bytes, backend->stream),
                      "clearing memory");
    }
    return memory;
}

void cm_cuda_backend_free(struct cm_backend *backend, void *memory)
{
    if (memory != NULL && !backend->stuck) {
        cudaSetDevice(backend->device);
        cm_cuda_check(backend, cudaFree(memory), "giving memory back");
    }
}

/* The stream has done all so far, and the staging memory is free again. */
static void wait_for_stream(struct cm_backend *backend)
{
    cm_cuda_wait_stream(backend, backend->stream, "running a step");
    backend->staging_used = 0;
}

static size_t staging_left(const struct cm_backend *backend)
{
    return CM_CUDA_STAGING_BYTES - backend->staging_used;
}

void cm_cuda_backend_upload(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    while (bytes > 0 && cm_cuda_begin(backend)) {
        if (staging_left(backend) == 0) {
            wait_for_stream(backend);
        }
        size_t part = bytes < staging_left(backend) ? bytes : staging_left(backend);
        unsigned char *staged = backend->staging + backend->staging_used;
        memcpy(staged, source, part);
        cm_cuda_check(
            backend, cudaMemcpyAsync(target, staged, part, cudaMemcpyHostToDevice, backend->stream),
            "copying to the device");
        backend->staging_used +=
            (part + CM_CACHE_LINE_BYTES - 1) & ~(size_t)(CM_CACHE_LINE_BYTES - 1);
        target += part;
        source += part;
        bytes -= part;
    }
}

void cm_cuda_backend_download(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    memset(to, 0, bytes); /* defined even where the device has failed */
    if (cm_cuda_begin(backend) && staging_left(backend) < bytes) {
        wait_for_stream(backend);
    }
    while (bytes > 0 && cm_cuda_begin(backend)) {
        size_t part = bytes < staging_left(backend) ? bytes : staging_left(backend);
        unsigned char *staged = backend->staging + backend->staging_used;
        cm_cuda_check(
            backend, cudaMemcpyAsync(staged, source, part, cudaMemcpyDeviceToHost, backend->stream),
            "copying from the device");
        wait_for_stream(backend);
        memcpy(target, staged, part);
        target += part;
        source += part;
        bytes -= part;
    }
}
