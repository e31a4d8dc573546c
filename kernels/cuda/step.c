/* What lets the host go on while the device computes: copies to and from page-locked memory, events
 * in the stream to wait for, and names for a profiler. */
#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

#include <string.h>

/* NVTX is headers alone, which the toolkit has; its wheels may be missing. */
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define CM_HAS_NVTX 1
#endif

/* --- Memory and copies --- */

void *cm_cuda_backend_host_alloc(struct cm_backend *backend, size_t bytes)
{
    void *memory = NULL;
    if (!cm_cuda_begin(backend)) {
        return NULL;
    }
    if (cudaHostAlloc(&memory, bytes > 0 ? bytes : 1, cudaHostAllocDefault) != cudaSuccess) {
        cudaGetLastError(); /* no more memory is not a failure of the device */
        return NULL;
    }
    memset(memory, 0, bytes);
    return memory;
}

void cm_cuda_backend_host_free(struct cm_backend *backend, void *memory)
{
    if (memory != NULL && !cm_cuda_any_stuck()) {
        cudaSetDevice(backend->device);
        cm_cuda_check(backend, cudaFreeHost(memory), "giving memory of the host back");
    }
}

void cm_cuda_backend_send(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    if (bytes > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, backend->stream),
                      "copying to the device");
    }
}

void cm_cuda_backend_fetch(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    if (bytes > 0 && cm_cuda_begin(backend)) {
        cm_cuda_check(backend,
                      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, backend->stream),
                      "copying from the device");
    }
}

/* --- Fences --- */

enum cm_status cm_cuda_fence_create(struct cm_backend *backend, struct cm_fence **fence,
                                    struct cm_error *error)
{
    struct cm_fence *created = cm_alloc(1, sizeof *created);
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    created->functions = backend->functions;
    created->backend = backend;
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaEventCreateWithFlags(&created->event, cudaEventDisableTiming),
                      "creating an event");
    }
    enum cm_status status = cm_cuda_backend_status(backend, error);
    if (status != CM_OK) {
        cm_cuda_fence_close(created);
        return status;
    }
    *fence = created;
    return CM_OK;
}

void cm_cuda_fence_close(struct cm_fence *fence)
{
    if (fence->event != NULL && !fence->backend->stuck) {
        cudaSetDevice(fence->backend->device);
        cudaEventDestroy(fence->event);
    }
    cm_free(fence);
}

void cm_cuda_fence_record(struct cm_fence *fence)
{
    if (cm_cuda_begin(fence->backend)) {
        cm_cuda_check(fence->backend, cudaEventRecord(fence->event, fence->backend->stream),
                      "marking the end of a step");
    }
}

void cm_cuda_fence_wait(struct cm_fence *fence)
{
    if (cm_cuda_begin(fence->backend)) {
        cm_cuda_wait_event(fence->backend, fence->event, "running a step");
    }
}

/* --- Where the calling thread runs --- */

void cm_cuda_backend_enter(struct cm_backend *backend)
{
    (void)backend;
}

void cm_cuda_backend_leave(struct cm_backend *backend)
{
    (void)backend;
}

/* --- Names for a profiler --- */

void cm_cuda_backend_range_begin(struct cm_backend *backend, const char *name)
{
    (void)backend;
    (void)name;
#if defined(CM_HAS_NVTX)
    nvtxRangePushA(name);
#endif
}

void cm_cuda_backend_range_end(struct cm_backend *backend)
{
    (void)backend;
#if defined(CM_HAS_NVTX)
    nvtxRangePop();
#endif
}
