/* What lets a host go on while a device computes. Here every op is over when it returns, so copies
 * are plain, a fence has always passed, and there is nothing to gain by recording ops. */
#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"

struct cm_fence {
    const struct cm_backend_functions *functions;
};

void *cm_cpu_backend_host_alloc(struct cm_backend *backend, size_t bytes)
{
    return cm_cpu_backend_alloc(backend, bytes);
}

void cm_cpu_backend_host_free(struct cm_backend *backend, void *memory)
{
    cm_cpu_backend_free(backend, memory);
}

void cm_cpu_backend_send(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    cm_cpu_backend_upload(backend, to, from, bytes);
}

void cm_cpu_backend_fetch(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    cm_cpu_backend_download(backend, to, from, bytes);
}

enum cm_status cm_cpu_fence_create(struct cm_backend *backend, struct cm_fence **fence,
                                   struct cm_error *error)
{
    struct cm_fence *created = cm_alloc(1, sizeof *created);
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    created->functions = backend->functions;
    *fence = created;
    return CM_OK;
}

void cm_cpu_fence_close(struct cm_fence *fence)
{
    cm_free(fence);
}

void cm_cpu_fence_record(struct cm_fence *fence)
{
    (void)fence;
}

void cm_cpu_fence_wait(struct cm_fence *fence)
{
    (void)fence;
}

bool cm_cpu_backend_replay(struct cm_backend *backend, uint64_t key)
{
    (void)backend;
    (void)key;
    return false;
}

bool cm_cpu_backend_record_begin(struct cm_backend *backend, uint64_t key)
{
    (void)backend;
    (void)key;
    return false;
}

bool cm_cpu_backend_record_end(struct cm_backend *backend)
{
    (void)backend;
    return false;
}

void cm_cpu_backend_forget(struct cm_backend *backend)
{
    (void)backend;
}

void cm_cpu_backend_range_begin(struct cm_backend *backend, const char *name)
{
    (void)backend;
    (void)name;
}

void cm_cpu_backend_range_end(struct cm_backend *backend)
{
    (void)backend;
}
