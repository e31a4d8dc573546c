/* What the ladders share: device memory, timing with events, and a line for each rung.
 *
 * A ladder climbs from the plainest kernel of a family to the product's launcher, which is its last
 * rung and cannot drift from it. Each rung is checked against plain C before it is timed; the time
 * is the least of several calls, so that what else the machine does counts least. */
#ifndef CM_PROFILING_GPU_LADDER_H
#define CM_PROFILING_GPU_LADDER_H

#include <cuda_runtime_api.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ladder {
    cudaStream_t stream;
    cudaEvent_t begin;
    cudaEvent_t end;
    uint32_t calls; /* of each rung */
    double copy_gbs;
    bool failed;
};

static inline void check(struct ladder *ladder, cudaError_t result, const char *what)
{
    if (result != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(result));
        ladder->failed = true;
    }
}

/* "--name N" anywhere in the arguments, or `otherwise`. */
static inline uint32_t option_of(int argc, char **argv, const char *name, uint32_t otherwise)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return (uint32_t)strtoul(argv[i + 1], NULL, 10);
        }
    }
    return otherwise;
}

/* Prints the text and tells whether --help was asked for. */
static inline bool is_help(int argc, char **argv, const char *text)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf("%s", text);
            return true;
        }
    }
    return false;
}

static inline void *device_copy(struct ladder *ladder, const void *host, size_t bytes)
{
    void *memory = NULL;
    check(ladder, cudaMalloc(&memory, bytes), "cudaMalloc");
    if (memory != NULL && host != NULL) {
        check(ladder, cudaMemcpy(memory, host, bytes, cudaMemcpyHostToDevice),
              "copy to the device");
    }
    return memory;
}

/* Reproducible numbers in [-1, 1). */
static inline float *numbers(uint64_t seed, size_t count)
{
    float *values = (float *)malloc(count * sizeof *values);
    for (size_t i = 0; values != NULL && i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        values[i] = (float)(seed >> 40) * 0x1p-23f - 1.0f;
    }
    return values;
}

/* Milliseconds of the quickest call. */
template <class Launch> static double time_ms(struct ladder *ladder, Launch launch)
{
    double least = INFINITY;
    for (uint32_t i = 0; i < ladder->calls && !ladder->failed; i++) {
        float ms = 0;
        check(ladder, cudaEventRecord(ladder->begin, ladder->stream), "event");
        check(ladder, launch(), "launch");
        check(ladder, cudaEventRecord(ladder->end, ladder->stream), "event");
        check(ladder, cudaEventSynchronize(ladder->end), "kernel");
        check(ladder, cudaEventElapsedTime(&ms, ladder->begin, ladder->end), "event");
        least = fmin(least, ms);
    }
    return least;
}

/* Opens the device and measures what a copy of `bytes` reaches, reads and writes counted. */
static inline bool ladder_open(struct ladder *ladder, int argc, char **argv)
{
    size_t bytes = (size_t)option_of(argc, argv, "--copy-mib", 256) << 20;
    memset(ladder, 0, sizeof *ladder);
    ladder->calls = option_of(argc, argv, "--calls", 20);
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
        fprintf(stderr, "no CUDA device here\n");
        return false;
    }
    check(ladder, cudaStreamCreateWithFlags(&ladder->stream, cudaStreamNonBlocking), "stream");
    check(ladder, cudaEventCreate(&ladder->begin), "event");
    check(ladder, cudaEventCreate(&ladder->end), "event");
    void *from = device_copy(ladder, NULL, bytes);
    void *to = device_copy(ladder, NULL, bytes);
    double ms = time_ms(ladder, [&] {
        return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ladder->stream);
    });
    ladder->copy_gbs = 2.0 * (double)bytes / ms / 1e6;
    cudaFree(from);
    cudaFree(to);
    printf("copy of %zu MiB: %.0f GB/s\n%-26s %11s %10s %8s %11s  %s\n", bytes >> 20,
           ladder->copy_gbs, "rung", "us", "GB/s", "of copy", "Gflop/s", "greatest error");
    return !ladder->failed;
}

/* Runs a rung once, asks `error_of` how far its result is from plain C, and times it. */
template <class Launch, class Check>
static void rung(struct ladder *ladder, const char *name, double bytes, double flops,
                 double error_max, Launch launch, Check error_of)
{
    check(ladder, launch(), name);
    check(ladder, cudaStreamSynchronize(ladder->stream), name);
    double error = error_of();
    double ms = time_ms(ladder, launch);
    if (!(error <= error_max)) {
        ladder->failed = true;
    }
    printf("%-26s %11.2f %10.1f %7.1f%% %11.1f  %.2g%s\n", name, ms * 1e3, bytes / ms / 1e6,
           100 * bytes / ms / 1e6 / ladder->copy_gbs, flops / ms / 1e6, error,
           error <= error_max ? "" : " WRONG");
}

static inline int ladder_close(struct ladder *ladder)
{
    cudaEventDestroy(ladder->begin);
    cudaEventDestroy(ladder->end);
    cudaStreamDestroy(ladder->stream);
    return ladder->failed ? 1 : 0;
}

#endif
