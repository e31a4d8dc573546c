/* Rotary positions and the append to the KV cache.
 *
 * Per query and key head of a row at position p, after an optional RMS norm over the head:
 *     a' = a cos(p f_i) - b sin(p f_i)
 *     b' = b cos(p f_i) + a sin(p f_i)
 * for the i-th pair (a, b): neighbours, or elements head_dim / 2 apart. The angle p f_i is a
 * float32 product, as in Hugging Face's models. Keys and values then go to the row's page in the
 * cache's type (rounded to nearest even; e4m3 with the power of two for each head that brings its
 * largest value into (224, 448]). q is rotated in place; k and v inside qkv stay as
 * they are, since only the pages are read after this.
 *
 * qkv [n_rows, (n_heads + 2 n_kv_heads) * head_dim] float32; head_dim a multiple of 16 up to 256.
 * A block takes eight heads of a row: sines and cosines, then a warp a head. The norm's sum is
 * float32, a lane's elements (lane + 32 k, k rising) and then the tree over the warp: each row by
 * itself. Bytes a row: q read and written, k and v read and written in the cache's type. Some 6
 * flops an element of q and k. Occupancy of *: 6 on sm_80, 6 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <cuda_fp8.h>
#include <math.h>

enum { WARPS = 8, THREADS = 32 * WARPS, LANE_ELEMENTS = CM_CUDA_HEAD_DIM_MAX / 32 };

/* sin and cos to an ulp or two. Two steps instead of sincosf: that one keeps a table on the stack
 * for large angles. The angle is brought to [-pi / 4, pi / 4] in float64, exactly enough for any
 * position; the polynomials are those of Cephes (Moshier). */
static __device__ __forceinline__ void sine_cosine(float angle, float *sine, float *cosine)
{
    double quarters = rint((double)angle * 0.63661977236758134308);
    float r = (float)((double)angle - quarters * 1.57079632679489661923);
    float r2 = r * r;
    float s = fmaf(fmaf(-1.9515295891e-4f, r2, 8.3321608736e-3f), r2, -1.6666654611e-1f);
    float c =
        fmaf(fmaf(2.443315711809948e-5f, r2, -1.388731625493765e-3f), r2, 4.166664568298827e-2f);
    s = fmaf(s * r2, r, r);
    c = fmaf(c * r2, r2, fmaf(-0.5f, r2, 1.0f));
    int quadrant = (int)((long long)quarters & 3);
    float swapped_sine = (quadrant & 1) != 0 ? c : s;
    float swapped_cosine = (quadrant & 1) != 0 ? s : c;
    *sine = (quadrant & 2) != 0 ? -swapped_sine : swapped_sine;
    *cosine = quadrant == 1 || quadrant == 2 ? -swapped_cosine : swapped_cosine;
}

/* The lane's elements of a head, lane + 32 k. */
static __device__ __forceinline__ void norm_head(const struct cm_rope_append_args &args,
                                                 const float *weight, uint32_t lane, float *x)
{
    float squares = 0.0f;
    for (uint32_t k = 0; k < LANE_ELEMENTS; k++) {
        if (lane + 32 * k < args.head_dim) {
            squares = fmaf(x[lane + 32 * k], x[lane + 32 * k], squares);
        }
    }
    float mean = cm_warp_sum(squares) / (float)args.head_dim;
    float factor = 1.0f / sqrtf(mean + args.qk_norm_epsilon);
    float plus = args.qk_norm_kind == CM_NORM_RMS_PLUS ? 1.0f : 0.0f;
    for (uint32_t k = 0; k < LANE_ELEMENTS; k++) {
        uint32_t i = lane + 32 * k;
        if (i < args.head_dim) {
            x[i] = x[i] * factor * (plus + weight[i]);
        }
    }
}

/* Rotates a head in shared memory; the warp has written it before. */
static __device__ __forceinline__ void rotate_head(const struct cm_rope_append_args &args,
                                                   const float *sines, const float *cosines,
                                                   uint32_t lane, float *x)
{
    uint32_t half = args.head_dim / 2;
    bool pairs = args.rope == CM_ROPE_PAIRS;
    for (uint32_t i = lane; i < half; i += 32) {
        float *a = x + (pairs ? 2 * i : i);
        float *b = x + (pairs ? 2 * i + 1 : half + i);
        float rotated = *a * cosines[i] - *b * sines[i];
        *b = *b * cosines[i] + *a * sines[i];
        *a = rotated;
    }
}

static __device__ __forceinline__ void convert(float value, float, float *to)
{
    *to = value;
}

static __device__ __forceinline__ void convert(float value, float, __half *to)
{
    *to = __float2half_rn(value);
}

