#include "kernels/cuda/selftest.h"

#include "kernels/cuda/cuda_backend.h"

#include <math.h>
#include <nccl.h>
#include <stdio.h>
#include <string.h>

/* --- What a report names --- */

void cm_cuda_describe(uint32_t device_index, char *text, size_t text_bytes)
{
    struct cudaDeviceProp properties;
    int driver = 0;
    int runtime = 0;
    int nccl = 0;
    cudaError_t result = cudaGetDeviceProperties(&properties, (int)device_index);
    if (result != cudaSuccess) {
        snprintf(text, text_bytes, "CUDA device %u: %s\n", device_index,
                 cudaGetErrorString(result));
        return;
    }
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    ncclGetVersion(&nccl);
    snprintf(text, text_bytes,
             "device: cuda:%u, %s, compute capability %d.%d, %d multiprocessors\n"
             "memory: %.1f GiB, ECC %s\n"
             "driver: for CUDA %d.%d\n"
             "libraries: CUDA runtime %d.%d, cuBLASLt %zu, NCCL %d\n",
             device_index, properties.name, properties.major, properties.minor,
             properties.multiProcessorCount, (double)properties.totalGlobalMem / 0x1p30,
             properties.ECCEnabled ? "on" : "off", driver / 1000, driver % 1000 / 10,
             runtime / 1000, runtime % 1000 / 10, cublasLtGetVersion(), nccl);
}

/* --- Times --- */

double cm_cuda_time_cold_s(struct cm_backend *backend, cm_cuda_work *work, void *context,
                           void *cache, size_t cache_bytes)
{
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cudaMemsetAsync(cache, 1, cache_bytes, backend->stream),
                      "clearing the caches");
    }
    return cm_cuda_time_s(backend, work, context);
}

/* --- Links --- */

enum { LINK_ROUNDS = 3, LINK_WORDS = 4096 };

struct link_copy {
    const struct cm_backend *to;
    void *target;
    const void *source;
    size_t bytes;
};

static void copy_over(struct cm_backend *from, void *context)
{
    const struct link_copy *copy = context;
    cm_cuda_check(from,
                  cudaMemcpyPeerAsync(copy->target, copy->to->device, copy->source, from->device,
                                      copy->bytes, from->stream),
                  "copying to another device");
}

/* Both ends of the memory carry a pattern. */
static bool has_arrived(struct cm_backend *backend, const unsigned char *memory, size_t bytes,
                        const uint32_t *pattern)
{
    uint32_t words[LINK_WORDS];
    cm_cuda_backend_download(backend, words, memory, sizeof words);
    bool is_same = memcmp(words, pattern, sizeof words) == 0;
    cm_cuda_backend_download(backend, words, memory + bytes - sizeof words, sizeof words);
    return is_same && memcmp(words, pattern, sizeof words) == 0;
}

static double measure_way(struct cm_backend *from, struct cm_backend *to, size_t bytes,
                          struct cm_cuda_link *link)
{
    uint32_t pattern[LINK_WORDS];
    unsigned char *source = cm_cuda_backend_alloc(from, bytes);
    unsigned char *target = cm_cuda_backend_alloc(to, bytes);
    struct cm_error error = { 0 };
    double least_s = INFINITY;
    for (uint32_t i = 0; i < LINK_WORDS; i++) {
        pattern[i] = (i + 1) * 2654435761u + (uint32_t)from->device;
    }
    if (source == NULL || target == NULL) {
        snprintf(link->failure, sizeof link->failure, "no device memory for %zu MiB", bytes >> 20);
    } else {
        struct link_copy copy = { to, target, source, bytes };
        cm_cuda_backend_upload(from, source, pattern, sizeof pattern);
        cm_cuda_backend_upload(from, source + bytes - sizeof pattern, pattern, sizeof pattern);
        cm_cuda_wait_stream(to, to->stream, "clearing memory");
        for (int i = 0; i < LINK_ROUNDS; i++) {
            least_s = fmin(least_s, cm_cuda_time_s(from, copy_over, &copy));
        }
        if (!has_arrived(to, target, bytes, pattern)) {
            snprintf(link->failure, sizeof link->failure,
                     "what came from device %d is not what was sent", from->device);
        }
    }
    if (cm_cuda_backend_status(from, &error) != CM_OK ||
        cm_cuda_backend_status(to, &error) != CM_OK) {
        snprintf(link->failure, sizeof link->failure, "%.250s", error.message);
    }
    cm_cuda_backend_free(from, source);
    cm_cuda_backend_free(to, target);
    return (double)bytes / least_s * 1e-9;
}

/* Lets the device read and write the other's memory where the hardware can. */
static bool open_way(const struct cm_backend *from, const struct cm_backend *to)
{
    int can = 0;
    if (cudaDeviceCanAccessPeer(&can, from->device, to->device) != cudaSuccess || can == 0) {
        return false;
    }
    cudaSetDevice(from->device);
    cudaError_t result = cudaDeviceEnablePeerAccess(to->device, 0);
    cudaGetLastError(); /* it may be open already */
    return result == cudaSuccess || result == cudaErrorPeerAccessAlreadyEnabled;
}

void cm_cuda_measure_link(uint32_t from, uint32_t to, size_t bytes, struct cm_cuda_link *link)
{
    struct cm_backend_options options = { .precision = CM_PRECISION_EXACT,
                                          .rows_max = 1,
                                          .device = CM_DEVICE_CUDA,
                                          .device_index = from };
    struct cm_backend *backends[2] = { NULL, NULL };
    struct cm_error error = { 0 };
    *link = (struct cm_cuda_link){ 0 };
    enum cm_status status = cm_backend_open(&options, &backends[0], &error);
    options.device_index = to;
    if (status == CM_OK) {
        status = cm_backend_open(&options, &backends[1], &error);
    }
    if (status != CM_OK) {
        snprintf(link->failure, sizeof link->failure, "%.250s", error.message);
    } else {
        link->has_peer_access = open_way(backends[0], backends[1]);
        link->has_peer_access = open_way(backends[1], backends[0]) && link->has_peer_access;
        link->there_gbs = measure_way(backends[0], backends[1], bytes, link);
        link->back_gbs = measure_way(backends[1], backends[0], bytes, link);
    }
    cm_backend_close(backends[0]);
    cm_backend_close(backends[1]);
}

/* --- Ops inside a graph --- */

static void begin_graph(struct cm_trial *trial)
{
    cm_cuda_check(trial->backend,
                  cudaStreamBeginCapture(trial->backend->stream, cudaStreamCaptureModeThreadLocal),
                  "capturing a graph");
}

static void end_graph(struct cm_trial *trial)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t program = NULL;
    cudaError_t result = cudaStreamEndCapture(trial->backend->stream, &graph);
    if (result == cudaSuccess) {
        result = cudaGraphInstantiate(&program, graph, 0);
    }
    if (result == cudaSuccess) {
        result = cudaGraphLaunch(program, trial->backend->stream);
    }
    if (result == cudaSuccess) {
        result = cudaStreamSynchronize(trial->backend->stream);
    }
    if (result != cudaSuccess) {
        cm_trial_fail(trial, "in a graph: %s", cudaGetErrorString(result));
    }
    if (program != NULL) {
        cudaGraphExecDestroy(program);
    }
    if (graph != NULL) {
        cudaGraphDestroy(graph);
    }
}

const struct cm_trial_mode CM_CUDA_GRAPH_MODE = { begin_graph, end_graph };
