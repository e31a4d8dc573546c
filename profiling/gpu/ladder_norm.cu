/* RMS norm with a residual: x += residual, out = x / sqrt(mean(x^2) + epsilon) * w.
 *
 * Bound by memory: x and residual in, x and out out, 16 bytes an element. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "profiling/gpu/ladder.h"

enum { THREADS = 256 };
static const float EPSILON = 1e-5f;

/* 1: neighbours in a warp read addresses a row apart. */
static __global__ void thread_a_row(struct cm_norm_args args)
{
    uint32_t row = blockIdx.x * THREADS + threadIdx.x;
    if (row >= args.n_rows) {
        return;
    }
    float *x = args.x + (size_t)row * args.dim;
    float sum = 0.0f;
    for (uint32_t i = 0; i < args.dim; i++) {
        x[i] += args.residual[(size_t)row * args.dim + i];
        sum += x[i] * x[i];
    }
    float factor = 1.0f / sqrtf(sum / (float)args.dim + args.epsilon);
    for (uint32_t i = 0; i < args.dim; i++) {
        args.out[(size_t)row * args.dim + i] = x[i] * factor * args.weight[i];
    }
}

/* 2: a block a row, neighbours read neighbours; the sum is a tree in shared memory. */
static __global__ void block_a_row(struct cm_norm_args args)
{
    __shared__ float sums[THREADS];
    size_t first = (size_t)blockIdx.x * args.dim;
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.dim; i += THREADS) {
        args.x[first + i] += args.residual[first + i];
        sum += args.x[first + i] * args.x[first + i];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (uint32_t half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
        __syncthreads();
    }
    float factor = 1.0f / sqrtf(sums[0] / (float)args.dim + args.epsilon);
    for (uint32_t i = threadIdx.x; i < args.dim; i += THREADS) {
        args.out[first + i] = args.x[first + i] * factor * args.weight[i];
    }
}

/* The first row's out against float64, from the x that the rung left. */
static double error_of_row(struct ladder *ladder, const struct cm_norm_args *args,
                           const float *weight)
{
    float *x = (float *)malloc(2 * args->dim * sizeof *x);
    float *out = x + args->dim;
    double sum = 0;
    double error = 0;
    check(ladder, cudaMemcpy(x, args->x, args->dim * sizeof *x, cudaMemcpyDeviceToHost), "result");
    check(ladder, cudaMemcpy(out, args->out, args->dim * sizeof *x, cudaMemcpyDeviceToHost),
          "result");
    for (uint32_t i = 0; i < args->dim; i++) {
        sum += (double)x[i] * x[i];
    }
    for (uint32_t i = 0; i < args->dim; i++) {
        error = fmax(error, fabs(out[i] - x[i] / sqrt(sum / args->dim + EPSILON) * weight[i]));
    }
    free(x);
    return error;
}

int main(int argc, char **argv)
{
    struct ladder ladder;
    if (is_help(argc, argv, "ladder_norm [--rows 4096] [--dim 4096] [--calls 20]\n")) {
        return 0;
    }
    if (!ladder_open(&ladder, argc, argv)) {
        return 77;
    }
    struct cm_norm_args args = {};
    args.kind = CM_NORM_RMS;
    args.epsilon = EPSILON;
    args.n_rows = option_of(argc, argv, "--rows", 4096);
    args.dim = option_of(argc, argv, "--dim", 4096);
    size_t n = (size_t)args.n_rows * args.dim;
    float *host = numbers(1, n);
    float *weight = numbers(2, args.dim);
    float *x = (float *)device_copy(&ladder, host, n * sizeof *host);
    args.x = x;
    args.residual = (float *)device_copy(&ladder, host, n * sizeof *host);
    args.weight = (float *)device_copy(&ladder, weight, args.dim * sizeof *weight);
    args.out = (float *)device_copy(&ladder, NULL, n * sizeof *host);
    auto error = [&] { return error_of_row(&ladder, &args, weight); };
    double bytes = 16.0 * (double)n;
    double flops = 5.0 * (double)n;
    rung(
        &ladder, "1 thread a row", bytes, flops, 1e-4,
        [&] {
            return CM_LAUNCH(thread_a_row, dim3((args.n_rows + THREADS - 1) / THREADS),
                             dim3(THREADS), 0, ladder.stream, args);
        },
        error);
    rung(
        &ladder, "2 block a row", bytes, flops, 1e-4,
        [&] {
            return CM_LAUNCH(block_a_row, dim3(args.n_rows), dim3(THREADS), 0, ladder.stream, args);
        },
        error);
    rung(
        &ladder, "3 norm.cu", bytes, flops, 1e-4,
        [&] { return cm_cuda_norm(&args, ladder.stream); }, error);
    cudaFree(x);
    cudaFree((void *)args.residual);
    cudaFree((void *)args.weight);
    cudaFree(args.out);
    free(host);
    free(weight);
    return ladder_close(&ladder);
}
