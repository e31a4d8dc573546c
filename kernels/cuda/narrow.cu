/* Rows of float32 to bfloat16, for the matrix products that run on tensor cores.
 *
 *     out[r, i] = bf16(x[r, i]) for i < dim, 0 for dim <= i < padded
 *
 * x [n_rows, dim] float32, out [n_rows, padded] bfloat16, rounded to nearest even; element by
 * element. Bytes a row: 4 dim + 2 padded. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS)
    narrow_rows(const float *x, uint32_t dim, uint32_t padded, __nv_bfloat16 *out)
{
    const float *from = x + (size_t)blockIdx.x * dim;
    __nv_bfloat16 *to = out + (size_t)blockIdx.x * padded;
    for (uint32_t i = threadIdx.x; i < padded; i += THREADS) {
        to[i] = __float2bfloat16_rn(i < dim ? from[i] : 0.0f);
    }
}

extern "C" cudaError_t cm_cuda_narrow(const float *x, uint32_t n_rows, uint32_t dim,
                                      uint32_t padded, void *out, cudaStream_t stream)
{
    return CM_LAUNCH(narrow_rows, dim3(n_rows), dim3(THREADS), 0, stream, x, dim, padded,
                     (__nv_bfloat16 *)out);
}
