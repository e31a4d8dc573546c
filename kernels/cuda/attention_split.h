/* What the attention kernels share: where a row's positions are cut, and how the parts meet again.
 *
 * A row's softmax is computed in parts of SPLIT_TOKENS positions, cut at multiples of it, each from
 * a fresh state (maximum m, sum l, output o not yet divided). The parts are folded in position
 * order; for a part that has seen something
 *     m' = max(m, m_s),  b = 2^(m - m'),  a = 2^(m_s - m'),  l' = b l + a l_s,  o' = b o + a o_s
 * (e instead of 2 in float32), and out = o / l. Whether one block walks over all parts of its rows
 * and folds as it goes, or each part has a block of its own and attention_merge.cu folds, the same
 * operations meet the same values: which of the two runs is chosen by speed alone. */
#ifndef CM_KERNELS_CUDA_ATTENTION_SPLIT_H
#define CM_KERNELS_CUDA_ATTENTION_SPLIT_H

#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <math.h>

enum { SPLIT_TOKENS = CM_CUDA_SPLIT_PAGES * CM_PAGE_TOKENS };

/* --- Which positions a block looks at --- */

/* Positions [begin, end), whole pages. */
struct reach {
    int32_t begin;
    int32_t end;
    int32_t lowest; /* position of the rows */
};

/* What rows [first_row, last_row] of a chunk see together, of one part (`split` >= 0) or of all.
 * Called by whole warps. */
static __device__ __forceinline__ struct reach reach_of(const struct cm_attention_args &args,
                                                        const struct cm_attention_chunk &chunk,
                                                        int32_t first_row, int32_t last_row,
                                                        int32_t split)
{
    int32_t row = chunk.row_begin + (int32_t)(threadIdx.x % 32);
    bool ours = row < chunk.row_end && row >= first_row && row <= last_row;
    int32_t position = ours ? args.positions[row] : 0;
    int32_t highest = __reduce_max_sync(0xffffffffu, ours ? position : -1);
    int32_t lowest = __reduce_min_sync(0xffffffffu, ours ? position : INT32_MAX);
    struct reach reach = { 0, highest + 1, lowest };
    if (args.window > 0 && (int64_t)lowest >= (int64_t)args.window) {
        reach.begin = lowest - (int32_t)args.window + 1;
        reach.begin -= reach.begin % CM_PAGE_TOKENS;
    }
    if (split >= 0) {
        int32_t begin = split * SPLIT_TOKENS;
        int32_t end = begin + SPLIT_TOKENS;
        reach.begin = reach.begin > begin ? reach.begin : begin;
        reach.end = reach.end < end ? reach.end : end;
    }
    return reach;
}

/* --- Elements of type e4m3 --- */

/* Two codes, in the lower bytes of the halves of a word, as float16 less a factor of 2^8: sign,
 * exponent and mantissa only move, and subnormals stay subnormal. */
static __device__ __forceinline__ uint32_t half2_of_e4m3(uint32_t codes)
{
    return (codes & 0x00800080) << 8 | (codes & 0x007f007f) << 7;
}

/* 2^exponent as float, within the limits of the cache: slots that nobody has written may have any
 * exponent. */
static __device__ __forceinline__ float power_of_slot(int exponent)
{
    const int lowest = CM_CUDA_KV_EXPONENT_MIN;
    const int highest = CM_CUDA_KV_EXPONENT_MAX;
    exponent = exponent < lowest ? lowest : exponent > highest ? highest : exponent;
    return __int_as_float((127 + exponent) << 23);
}

/* --- Parts meet --- */

/* The running maximum and sum, and the two factors of the last fold: one of them is 1, or both are
 * 0 as long as nothing has been seen. */
struct fold {
    float maximum; /* minus infinity: nothing seen yet */
    float sum;
    float before;
    float after;
};

