/* For trying out algorithms of products (matmul_choice.c).
 *
 *     noise        out[i] = a number in [-1, 1) that i and the seed decide, in the type of a
 * product differences  *count = how many i have a[i] and b[i] of different bits
 *
 * One thread an element. Bytes: the element; 8.
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow.h"

#include <cuda_fp8.h>

enum { THREADS = 256 };

static __device__ __forceinline__ void cm_narrow(float value, __nv_fp8_e4m3 *out)
{
    out->__x = __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
}

template <class T>
static __global__ void __launch_bounds__(THREADS) make_noise(T *out, size_t n, uint32_t seed)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) {
        /* the finaliser of MurmurHash3 (Appleby, public domain) */
        uint32_t h = ((uint32_t)i ^ (uint32_t)(i >> 32) * 0x9e3779b9u) + seed * 0x85ebca77u;
        h = (h ^ h >> 16) * 0x85ebca6bu;
        h = (h ^ h >> 13) * 0xc2b2ae35u;
        h ^= h >> 16;
        float magnitude = (1.0f + (float)(h >> 9) * 0x1p-23f) * exp2f((float)(h >> 1 & 15) - 8.0f);
        cm_narrow((h & 1) != 0 ? -magnitude : magnitude, &out[i]);
    }
}

static __global__ void __launch_bounds__(THREADS)
    count_differences(const float *a, const float *b, size_t n, uint32_t *count)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n && __float_as_uint(a[i]) != __float_as_uint(b[i])) {
        atomicAdd(count, 1);
    }
}

static dim3 grid_of(size_t n)
{
    return dim3((unsigned)((n + THREADS - 1) / THREADS));
}

extern "C" cudaError_t cm_cuda_noise(void *out, size_t n, enum cm_cuda_format format, uint32_t seed,
                                     cudaStream_t stream)
{
    dim3 grid = grid_of(n);
    dim3 block(THREADS);
    switch (format) {
    case CM_CUDA_F32:
        return CM_LAUNCH(make_noise<float>, grid, block, 0, stream, (float *)out, n, seed);
    case CM_CUDA_BF16:
        return CM_LAUNCH(make_noise<__nv_bfloat16>, grid, block, 0, stream, (__nv_bfloat16 *)out, n,
                         seed);
    case CM_CUDA_F16:
        return CM_LAUNCH(make_noise<__half>, grid, block, 0, stream, (__half *)out, n, seed);
    case CM_CUDA_FP8:
        return CM_LAUNCH(make_noise<__nv_fp8_e4m3>, grid, block, 0, stream, (__nv_fp8_e4m3 *)out, n,
                         seed);
    default:
        return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t cm_cuda_count_differences(const float *a, const float *b, size_t n,
                                                 uint32_t *count, cudaStream_t stream)
{
    cudaError_t result = cudaMemsetAsync(count, 0, sizeof *count, stream);
    return result == cudaSuccess
               ? CM_LAUNCH(count_differences, grid_of(n), dim3(THREADS), 0, stream, a, b, n, count)
               : result;
}
