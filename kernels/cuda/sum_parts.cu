/* out[i] = parts[0, i] + parts[1, i] + ...   float32, in the order of the parts
 *
 * parts [parts_count, n], out [n]; each element by itself. Bytes: 4 n (parts_count + 1).
 * Occupancy of *: 8 on sm_80, 8 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS)
    sum_parts(const float *parts, uint32_t parts_count, size_t n, float *out)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n) {
        float sum = parts[i];
        for (uint32_t part = 1; part < parts_count; part++) {
            sum += parts[part * n + i];
        }
        out[i] = sum;
    }
}

extern "C" cudaError_t cm_cuda_sum_parts(const float *parts, uint32_t parts_count, size_t n,
                                         float *out, cudaStream_t stream)
{
    size_t blocks = (n + THREADS - 1) / THREADS;
    return CM_LAUNCH(sum_parts, dim3((unsigned)blocks), dim3(THREADS), 0, stream, parts,
                     parts_count, n, out);
}
