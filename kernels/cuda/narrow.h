/* Float32 to the types of the products on tensor cores, rounded to nearest even. float16 keeps to
 * its largest value instead of going to infinity. Shared by what makes the rows of a product. */
#ifndef CM_KERNELS_CUDA_NARROW_H
#define CM_KERNELS_CUDA_NARROW_H

#include "kernels/cuda/device.h"

static __device__ __forceinline__ void cm_narrow(float value, float *out)
{
    *out = value;
}

static __device__ __forceinline__ void cm_narrow(float value, __nv_bfloat16 *out)
{
    *out = __float2bfloat16_rn(value);
}

static __device__ __forceinline__ void cm_narrow(float value, __half *out)
{
    const float largest = 65504.0f;
    *out = __float2half_rn(fminf(fmaxf(value, -largest), largest));
}

/* Elements i to i + 3 of a row of n, i < n. `aligned`: the four begin at a multiple of their size
 * and do not pass the end. */
template <class T>
static __device__ __forceinline__ void cm_store_narrow(T *row, uint32_t i, uint32_t n, bool aligned,
                                                       float4 quad)
{
    struct __align__(4 * sizeof(T))
    {
        T values[4];
    }
    narrow;
    cm_narrow(quad.x, &narrow.values[0]);
    cm_narrow(quad.y, &narrow.values[1]);
    cm_narrow(quad.z, &narrow.values[2]);
    cm_narrow(quad.w, &narrow.values[3]);
    if (aligned) {
        *reinterpret_cast<decltype(narrow) *>(row + i) = narrow;
        return;
    }
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
        if (i + j < n) {
            row[i + j] = narrow.values[j];
        }
    }
}

#endif
