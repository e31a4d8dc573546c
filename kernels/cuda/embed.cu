/* Rows picked by number.
 *
 *     embed   out[r, :] = scale * table[tokens[r], :]   table [n_rows_of_table, dim] float32,
 *                                                       float16 or bfloat16
 *     gather  out[i, :] = x[rows[i], :]                 float32
 *
 * Element by element and without sums, so a row never depends on the others. A thread takes four
 * neighbours of a row, of any dim and alignment.
 * Bytes a row: dim * (size of the table's type + 4); flops: dim.
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

enum { THREADS = 256 };

static __device__ __forceinline__ float to_float(float value)
{
    return value;
}

static __device__ __forceinline__ float to_float(__half value)
{
    return __half2float(value);
}

static __device__ __forceinline__ float to_float(__nv_bfloat16 value)
{
    return __bfloat162float(value);
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    embed_rows(const T *table, const int32_t *tokens, uint32_t dim, float scale, float *out)
{
    const T *from = table + (size_t)tokens[blockIdx.x] * dim;
    uint32_t i = 4 * (blockIdx.y * THREADS + threadIdx.x);
    if (i >= dim) {
        return;
    }
    struct __align__(4 * sizeof(T)) quad
    {
        T values[4];
    }
    quad = {};
    if (dim % 4 == 0 && (uintptr_t)table % sizeof quad == 0) {
        quad = *reinterpret_cast<const struct quad *>(from + i);
    } else {
        for (uint32_t j = 0; j < 4; j++) {
            if (i + j < dim) {
                quad.values[j] = from[i + j];
            }
        }
    }
    cm_store_quad(out + (size_t)blockIdx.x * dim, i, dim, cm_is_aligned(out, dim),
                  make_float4(scale * to_float(quad.values[0]), scale * to_float(quad.values[1]),
                              scale * to_float(quad.values[2]), scale * to_float(quad.values[3])));
}

static dim3 grid_of(uint32_t n_rows, uint32_t dim)
{
    return dim3(n_rows, (dim + 4 * THREADS - 1) / (4 * THREADS));
}

extern "C" cudaError_t cm_cuda_embed(const void *table, enum cm_dtype dtype, uint32_t dim,
                                     const int32_t *tokens, uint32_t n_rows, float scale,
                                     float *out, cudaStream_t stream)
{
    switch (dtype) {
    case CM_F32:
        return CM_LAUNCH(embed_rows<float>, grid_of(n_rows, dim), dim3(THREADS), 0, stream,
                         (const float *)table, tokens, dim, scale, out);
    case CM_F16:
        return CM_LAUNCH(embed_rows<__half>, grid_of(n_rows, dim), dim3(THREADS), 0, stream,
                         (const __half *)table, tokens, dim, scale, out);
    case CM_BF16:
        return CM_LAUNCH(embed_rows<__nv_bfloat16>, grid_of(n_rows, dim), dim3(THREADS), 0, stream,
                         (const __nv_bfloat16 *)table, tokens, dim, scale, out);
    default:
        return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t cm_cuda_gather(const float *x, uint32_t dim, const int32_t *rows,
                                      uint32_t n_rows, float *out, cudaStream_t stream)
{
    return CM_LAUNCH(embed_rows<float>, grid_of(n_rows, dim), dim3(THREADS), 0, stream, x, rows,
                     dim, 1.0f, out);
}
