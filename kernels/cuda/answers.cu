/* The wrappers of device.h by themselves, one warp each, for the self-test: what they say is worked
 * out again on the host (selftest.c). Nothing else calls these kernels.
 * Occupancy of *: 6 on sm_80, 6 on sm_90 */
#include "kernels/cuda/answers.h"
#include "kernels/cuda/device.h"

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
