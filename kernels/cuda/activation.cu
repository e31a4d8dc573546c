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
 * x, out float32, any alignment; out of a gate may be [n_rows, padded] bfloat16 or float16 for a
 * product on tensor cores (narrow.h), filled with zeros. Element by element, so no order of sums
 * and no dependence on other rows. Bytes an output element: 8 plain, 12 gated, 10 where out is
 * narrow; some 20 flops, far under what the memory feeds. Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow.h"

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

/* A thread for four neighbours of a row. */
template <enum cm_activation_kind KIND, class T>
static __global__ void __launch_bounds__(THREADS)
    gated(const float *x, uint32_t dim, T *out, uint32_t padded)
{
    const float *gates = x + (size_t)blockIdx.x * 2 * dim;
    const float *ups = gates + dim;
    T *to = out + (size_t)blockIdx.x * padded;
    uint32_t i = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (i >= padded) {
        return;
    }
    bool aligned = cm_is_aligned(x, dim);
    float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (i < dim) {
        float4 gate = cm_load_quad(gates, i, dim, aligned);
        float4 up = cm_load_quad(ups, i, dim, aligned);
        quad = make_float4(activate<KIND>(gate.x) * up.x, activate<KIND>(gate.y) * up.y,
                           activate<KIND>(gate.z) * up.z, activate<KIND>(gate.w) * up.w);
    }
    bool out_aligned = padded % 4 == 0 && (uintptr_t)out % (4 * sizeof(T)) == 0;
    cm_store_narrow(to, i, padded, out_aligned, quad);
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

template <class T>
static cudaError_t launch_gated(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                                uint32_t dim, void *out, uint32_t padded, cudaStream_t stream)
{
    dim3 grid(n_rows, (padded + 4 * THREADS - 1) / (4 * THREADS));
    dim3 block(THREADS);
    switch (kind) {
    case CM_ACTIVATION_SILU:
        return CM_LAUNCH((gated<CM_ACTIVATION_SILU, T>), grid, block, 0, stream, x, dim, (T *)out,
                         padded);
    case CM_ACTIVATION_GELU_TANH:
        return CM_LAUNCH((gated<CM_ACTIVATION_GELU_TANH, T>), grid, block, 0, stream, x, dim,
                         (T *)out, padded);
    case CM_ACTIVATION_GELU_ERF:
        return CM_LAUNCH((gated<CM_ACTIVATION_GELU_ERF, T>), grid, block, 0, stream, x, dim,
                         (T *)out, padded);
    }
    return cudaErrorInvalidValue;
}

extern "C" cudaError_t cm_cuda_gated(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                                     uint32_t dim, float *out, cudaStream_t stream)
{
    return launch_gated<float>(kind, x, n_rows, dim, out, dim, stream);
}

extern "C" cudaError_t cm_cuda_gated_narrow(enum cm_activation_kind kind, const float *x,
                                            uint32_t n_rows, uint32_t dim, bool bf16,
                                            uint32_t padded, void *out, cudaStream_t stream)
{
    return bf16 ? launch_gated<__nv_bfloat16>(kind, x, n_rows, dim, out, padded, stream)
                : launch_gated<__half>(kind, x, n_rows, dim, out, padded, stream);
}
