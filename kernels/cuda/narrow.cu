/* Rows of float32 in the types of the matrix products on tensor cores, and what e4m3 leaves to do
 * after the product.
 *
 *     narrow      out[r, i] = bf16(x[r, i]) or fp16(x[r, i]) for i < dim, 0 for dim <= i < padded
 *     narrow_fp8  s[r] = max |x[r, :]| / 448,  out[r, i] = e4m3(x[r, i] / s[r]), 0 likewise
 *     scale       y[r, n] = y[r, n] * (s[r] * t[n]) + bias[n]
 *
 * x [n_rows, dim], y [n_rows, n_out], scales and bias float32; out [n_rows, padded]. Rounded to
 * nearest even; float16 and e4m3 keep to their largest value instead of going to infinity. Element
 * by element but for the maximum, which has no order. A thread for four neighbours, of e4m3 a block
 * a row. Bytes a row: 4 dim + 2 padded, 8 dim + padded, 8 n_out.
 * Occupancy of narrow_rows_fp8: 4 on sm_80, 4 on sm_90
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow.h"

#include <cuda_fp8.h>

enum { THREADS = 256, FP8_THREADS = 512 };

template <class T>
static __global__ void __launch_bounds__(THREADS)
    narrow_rows(const float *x, uint32_t dim, uint32_t padded, T *out)
{
    uint32_t i = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (i >= padded) {
        return;
    }
    float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (i < dim) {
        quad = cm_load_quad(x + (size_t)blockIdx.x * dim, i, dim, cm_is_aligned(x, dim));
    }
    cm_store_narrow(out + (size_t)blockIdx.x * padded, i, padded, padded % 4 == 0, quad);
}

static __global__ void __launch_bounds__(FP8_THREADS)
    narrow_rows_fp8(const float *x, uint32_t dim, uint32_t padded, __nv_fp8_storage_t *out,
                    float *scales)
{
    __shared__ float highest[FP8_THREADS / 32];
    const float *from = x + (size_t)blockIdx.x * dim;
    __nv_fp8_storage_t *to = out + (size_t)blockIdx.x * padded;
    bool aligned = cm_is_aligned(x, dim);
    float magnitude = 0.0f;
#pragma unroll 4
    for (uint32_t i = 4 * threadIdx.x; i < dim; i += 4 * FP8_THREADS) {
        float4 quad = cm_load_quad(from, i, dim, aligned);
        magnitude = fmaxf(magnitude, fmaxf(fmaxf(fabsf(quad.x), fabsf(quad.y)),
                                           fmaxf(fabsf(quad.z), fabsf(quad.w))));
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        magnitude = fmaxf(magnitude, __shfl_xor_sync(0xffffffffu, magnitude, offset));
    }
    if (threadIdx.x % 32 == 0) {
        highest[threadIdx.x / 32] = magnitude;
    }
    __syncthreads();
    for (uint32_t i = 0; i < FP8_THREADS / 32; i++) {
        magnitude = fmaxf(magnitude, highest[i]);
    }
    float factor = magnitude > 0.0f ? CM_CUDA_E4M3_MAX / magnitude : 0.0f;
#pragma unroll 4
    for (uint32_t i = 4 * threadIdx.x; i < padded; i += 4 * FP8_THREADS) {
        float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (i < dim) {
            quad = cm_load_quad(from, i, dim, aligned);
        }
        uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(quad.x * factor, quad.y * factor),
                                                __NV_SATFINITE, __NV_E4M3);
        uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(quad.z * factor, quad.w * factor),
                                                 __NV_SATFINITE, __NV_E4M3);
        *reinterpret_cast<uint32_t *>(to + i) = low | high << 16;
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
    uint32_t i = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (i >= n_out) {
        return;
    }
    bool aligned = cm_is_aligned(y, n_out) && cm_is_aligned(column_scales, n_out) &&
                   cm_is_aligned(bias, n_out);
    float4 quad = cm_load_quad(row, i, n_out, aligned);
    float4 scales = cm_load_quad(column_scales, i, n_out, aligned);
    float4 more = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (bias != NULL) {
        more = cm_load_quad(bias, i, n_out, aligned);
    }
    quad.x = quad.x * (scale * scales.x) + more.x;
    quad.y = quad.y * (scale * scales.y) + more.y;
    quad.z = quad.z * (scale * scales.z) + more.z;
    quad.w = quad.w * (scale * scales.w) + more.w;
    cm_store_quad(row, i, n_out, aligned, quad);
}

/* A thread for four neighbours of a row. */
static dim3 grid_of(uint32_t n_rows, uint32_t n)
{
    return dim3(n_rows, (n + 4 * THREADS - 1) / (4 * THREADS));
}

extern "C" cudaError_t cm_cuda_narrow(const float *x, uint32_t n_rows, uint32_t dim,
                                      uint32_t padded, bool bf16, void *out, cudaStream_t stream)
{
    return bf16 ? CM_LAUNCH(narrow_rows<__nv_bfloat16>, grid_of(n_rows, padded), dim3(THREADS), 0,
                            stream, x, dim, padded, (__nv_bfloat16 *)out)
                : CM_LAUNCH(narrow_rows<__half>, grid_of(n_rows, padded), dim3(THREADS), 0, stream,
                            x, dim, padded, (__half *)out);
}

extern "C" cudaError_t cm_cuda_narrow_fp8(const float *x, uint32_t n_rows, uint32_t dim,
                                          uint32_t padded, void *out, float *scales,
                                          cudaStream_t stream)
{
    return CM_LAUNCH(narrow_rows_fp8, dim3(n_rows), dim3(FP8_THREADS), 0, stream, x, dim, padded,
                     (__nv_fp8_storage_t *)out, scales);
}

extern "C" cudaError_t cm_cuda_scale(float *y, uint32_t n_rows, uint32_t n_out,
                                     const float *row_scales, const float *column_scales,
                                     const float *bias, cudaStream_t stream)
{
    return CM_LAUNCH(scale_rows, grid_of(n_rows, n_out), dim3(THREADS), 0, stream, y, n_out,
                     row_scales, column_scales, bias);
}
