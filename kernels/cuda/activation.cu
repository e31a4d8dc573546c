/* Activations.
 *
 *     plain   out[r, i] = f(x[r, i])                         out may be x
 *     gated   out[r, i] = f(x[r, i]) * x[r, dim + i]         x [n_rows, 2 * dim]: gate, then up
 *
 *     SILU       x / (1 + exp(-x))
 *     GELU_TANH  x / (1 + exp(-2 u)), u = sqrt(2 / pi) (x + 0.044715 x^3), which is
 *                x / 2 * (1 + tanh(u)) without its cancellation
 *     GELU_ERF   x / 2 * (1 + erf(x / sqrt(2)))
 *
 * x, out float32, any alignment; element by element, so no order of sums and no dependence on other
 * rows. Bytes an output element: 8 plain, 12 gated; some 20 flops, far under what the memory feeds.
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <math.h>

enum { THREADS = 256 };

static __device__ __forceinline__ float logistic_times(float x, float minus_u)
{
    return x / (1.0f + expf(minus_u));
}

template <enum cm_activation_kind KIND> static __device__ __forceinline__ float activate(float x)
{
    if (KIND == CM_ACTIVATION_SILU) {
        return logistic_times(x, -x);
    }
    if (KIND == CM_ACTIVATION_GELU_TANH) {
        float inner = fmaf(x * x * x, 0.044715f, x);
        return logistic_times(x, inner * -1.5957691216057308f); /* -2 sqrt(2 / pi) */
    }
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}

template <enum cm_activation_kind KIND>
static __global__ void __launch_bounds__(THREADS) plain(const float *x, size_t n, float *out)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) {
        out[i] = activate<KIND>(x[i]);
    }
}

template <enum cm_activation_kind KIND>
static __global__ void __launch_bounds__(THREADS)
    gated(const float *x, uint32_t n_rows, uint32_t dim, float *out)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < (size_t)n_rows * dim) {
        const float *gate = x + i / dim * 2 * dim + i % dim;
        out[i] = activate<KIND>(gate[0]) * gate[dim];
    }
}

static unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

extern "C" cudaError_t cm_cuda_activation(enum cm_activation_kind kind, const float *x, size_t n,
                                          float *out, cudaStream_t stream)
{
    dim3 grid(blocks_for(n));
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return CM_LAUNCH(plain<CM_ACTIVATION_SILU>, grid, dim3(THREADS), 0, stream, x, n, out);
    case CM_ACTIVATION_GELU_TANH:
        return CM_LAUNCH(plain<CM_ACTIVATION_GELU_TANH>, grid, dim3(THREADS), 0, stream, x, n, out);
    case CM_ACTIVATION_GELU_ERF:
        return CM_LAUNCH(plain<CM_ACTIVATION_GELU_ERF>, grid, dim3(THREADS), 0, stream, x, n, out);
    }
    return cudaErrorInvalidValue;
}

extern "C" cudaError_t cm_cuda_gated(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                                     uint32_t dim, float *out, cudaStream_t stream)
{
    dim3 grid(blocks_for((size_t)n_rows * dim));
    dim3 block(THREADS);
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return CM_LAUNCH(gated<CM_ACTIVATION_SILU>, grid, block, 0, stream, x, n_rows, dim, out);
    case CM_ACTIVATION_GELU_TANH:
        return CM_LAUNCH(gated<CM_ACTIVATION_GELU_TANH>, grid, block, 0, stream, x, n_rows, dim,
                         out);
    case CM_ACTIVATION_GELU_ERF:
        return CM_LAUNCH(gated<CM_ACTIVATION_GELU_ERF>, grid, block, 0, stream, x, n_rows, dim,
                         out);
    }
    return cudaErrorInvalidValue;
}
