/* The wrappers of device.h by themselves, one warp each, for the self-test: what they say is worked
 * out again on the host (selftest.c). Nothing else calls these kernels.
 * Occupancy of *: 6 on sm_80, 6 on sm_90 */
#include "kernels/cuda/answers.h"
#include "kernels/cuda/attention_split.h"

#include <cuda_fp8.h>

enum { THREADS = CM_CUDA_ANSWER_THREADS, WORDS = 8, GROUPS = CM_CUDA_ANSWER_GROUPS };

/* Fragments as the PTX ISA gives them: lane 4 g + t has words t and t + 4 of rows g and g + 8 of a,
 * of column g of b, and elements 2 t and 2 t + 1 of rows g and g + 8 of d. */
template <enum cm_cuda_mma KIND>
static __global__ void __launch_bounds__(32)
    answer_mma(const uint32_t *a, const uint32_t *b, float *d)
{
    uint32_t g = threadIdx.x / 4;
    uint32_t t = threadIdx.x % 4;
    const uint32_t left[4] = { a[g * WORDS + t], a[(g + 8) * WORDS + t], a[g * WORDS + t + 4],
                               a[(g + 8) * WORDS + t + 4] };
    const uint32_t right[2] = { b[g * WORDS + t], b[g * WORDS + t + 4] };
    float sums[4] = { d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1], d[(g + 8) * 8 + 2 * t],
                      d[(g + 8) * 8 + 2 * t + 1] };
    if (KIND == CM_CUDA_MMA_BF16) {
        cm_mma_m16n8k16_bf16(sums, left, right);
    } else {
        cm_mma_m16n8k16_f16(sums, left, right);
    }
    d[g * 8 + 2 * t] = sums[0];
    d[g * 8 + 2 * t + 1] = sums[1];
    d[(g + 8) * 8 + 2 * t] = sums[2];
    d[(g + 8) * 8 + 2 * t + 1] = sums[3];
}

template <bool TRANSPOSED>
static __global__ void __launch_bounds__(32)
    answer_ldmatrix_x4(const uint16_t *tile, uint32_t *registers)
{
    __shared__ __align__(16) uint16_t rows[32][8];
    for (uint32_t i = 0; i < 8; i++) {
        rows[threadIdx.x][i] = tile[threadIdx.x * 8 + i];
    }
    __syncwarp();
    uint32_t r[4];
    if (TRANSPOSED) {
        cm_ldmatrix_x4_trans(r, rows[5 * threadIdx.x % 32]);
    } else {
        cm_ldmatrix_x4(r, rows[5 * threadIdx.x % 32]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        registers[threadIdx.x * 4 + i] = r[i];
    }
}

static __global__ void __launch_bounds__(32)
    answer_cp_async(const uint32_t *from, uint32_t *early, uint32_t *late)
{
    __shared__ __align__(16) uint32_t pieces[GROUPS][32][4];
    uint32_t lane = threadIdx.x;
    for (uint32_t group = 0; group < GROUPS; group++) {
        bool valid = group + 1 < GROUPS || lane % 2 == 0;
        cm_cp_async_16(pieces[group][lane], from + (group * 32 + lane) * 4, valid);
        cm_cp_async_commit();
    }
    cm_cp_async_wait<GROUPS - 2>(); /* a lane reads its own pieces, so no barrier */
    for (uint32_t i = 0; i < 2 * 4; i++) {
        early[(i / 4 * 32 + lane) * 4 + i % 4] = pieces[i / 4][lane][i % 4];
    }
    cm_cp_async_wait<0>();
    for (uint32_t i = 0; i < GROUPS * 4; i++) {
        late[(i / 4 * 32 + lane) * 4 + i % 4] = pieces[i / 4][lane][i % 4];
    }
}

static __global__ void __launch_bounds__(THREADS)
    answer_sums(const float *x, float *warp_sums, float *block_sums)
{
    __shared__ float partial[THREADS / 32];
    float value = x[threadIdx.x];
    warp_sums[threadIdx.x] = cm_warp_sum(value);
    float sum = cm_block_sum(value, partial);
    block_sums[threadIdx.x] = sum;
    block_sums[THREADS + threadIdx.x] = cm_block_sum(value * value, partial);
}

/* What device memory holds of a float in the narrow types, as narrow.cu and rope.cu make them. */
static __global__ void __launch_bounds__(THREADS)
    answer_conversions(const float *x, uint32_t count, uint32_t *e4m3, uint32_t *bf16,
                       uint32_t *f16)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) {
        e4m3[i] = __nv_cvt_float_to_fp8(x[i], __NV_SATFINITE, __NV_E4M3);
        __nv_bfloat16 wide = __float2bfloat16_rn(x[i]);
        __half narrow = __float2half_rn(x[i]);
        bf16[i] = *reinterpret_cast<const uint16_t *>(&wide);
        f16[i] = *reinterpret_cast<const uint16_t *>(&narrow);
    }
}

