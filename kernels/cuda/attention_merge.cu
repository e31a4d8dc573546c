/* The parts of a row's attention, folded in position order: see attention_split.h.
 *
 * values [part][head_dim] float32, states [part][2] float32 (maximum, sum), where part_of says; out
 * [row, head, head_dim] float32. Of a row only the parts that its position and the window reach are
 * read. One warp a row and head, elements lane + 32 k; no sum crosses lanes, so nothing depends on
 * the launch. Bytes: each part once and the output; 3 flops an element and part.
 * Occupancy of *: 12 on sm_80, 12 on sm_90 */
#include "kernels/cuda/attention_split.h"

enum { WARPS = 4, THREADS = 32 * WARPS, LANE_DIMS = CM_CUDA_HEAD_DIM_MAX / 32 };

template <bool BASE_2>
static __global__ void __launch_bounds__(THREADS)
    merge_parts(struct cm_attention_args args, struct cm_cuda_parts parts, uint32_t first_chunk,
                uint32_t chunks)
{
    uint32_t in_launch = blockIdx.x / CM_ATTENTION_CHUNK_ROWS;
    uint32_t row_in_chunk = blockIdx.x % CM_ATTENTION_CHUNK_ROWS;
    struct cm_attention_chunk chunk = args.chunks[first_chunk + in_launch];
    int32_t row = chunk.row_begin + (int32_t)row_in_chunk;
    uint32_t head = blockIdx.y * WARPS + threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    if (row >= chunk.row_end || head >= args.n_heads) {
        return;
    }
    int32_t position = args.positions[row];
    bool is_cut = args.window > 0 && (int64_t)position >= (int64_t)args.window;
    int32_t first = is_cut ? (position - (int32_t)args.window + 1) / SPLIT_TOKENS : 0;
    struct fold fold = { -INFINITY, 0.0f, 0.0f, 0.0f };
    float sums[LANE_DIMS] = { 0 };
    for (int32_t split = first; split <= position / SPLIT_TOKENS; split++) {
        size_t part = part_of((uint32_t)split, in_launch, chunks, row_in_chunk, args.n_heads, head);
        const float *values = parts.values + part * args.head_dim;
        fold_in<BASE_2>(fold, parts.states[2 * part], parts.states[2 * part + 1]);
#pragma unroll
        for (uint32_t k = 0; k < LANE_DIMS; k++) {
            if (lane + 32 * k < args.head_dim && fold.after > 0.0f) {
                sums[k] = folded(fold, sums[k], values[lane + 32 * k]);
            }
        }
    }
    float factor = reciprocal_of(fold.sum);
    float *out = args.out + ((size_t)row * args.n_heads + head) * args.head_dim;
#pragma unroll
    for (uint32_t k = 0; k < LANE_DIMS; k++) {
        if (lane + 32 * k < args.head_dim) {
            out[lane + 32 * k] = sums[k] * factor;
        }
    }
}

extern "C" cudaError_t cm_cuda_attention_merge(const struct cm_attention_args *args,
                                               const struct cm_cuda_parts *parts, bool base_2,
                                               uint32_t first_chunk, uint32_t chunks,
                                               cudaStream_t stream)
{
    dim3 grid(chunks * CM_ATTENTION_CHUNK_ROWS, (args->n_heads + WARPS - 1) / WARPS);
    return base_2 ? CM_LAUNCH(merge_parts<true>, grid, dim3(THREADS), 0, stream, *args, *parts,
                              first_chunk, chunks)
                  : CM_LAUNCH(merge_parts<false>, grid, dim3(THREADS), 0, stream, *args, *parts,
                              first_chunk, chunks);
}