static __device__ __forceinline__ void convert(float value, float factor, __nv_fp8_e4m3 *to)
{
    to->__x = __nv_cvt_float_to_fp8(value * factor, __NV_SATFINITE, __NV_E4M3);
}

/* The lowest exponent e with |x| <= 448 * 2^e for all of a head, within the limits. */
static __device__ __forceinline__ int exponent_of_head(const float *x, uint32_t dim, uint32_t lane)
{
    float largest = 0.0f;
    for (uint32_t i = lane; i < dim; i += 32) {
        largest = fmaxf(largest, fabsf(x[i]));
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    }
    int exponent = CM_CUDA_KV_EXPONENT_MIN;
    float limit = CM_CUDA_E4M3_MAX / (1 << -CM_CUDA_KV_EXPONENT_MIN);
    while (exponent < CM_CUDA_KV_EXPONENT_MAX && largest > limit) {
        exponent++;
        limit *= 2.0f;
    }
    return exponent;
}

/* A key's or value's head into slot `slot` of a page. */
template <class T>
static __device__ __forceinline__ void append(const float *x, uint32_t dim, uint32_t slot,
                                              uint32_t lane, T *page)
{
    float factor = 1.0f;
    if constexpr (sizeof(T) == 1) {
        int exponent = exponent_of_head(x, dim, lane);
        factor = __int_as_float((127 - exponent) << 23); /* 2^-exponent */
        if (lane == 0) {
            reinterpret_cast<int8_t *>(page + CM_PAGE_TOKENS * dim)[slot] = (int8_t)exponent;
        }
    }
    for (uint32_t i = lane; i < dim; i += 32) {
        convert(x[i], factor, page + slot * dim + i);
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    rope_rows(struct cm_rope_append_args args, struct cm_cuda_kv kv)
{
    __shared__ float sines[CM_CUDA_HEAD_DIM_MAX / 2];
    __shared__ float cosines[CM_CUDA_HEAD_DIM_MAX / 2];
    __shared__ float heads[WARPS][CM_CUDA_HEAD_DIM_MAX];
    uint32_t row = blockIdx.x;
    uint32_t lane = threadIdx.x % 32;
    uint32_t warp = threadIdx.x / 32;
    uint32_t dim = args.head_dim;
    uint32_t n_heads = args.n_heads + 2 * args.n_kv_heads;
    uint32_t head = blockIdx.y * WARPS + warp;
    int32_t position = args.positions[row];
    if (args.rope != CM_ROPE_NONE) {
        for (uint32_t i = threadIdx.x; i < dim / 2; i += THREADS) {
            sine_cosine((float)position * args.inverse_frequencies[i], &sines[i], &cosines[i]);
        }
    }
    __syncthreads();
    if (head >= n_heads) {
        return;
    }
    float *x = heads[warp];
    float *from = args.qkv + ((size_t)row * n_heads + head) * dim;
    bool is_query = head < args.n_heads;
    bool is_value = head >= args.n_heads + args.n_kv_heads;
    for (uint32_t i = lane; i < dim; i += 32) {
        x[i] = from[i];
    }
    const float *weight = is_query ? args.q_norm : args.k_norm;
    if (!is_value && weight != NULL) {
        norm_head(args, weight, lane, x);
    }
    if (!is_value && args.rope != CM_ROPE_NONE) {
        __syncwarp();
        rotate_head(args, sines, cosines, lane, x);
        __syncwarp();
    }
    if (is_query) {
        for (uint32_t i = lane; i < dim; i += 32) {
            from[i] = x[i];
        }
        return;
    }
    uint32_t kv_head = head - args.n_heads - (is_value ? args.n_kv_heads : 0);
    T *page = (T *)kv.pages + (size_t)args.pages[row] * kv.page_stride +
              args.layer * kv.layer_stride + (is_value ? kv.values_stride : 0) +
              kv_head * kv.head_stride;
    append(x, dim, (uint32_t)position % CM_PAGE_TOKENS, lane, page);
}

extern "C" cudaError_t cm_cuda_rope_append(const struct cm_rope_append_args *args,
                                           const struct cm_cuda_kv *kv, cudaStream_t stream)
{
    uint32_t n_heads = args->n_heads + 2 * args->n_kv_heads;
    dim3 grid(args->n_rows, (n_heads + WARPS - 1) / WARPS);
    switch (kv->type) {
    case CM_CUDA_KV_F32:
        return CM_LAUNCH(rope_rows<float>, grid, dim3(THREADS), 0, stream, *args, *kv);
    case CM_CUDA_KV_F16:
        return CM_LAUNCH(rope_rows<__half>, grid, dim3(THREADS), 0, stream, *args, *kv);
    default:
        return CM_LAUNCH(rope_rows<__nv_fp8_e4m3>, grid, dim3(THREADS), 0, stream, *args, *kv);
    }
}
