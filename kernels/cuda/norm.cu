/* Normalisation and addition.
 *
 *     RMS       out = x * f * w              f = 1 / sqrt(mean(x^2) + epsilon)
 *     RMS_PLUS  out = x * f * (1 + w)
 *     LAYER     out = (x - m) * f * w + b    m = mean(x), f = 1 / sqrt(mean((x - m)^2) + epsilon)
 *     add       x += y
 *
 * x, residual, out [n_rows, dim] float32, any alignment. With a residual, x += residual first and
 * is written back, in the same pass.
 *
 * One block a row. A thread sums its elements (threadIdx.x + k * blockDim.x, k rising) in float32,
 * then a tree over the warp, then the warps in order; the block's size depends on dim alone, so a
 * row's result does not depend on the others.
 * Bytes a row: 4 dim (2 + 2 with residual): x in and out out, the residual in and x out. The row is
 * read again, and the weights are read, out of the caches. Some 5 dim flops.
 * Occupancy of *: 4 on sm_80, 4 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <math.h>

enum { THREADS_MAX = 512, ADD_THREADS = 256 };

static __global__ void __launch_bounds__(THREADS_MAX) norm_rows(struct cm_norm_args args)
{
    __shared__ float partial[THREADS_MAX / 32];
    size_t first = (size_t)blockIdx.x * args.dim;
    float *x = args.x + first;
    float sum = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
        if (args.residual != NULL) {
            x[i] += args.residual[first + i];
        }
        sum += x[i];
    }
    float mean = 0.0f;
    if (args.kind == CM_NORM_LAYER) {
        mean = cm_block_sum(sum, partial) / (float)args.dim;
    }
    float squares = 0.0f;
    for (uint32_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
        float centred = x[i] - mean;
        squares = fmaf(centred, centred, squares);
    }
    float variance = cm_block_sum(squares, partial) / (float)args.dim;
    float factor = 1.0f / sqrtf(variance + args.epsilon);
    float plus = args.kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f;
    for (uint32_t i = threadIdx.x; i < args.dim; i += blockDim.x) {
        float value = (x[i] - mean) * factor * (plus + args.weight[i]);
        args.out[first + i] = args.bias != NULL ? value + args.bias[i] : value;
    }
}

static __global__ void __launch_bounds__(ADD_THREADS)
    add_elements(float *x, const float *y, size_t n)
{
    size_t i = (size_t)blockIdx.x * ADD_THREADS + threadIdx.x;
    if (i < n) {
        x[i] += y[i];
    }
}

extern "C" cudaError_t cm_cuda_norm(const struct cm_norm_args *args, cudaStream_t stream)
{
    unsigned threads = args->dim <= 256 ? 64 : args->dim <= 1024 ? 256 : THREADS_MAX;
    return CM_LAUNCH(norm_rows, dim3(args->n_rows), dim3(threads), 0, stream, *args);
}

extern "C" cudaError_t cm_cuda_add(float *x, const float *y, size_t n, cudaStream_t stream)
{
    return CM_LAUNCH(add_elements, dim3((unsigned)((n + ADD_THREADS - 1) / ADD_THREADS)),
                     dim3(ADD_THREADS), 0, stream, x, y, n);
}
