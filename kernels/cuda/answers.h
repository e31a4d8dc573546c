/* One small kernel for each wrapper of device.h and each of its sums, for the self-test. Pointers
 * are device memory. */
#ifndef CM_KERNELS_CUDA_ANSWERS_H
#define CM_KERNELS_CUDA_ANSWERS_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cm_cuda_mma { CM_CUDA_MMA_BF16, CM_CUDA_MMA_F16, CM_CUDA_MMA_COUNT };

/* d [16, 8] += a [16, k] b [k, 8], where a is row by row and b column by column, eight words of 32
 * bits to each: k is 16 elements of two bytes. */
cudaError_t cm_cuda_answer_mma(enum cm_cuda_mma kind, const uint32_t *a, const uint32_t *b,
                               float *d, cudaStream_t stream);

/* tile [32][8] two-byte elements; lane i gives the address of row 5 i % 32 and gets registers
 * [lane][4]. */
cudaError_t cm_cuda_answer_ldmatrix_x4(bool transposed, const uint16_t *tile, uint32_t *registers,
                                       cudaStream_t stream);

enum { CM_CUDA_ANSWER_GROUPS = 4 };

/* Four groups of one piece of four words a lane, from [group][lane][4]; odd lanes copy nothing (the
 * piece is not valid) in the last group. `early` gets the first two groups after a wait that leaves
 * two on their way, `late` all after one that leaves none. */
cudaError_t cm_cuda_answer_cp_async(const uint32_t *from, uint32_t *early, uint32_t *late,
                                    cudaStream_t stream);

enum { CM_CUDA_ANSWER_THREADS = 256 };

/* cm_warp_sum into warp_sums[thread], cm_block_sum twice into block_sums[2][thread]. */
cudaError_t cm_cuda_answer_sums(const float *x, float *warp_sums, float *block_sums,
                                cudaStream_t stream);

/* x [count] in the narrow types, a word each. */
cudaError_t cm_cuda_answer_conversions(const float *x, uint32_t count, uint32_t *e4m3,
                                       uint32_t *bf16, uint32_t *f16, cudaStream_t stream);

/* codes [32], two e4m3 in the lowest bytes of a word; values [32][2]: those times the factor and
 * 2^-8, made float16 as attention_pages.h does it. */
cudaError_t cm_cuda_answer_widened(const uint32_t *codes, float factor, float *values,
                                   cudaStream_t stream);

enum { CM_CUDA_ANSWER_VOTES = 6 };

/* x [32]; out [32][votes]: greatest, least, which are odd, the first of those from 1 on, whether
 * any is INT32_MAX, that of the lane number xor 5. */
cudaError_t cm_cuda_answer_warp(const int32_t *x, int32_t *out, cudaStream_t stream);

enum { CM_CUDA_ANSWER_FUNCTIONS = 5 };

/* x [count]; out [functions][count]: 2^x, e^x, erf x, root of |x|, 1 / x. */
cudaError_t cm_cuda_answer_functions(const float *x, uint32_t count, float *out,
                                     cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
