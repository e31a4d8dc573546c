/* Normalisation and addition.
 *
 *     RMS       out = x * f * w              f = 1 / sqrt(mean(x^2) + epsilon)
 *     RMS_PLUS  out = x * f * (1 + w)
 *     LAYER     out = (x - m) * f * w + b    m = mean(x), f = 1 / sqrt(mean((x - m)^2) + epsilon)
 *     add       x += y
 *
 * x, residual [n_rows, dim] float32, any alignment; out the same, or for a product on tensor cores
 * [n_rows, padded] bfloat16 or float16 (narrow.h), filled with zeros. With a residual, x +=
 * residual first and is written back, in the same pass.
 *
 * One block a row. A thread sums its elements, four neighbours at a time (4 threadIdx.x + 4 k
 * blockDim.x, k rising), in float32, then a tree over the warp, then the warps in order; the
 * block's size depends on dim alone, so a row's result does not depend on the others, nor on
 * alignment. Bytes a row: 4 dim (2 + 2 with residual), 2 less for a narrow out: x in and out out,
 * the residual in and x out. The row is read again, and the weights are read, out of the caches.
 * Some 5 dim flops. Occupancy of *: 2 on sm_80, 2 on sm_90 */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/narrow.h"

#include <math.h>

enum { THREADS_MAX = 1024, ADD_THREADS = 256 };

/* x += residual, and the sum of the row's elements or of their squares. */
static __device__ __forceinline__ float add_up(const struct cm_norm_args &args, float *x,
                                               const float *residual, bool aligned)
{
    float sum = 0.0f;
#pragma unroll 2
    for (uint32_t i = 4 * threadIdx.x; i < args.dim; i += 4 * blockDim.x) {
        float4 quad = cm_load_quad(x, i, args.dim, aligned);
        if (residual != NULL) {
            float4 more = cm_load_quad(residual, i, args.dim, aligned);
            quad = make_float4(quad.x + more.x, quad.y + more.y, quad.z + more.z, quad.w + more.w);
            cm_store_quad(x, i, args.dim, aligned, quad);
        }
        if (args.kind == CM_NORM_LAYER) {
            sum = sum + quad.x + quad.y + quad.z + quad.w;
        } else {
            sum = fmaf(quad.x, quad.x, sum);
            sum = fmaf(quad.y, quad.y, sum);
            sum = fmaf(quad.z, quad.z, sum);
            sum = fmaf(quad.w, quad.w, sum);
        }
    }
    return sum;
}

/* Of a row of `dim` elements; those that an incomplete quad lacks do not count. */
static __device__ __forceinline__ float squares_around(const float *x, uint32_t dim, float mean,
                                                       bool aligned)
{
    float squares = 0.0f;
#pragma unroll 2
    for (uint32_t i = 4 * threadIdx.x; i < dim; i += 4 * blockDim.x) {
        float4 quad = cm_load_quad(x, i, dim, aligned);
        const float values[4] = { quad.x, quad.y, quad.z, quad.w };
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            float centred = i + j < dim ? values[j] - mean : 0.0f;
            squares = fmaf(centred, centred, squares);
        }
    }
    return squares;
}

template <class T>
static __global__ void __launch_bounds__(THREADS_MAX)
    norm_rows(struct cm_norm_args args, T *out, uint32_t padded)
{
    __shared__ float partial[THREADS_MAX / 32];
    size_t first = (size_t)blockIdx.x * args.dim;
    float *x = args.x + first;
    const float *residual = args.residual != NULL ? args.residual + first : NULL;
    T *to = out + (size_t)blockIdx.x * padded;
    bool aligned = cm_is_aligned(args.x, args.dim) && cm_is_aligned(args.residual, args.dim);
    bool all_aligned =
        aligned && cm_is_aligned(args.weight, args.dim) && cm_is_aligned(args.bias, args.dim);
    bool out_aligned = padded % 4 == 0 && (uintptr_t)out % (4 * sizeof(T)) == 0;
    float mean = 0.0f;
    float squares = add_up(args, x, residual, aligned);
    if (args.kind == CM_NORM_LAYER) {
        mean = cm_block_sum(squares, partial) / (float)args.dim;
        squares = squares_around(x, args.dim, mean, aligned);
    }
    float variance = cm_block_sum(squares, partial) / (float)args.dim;
    float factor = 1.0f / sqrtf(variance + args.epsilon);
    float plus = args.kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f;
#pragma unroll 2
    for (uint32_t i = 4 * threadIdx.x; i < padded; i += 4 * blockDim.x) {
        float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (i < args.dim) {
            float4 value = cm_load_quad(x, i, args.dim, all_aligned);
            float4 weight = cm_load_quad(args.weight, i, args.dim, all_aligned);
            quad.x = (value.x - mean) * factor * (plus + weight.x);
            quad.y = i + 1 < args.dim ? (value.y - mean) * factor * (plus + weight.y) : 0.0f;
            quad.z = i + 2 < args.dim ? (value.z - mean) * factor * (plus + weight.z) : 0.0f;
            quad.w = i + 3 < args.dim ? (value.w - mean) * factor * (plus + weight.w) : 0.0f;
            if (args.bias != NULL) {
                float4 bias = cm_load_quad(args.bias, i, args.dim, all_aligned);
                quad =
                    make_float4(quad.x + bias.x, quad.y + bias.y, quad.z + bias.z, quad.w + bias.w);
            }
        }
        cm_store_narrow(to, i, padded, out_aligned, quad);
    }
}

static __global__ void __launch_bounds__(ADD_THREADS)
    add_elements(float *x, const float *y, size_t n)
{
    size_t i = (size_t)blockIdx.x * ADD_THREADS + threadIdx.x;
    if (i < n) {
        x[i] += y[i];
    }
}

template <class T>
static cudaError_t launch(const struct cm_norm_args *args, void *out, uint32_t padded,
                          cudaStream_t stream)
{
    const unsigned most = THREADS_MAX;
    unsigned threads = (args->dim / 4 + 31) / 32 * 32;
    threads = threads < 32 ? 32 : threads < most ? threads : most;
    return CM_LAUNCH(norm_rows<T>, dim3(args->n_rows), dim3(threads), 0, stream, *args, (T *)out,
                     padded);
}

extern "C" cudaError_t cm_cuda_norm(const struct cm_norm_args *args, cudaStream_t stream)
{
    return launch<float>(args, args->out, args->dim, stream);
}

extern "C" cudaError_t cm_cuda_norm_narrow(const struct cm_norm_args *args, bool bf16,
                                           uint32_t padded, void *out, cudaStream_t stream)
{
    return bf16 ? launch<__nv_bfloat16>(args, out, padded, stream)
                : launch<__half>(args, out, padded, stream);
}

extern "C" cudaError_t cm_cuda_add(float *x, const float *y, size_t n, cudaStream_t stream)
{
    return CM_LAUNCH(add_elements, dim3((unsigned)((n + ADD_THREADS - 1) / ADD_THREADS)),
                     dim3(ADD_THREADS), 0, stream, x, y, n);
}
