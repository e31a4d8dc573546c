/* Rows picked by number.
 *
 *     embed   out[r, :] = scale * table[tokens[r], :]   table [n_rows_of_table, dim] float32,
 *                                                       float16 or bfloat16
 *     gather  out[i, :] = x[rows[i], :]                 float32
 *
 * Element by element and without sums, so a row never depends on the others. One block a row, any
 * dim and alignment; neighbouring threads take neighbouring elements.
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
    float *to = out + (size_t)blockIdx.x * dim;
    for (uint32_t i = threadIdx.x; i < dim; i += THREADS) {
        to[i] = scale * to_float(from[i]);
    }
}

extern "C" cudaError_t cm_cuda_embed(const void *table, enum cm_dtype dtype, uint32_t dim,
                                     const int32_t *tokens, uint32_t n_rows, float scale,
                                     float *out, cudaStream_t stream)
{
    switch (dtype) {
    case CM_F32:
        return CM_LAUNCH(embed_rows<float>, dim3(n_rows), dim3(THREADS), 0, stream,
                         (const float *)table, tokens, dim, scale, out);
    case CM_F16:
        return CM_LAUNCH(embed_rows<__half>, dim3(n_rows), dim3(THREADS), 0, stream,
                         (const __half *)table, tokens, dim, scale, out);
    case CM_BF16:
        return CM_LAUNCH(embed_rows<__nv_bfloat16>, dim3(n_rows), dim3(THREADS), 0, stream,
                         (const __nv_bfloat16 *)table, tokens, dim, scale, out);
    default:
        return cudaErrorInvalidValue;
    }
}

extern "C" cudaError_t cm_cuda_gather(const float *x, uint32_t dim, const int32_t *rows,
                                      uint32_t n_rows, float *out, cudaStream_t stream)
{
    return CM_LAUNCH(embed_rows<float>, dim3(n_rows), dim3(THREADS), 0, stream, x, rows, dim, 1.0f,
                     out);
}