/* Two codes to two float16, as attention_pages.h widens a page. */
static __global__ void __launch_bounds__(32)
    answer_widened(const uint32_t *codes, float factor, float *values)
{
    uint32_t bits = half2_of_e4m3(__byte_perm(codes[threadIdx.x], 0, 0x4140));
    __half2 pair = __hmul2(*reinterpret_cast<__half2 *>(&bits), __float2half2_rn(factor));
    const __half *halves = reinterpret_cast<const __half *>(&pair);
    values[2 * threadIdx.x] = __half2float(halves[0]);
    values[2 * threadIdx.x + 1] = __half2float(halves[1]);
}

/* Votes and reductions of a warp, all lanes and then the even ones among themselves. */
static __global__ void __launch_bounds__(32) answer_warp(const int32_t *x, int32_t *out)
{
    uint32_t lane = threadIdx.x;
    int32_t *own = out + lane * CM_CUDA_ANSWER_VOTES;
    unsigned odd = __ballot_sync(0xffffffffu, x[lane] % 2 != 0);
    own[0] = __reduce_max_sync(0xffffffffu, x[lane]);
    own[1] = __reduce_min_sync(0xffffffffu, x[lane]);
    own[2] = (int32_t)odd;
    own[3] = __ffs((int)odd);
    own[4] = __any_sync(0xffffffffu, x[lane] == INT32_MAX);
    own[5] = __shfl_xor_sync(0xffffffffu, x[lane], 5);
}

static __global__ void __launch_bounds__(THREADS)
    answer_functions(const float *x, uint32_t count, float *out)
{
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) {
        out[i] = cm_exp2(x[i]);
        out[count + i] = expf(x[i]);
        out[2 * count + i] = erff(x[i]);
        out[3 * count + i] = sqrtf(fabsf(x[i]));
        out[4 * count + i] = 1.0f / x[i];
    }
}

extern "C" cudaError_t cm_cuda_answer_mma(enum cm_cuda_mma kind, const uint32_t *a,
                                          const uint32_t *b, float *d, cudaStream_t stream)
{
    return kind == CM_CUDA_MMA_BF16
               ? CM_LAUNCH(answer_mma<CM_CUDA_MMA_BF16>, dim3(1), dim3(32), 0, stream, a, b, d)
               : CM_LAUNCH(answer_mma<CM_CUDA_MMA_F16>, dim3(1), dim3(32), 0, stream, a, b, d);
}

extern "C" cudaError_t cm_cuda_answer_ldmatrix_x4(bool transposed, const uint16_t *tile,
                                                  uint32_t *registers, cudaStream_t stream)
{
    return transposed
               ? CM_LAUNCH(answer_ldmatrix_x4<true>, dim3(1), dim3(32), 0, stream, tile, registers)
               : CM_LAUNCH(answer_ldmatrix_x4<false>, dim3(1), dim3(32), 0, stream, tile,
                           registers);
}

extern "C" cudaError_t cm_cuda_answer_cp_async(const uint32_t *from, uint32_t *early,
                                               uint32_t *late, cudaStream_t stream)
{
    return CM_LAUNCH(answer_cp_async, dim3(1), dim3(32), 0, stream, from, early, late);
}

extern "C" cudaError_t cm_cuda_answer_sums(const float *x, float *warp_sums, float *block_sums,
                                           cudaStream_t stream)
{
    return CM_LAUNCH(answer_sums, dim3(1), dim3(THREADS), 0, stream, x, warp_sums, block_sums);
}

extern "C" cudaError_t cm_cuda_answer_conversions(const float *x, uint32_t count, uint32_t *e4m3,
                                                  uint32_t *bf16, uint32_t *f16,
                                                  cudaStream_t stream)
{
    return CM_LAUNCH(answer_conversions, dim3((count + THREADS - 1) / THREADS), dim3(THREADS), 0,
                     stream, x, count, e4m3, bf16, f16);
}

extern "C" cudaError_t cm_cuda_answer_widened(const uint32_t *codes, float factor, float *values,
                                              cudaStream_t stream)
{
    return CM_LAUNCH(answer_widened, dim3(1), dim3(32), 0, stream, codes, factor, values);
}

extern "C" cudaError_t cm_cuda_answer_warp(const int32_t *x, int32_t *out, cudaStream_t stream)
{
    return CM_LAUNCH(answer_warp, dim3(1), dim3(32), 0, stream, x, out);
}

extern "C" cudaError_t cm_cuda_answer_functions(const float *x, uint32_t count, float *out,
                                                cudaStream_t stream)
{
    return CM_LAUNCH(answer_functions, dim3((count + THREADS - 1) / THREADS), dim3(THREADS), 0,
                     stream, x, count, out);
}