template <bool BASE_2>
static __device__ __forceinline__ void fold_in(struct fold &fold, float maximum, float sum)
{
    if (maximum == -INFINITY) { /* the part saw nothing */
        fold.before = fold.maximum == -INFINITY ? 0.0f : 1.0f;
        fold.after = 0.0f;
        return;
    }
    if (fold.maximum == -INFINITY) {
        fold = { maximum, sum, 0.0f, 1.0f };
        return;
    }
    float highest = fmaxf(fold.maximum, maximum);
    fold.before = BASE_2 ? exp2f(fold.maximum - highest) : expf(fold.maximum - highest);
    fold.after = BASE_2 ? exp2f(maximum - highest) : expf(maximum - highest);
    fold.maximum = highest;
    fold.sum = fmaf(fold.sum, fold.before, sum * fold.after);
}

/* One element of the output. A side with the factor 0 is not looked at: it may hold anything. */
static __device__ __forceinline__ float folded(const struct fold &fold, float before, float after)
{
    if (fold.before == 0.0f) {
        return after;
    }
    return fold.after == 0.0f ? before : fmaf(before, fold.before, after * fold.after);
}

static __device__ __forceinline__ float reciprocal_of(float sum)
{
    return sum > 0.0f ? 1.0f / sum : 0.0f;
}

/* --- Parts that wait for the merge --- */

/* The place of a row's head in struct cm_cuda_parts; `chunk` and `chunks` count in the launch. */
static __device__ __forceinline__ size_t part_of(uint32_t split, uint32_t chunk, uint32_t chunks,
                                                 uint32_t row_in_chunk, uint32_t n_heads,
                                                 uint32_t head)
{
    size_t row = ((size_t)split * chunks + chunk) * CM_ATTENTION_CHUNK_ROWS + row_in_chunk;
    return row * n_heads + head;
}

/* What a launch covers: chunks [first_chunk, first_chunk + chunks), and with `is_split` every part
 * by a block of its own, numbered chunk first. */
struct share {
    struct cm_cuda_parts parts;
    uint32_t first_chunk;
    uint32_t chunks;
    bool is_split;
    uint32_t queries; /* that a block takes of a chunk and KV head */
};

/* The block's part; -1: it walks over all. */
static __device__ __forceinline__ int32_t split_of_block(const struct share &share)
{
    return share.is_split ? (int32_t)(blockIdx.x / share.chunks) : -1;
}

/* Calls launch(grid, share) for all chunks at once, or, where that would leave the device idle and
 * rows are long, for as many as there is room for their parts, and merges these. A block
 * takes `queries` of a chunk and KV head; `enough` of them keep the device busy. */
template <class Launch>
static cudaError_t launch_shares(const struct cm_attention_args &args,
                                 const struct cm_cuda_parts &parts, uint32_t queries,
                                 uint32_t enough, bool base_2, cudaStream_t stream, Launch launch)
{
    const uint32_t rows_max = CM_ATTENTION_CHUNK_ROWS;
    uint32_t rows = args.n_rows < rows_max ? args.n_rows : rows_max;
    uint32_t tiles = (rows * (args.n_heads / args.n_kv_heads) + queries - 1) / queries;
    uint32_t splits = (args.positions_end + SPLIT_TOKENS - 1) / SPLIT_TOKENS;
    size_t blocks = (size_t)args.n_chunks * args.n_kv_heads * tiles;
    size_t parts_of_chunk = (size_t)CM_ATTENTION_CHUNK_ROWS * args.n_heads * splits;
    struct share share = { parts, 0, args.n_chunks, false, queries };
    if (parts.values == NULL || splits <= 1 || blocks >= enough ||
        parts_of_chunk > parts.capacity) {
        return launch(dim3(args.n_chunks, args.n_kv_heads, tiles), share);
    }
    uint32_t room = (uint32_t)(parts.capacity / parts_of_chunk);
    cudaError_t result = cudaSuccess;
    share.is_split = true;
    for (; result == cudaSuccess && share.first_chunk < args.n_chunks; share.first_chunk += room) {
        uint32_t left = args.n_chunks - share.first_chunk;
        share.chunks = left < room ? left : room;
        result = launch(dim3(share.chunks * splits, args.n_kv_heads, tiles), share);
        if (result == cudaSuccess) {
            result = cm_cuda_attention_merge(&args, &parts, base_2, share.first_chunk, share.chunks,
                                             stream);
        }
    }
    return result;
}

#endif
