/* Rows of float32 in the types of the matrix products on tensor cores, and what e4m3 leaves to do
 * after the product.
 *
 *     narrow      out[r, i] = bf16(x[r, i]) or fp16(x[r, i]) for i < dim, 0 for dim <= i < padded
 *     narrow_fp8  s[r] = max |x[r, :]| / 448,  out[r, i] = e4m3(x[r, i] / s[r]), 0 likewise
 *     scale       y[r, n] = y[r, n] * (s[r] * t[n]) + bias[n]
 *
 * x [n_rows, dim], y [n_rows, n_out], scales and bias float32; out [n_rows, padded]. Rounded to
 * nearest even; float16 and e4m3 keep to their largest value instead of going to infinity. Element
 * by element but for the maximum, which has no order. One block a row. Bytes a row: 4 dim + 2
 * padded, 8 dim + padded, 8 n_out.
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <cuda_fp8.h>

enum { THREADS = 256 };

static __device__ __forceinline__ void convert(float value, __nv_bfloat16 *out)
{
    *out = __float2bfloat16_rn(value);
}

static __device__ __forceinline__ void convert(float value, __half *out)
{
    const float largest = 65504.0f;
    *out = __float2half_rn(fminf(fmaxf(value, -largest), largest));
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    narrow_rows(const float *x, uint32_t dim, uint32_t padded, T *out)
{
    const float *from = x + (size_t)blockIdx.x * dim;
    T *to = out + (size_t)blockIdx.x * padded;
    for (uint32_t i = threadIdx.x; i < padded; i += THREADS) {
        convert(i < dim ? from[i] : 0.0f, &to[i]);
    }
}

static __global__ void __launch_bounds__(THREADS)
    narrow_rows_fp8(const float *x, uint32_t dim, uint32_t padded, __nv_fp8_storage_t *out,
                    float *scales)
{
    __shared__ float highest[THREADS / 32];
    const float *from = x + (size_t)blockIdx.x * dim;
    __nv_fp8_storage_t *to = out + (size_t)blockIdx.x * padded;
    float magnitude = 0.0f;
    for (uint32_t i = threadIdx.x; i < dim; i += THREADS) {
        magnitude = fmaxf(magnitude, fabsf(from[i]));
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        magnitude = fmaxf(magnitude, __shfl_xor_sync(0xffffffffu, magnitude, offset));
    }
    if (threadIdx.x % 32 == 0) {
        highest[threadIdx.x / 32] = magnitude;
    }
    __syncthreads();
    for (uint32_t i = 0; i < THREADS / 32; i++) {
        magnitude = fmaxf(magnitude, highest[i]);
    }
    float factor = magnitude > 0.0f ? CM_CUDA_E4M3_MAX / magnitude : 0.0f;
    for (uint32_t i = threadIdx.x; i < padded; i += THREADS) {
        to[i] = __nv_cvt_float_to_fp8(i < dim ? from[i] * factor : 0.0f, __NV_SATFINITE, __NV_E4M3);
    }
    if (threadIdx.x == 0) {
        scales[blockIdx.x] = magnitude / CM_CUDA_E4M3_MAX;
    }
}

static __global__ void __launch_bounds__(THREADS)
    scale_rows(float *y, uint32_t n_out, const float *row_scales, const float *column_scales,
               const float *bias)
{
    float *row = y + (size_t)blockIdx.x * n_out;
    float scale = row_scales[blockIdx.x];
    for (uint32_t i = threadIdx.x; i < n_out; i += THREADS) {
        row[i] = row[i] * (scale * column_scales[i]) + (bias != NULL ? bias[i] : 0.0f);
    }
}

extern "C" cudaError_t cm_cuda_narrow(const float *x, uint32_t n_rows, uint32_t dim,
                                      uint32_t padded, bool bf16, void *out, cudaStream_t stream)
{
    return bf16 ? CM_LAUNCH(narrow_rows<__nv_bfloat16>, dim3(n_rows), dim3(THREADS), 0, stream, x,
                            dim, padded, (__nv_bfloat16 *)out)
                : CM_LAUNCH(narrow_rows<__half>, dim3(n_rows), dim3(THREADS), 0, stream, x, dim,
                            padded, (__half *)out);
}

extern "C" cudaError_t cm_cuda_narrow_fp8(const float *x, uint32_t n_rows, uint32_t dim,
                                          uint32_t padded, void *out, float *scales,
                                          cudaStream_t stream)
{
    return CM_LAUNCH(narrow_rows_fp8, dim3(n_rows), dim3(THREADS), 0, stream, x, dim, padded,
                     (__nv_fp8_storage_t *)out, scales);
}

extern "C" cudaError_t cm_cuda_scale(float *y, uint32_t n_rows, uint32_t n_out,
                                     const float *row_scales, const float *column_scales,
                                     const float *bias, cudaStream_t stream)
{
    return CM_LAUNCH(scale_rows, dim3(n_rows), dim3(THREADS), 0, stream, y, n_out, row_scales,
                     column_scales, bias);
}
