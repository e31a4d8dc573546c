/* Attention over the paged KV cache in float32: out = softmax(scale * q K^T) V for every query
 * head.
 *
 * Page by page in position order with a running maximum m, sum l and accumulator a per query
 * (online softmax, Milakov and Gimelshein 2018); for the 16 scores s of a page m' = max(m, s),  p =
 * exp(s - m'),  c = exp(m - m') l' = c l + sum(p),  a' = c a + sum_t p_t V[t, :] and out = a / l at
 * the end.
 *
 * q [row, head, head_dim] float32 inside qkv; pages as in launch.h, float32 (precision exact),
 * float16 or e4m3; all arithmetic float32. A score sums the dimensions in rising order, sum(p) is a
 * tree over the 16 positions, values are added in rising position; a row's positions are cut into
 * parts which are folded in order (attention_split.h). Nothing depends on the other queries of a
 * tile or on the cut of the work, so a row has the same bits in whatever company.
 *
 * A block takes 8 queries (rows x heads of the group) of one chunk and KV head, 16 threads a query:
 * one thread a score, then one thread for every 16th dimension. Chosen for precision exact, and for
 * head sizes that attention_mma.cu does not take. Slots outside a query's positions are never used.
 * Flops: 4 head_dim a query and position. Bytes: a page's keys and values for every 8 queries,
 * which mostly come out of the second-level cache.
 * Occupancy of *: 3 on sm_80, 5 on sm_90 */
#include "kernels/cuda/attention_split.h"

#include <cuda_fp8.h>

enum {
    QUERIES = 8,
    LANES = CM_PAGE_TOKENS, /* threads of a query */
    THREADS = QUERIES * LANES,
    LANE_DIMS = CM_CUDA_HEAD_DIM_MAX / LANES,
};

static __device__ __forceinline__ float to_float(float value)
{
    return value;
}

static __device__ __forceinline__ float to_float(__half value)
{
    return __half2float(value);
}

static __device__ __forceinline__ float to_float(__nv_fp8_e4m3 value)
{
    return 256.0f * __half2float(__ushort_as_half((unsigned short)half2_of_e4m3(value.__x)));
}

/* What the elements of a page's slot count times; `page` is a head's keys or values. */
template <class T>
static __device__ __forceinline__ float factor_of_slot(const T *page, uint32_t dim, uint32_t slot)
{
    if constexpr (sizeof(T) == 1) {
        return power_of_slot(reinterpret_cast<const int8_t *>(page + CM_PAGE_TOKENS * dim)[slot]);
    }
    return 1.0f;
}

static __device__ __forceinline__ float maximum_of_lanes(float value)
{
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
    }
    return value;
}

static __device__ __forceinline__ float sum_of_lanes(float value)
{
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, offset);
    }
    return value;
}

/* Rows of 257 floats: 16 threads that read one dimension of 16 keys meet 16 banks. */
struct tile {
    float q[QUERIES][CM_CUDA_HEAD_DIM_MAX];
    float keys[CM_PAGE_TOKENS][CM_CUDA_HEAD_DIM_MAX + 1];
    float values[CM_PAGE_TOKENS][CM_CUDA_HEAD_DIM_MAX];
    float weights[QUERIES][LANES];
};

template <class T>
static __device__ __forceinline__ void load_page(const struct cm_attention_args &args,
                                                 const struct cm_cuda_kv &kv, int32_t page,
                                                 uint32_t kv_head, struct tile *tile)
{
    const T *keys = (const T *)kv.pages + (size_t)page * kv.page_stride +
                    args.layer * kv.layer_stride + kv_head * kv.head_stride;
    const T *values = keys + kv.values_stride;
    uint32_t dim = args.head_dim;
    for (uint32_t i = threadIdx.x; i < CM_PAGE_TOKENS * dim; i += THREADS) {
        uint32_t slot = i / dim;
        tile->keys[slot][i % dim] = to_float(keys[i]) * factor_of_slot(keys, dim, slot);
        tile->values[slot][i % dim] = to_float(values[i]) * factor_of_slot(values, dim, slot);
    }
}

/* A query's state: its 16 threads agree on all but `sums` and `before`. */
struct query {
    bool active;
    int32_t row;
    int32_t position;
    uint32_t head;
    int32_t split; /* the part that maximum, total and sums belong to */
    float maximum;
    float total;
    float sums[LANE_DIMS];
    struct fold fold;        /* of the parts before */
    float before[LANE_DIMS]; /* their output */
};

/* The part is over: folds it, and begins anew. */
static __device__ __forceinline__ void end_part(struct query &query)
{
    fold_in<false>(query.fold, query.maximum, query.total);
    for (uint32_t k = 0; k < LANE_DIMS; k++) {
        query.before[k] = folded(query.fold, query.before[k], query.sums[k]);
        query.sums[k] = 0.0f;
    }
    query.maximum = -INFINITY;
    query.total = 0.0f;
}

static __device__ __forceinline__ void visit_page(const struct cm_attention_args &args,
                                                  const struct cm_visit &visit, uint32_t index,
                                                  uint32_t lane, struct query &query,
                                                  struct tile *tile)
{
    int32_t at = visit.first_position + (int32_t)lane;
    bool visits = query.active && query.row >= visit.row_begin && query.row < visit.row_end;
    bool seen = visits && at <= query.position &&
                (args.window == 0 || (int64_t)at > (int64_t)query.position - args.window);
    if (visits && visit.first_position / SPLIT_TOKENS != query.split) {
        end_part(query);
        query.split = visit.first_position / SPLIT_TOKENS;
    }
    float score = -INFINITY;
    if (seen) {
        score = 0.0f;
        for (uint32_t i = 0; i < args.head_dim; i++) {
            score = fmaf(tile->q[index][i], tile->keys[lane][i], score);
        }
        score *= args.scale;
    }
    float highest = fmaxf(query.maximum, maximum_of_lanes(score));
    float weight = seen ? expf(score - highest) : 0.0f;
    float page_sum = sum_of_lanes(weight);
    tile->weights[index][lane] = weight;
    unsigned seen_lanes = __ballot_sync(0xffffffffu, seen) >> threadIdx.x % 32 / LANES * LANES;
    __syncwarp();
    if ((seen_lanes & 0xffffu) == 0) {
        return;
    }
    float shrink = expf(query.maximum - highest);
    query.maximum = highest;
    query.total = fmaf(query.total, shrink, page_sum);
    for (uint32_t k = 0; k < LANE_DIMS; k++) {
        query.sums[k] *= shrink;
    }
    for (uint32_t t = 0; t < CM_PAGE_TOKENS; t++) {
        if ((seen_lanes >> t & 1) == 0) {
            continue; /* whatever stands there: it may be NaN */
        }
        for (uint32_t k = 0; k < LANE_DIMS; k++) {
            if (lane + LANES * k < args.head_dim) {
                query.sums[k] =
                    fmaf(tile->weights[index][t], tile->values[t][lane + LANES * k], query.sums[k]);
            }
        }
    }
}

/* The output, or with parts side by side this one as it is. */
static __device__ __forceinline__ void store(const struct cm_attention_args &args,
                                             const struct share &share, uint32_t row_in_chunk,
                                             uint32_t lane, struct query &query)
{
    float *out = args.out + ((size_t)query.row * args.n_heads + query.head) * args.head_dim;
    float factor = 1.0f;
    if (share.is_split) {
        size_t part = part_of((uint32_t)query.split, blockIdx.x % share.chunks, share.chunks,
                              row_in_chunk, args.n_heads, query.head);
        out = share.parts.values + part * args.head_dim;
        if (lane == 0) {
            share.parts.states[2 * part] = query.maximum;
            share.parts.states[2 * part + 1] = query.total;
        }
    } else {
        fold_in<false>(query.fold, query.maximum, query.total);
        factor = reciprocal_of(query.fold.sum);
    }
    for (uint32_t k = 0; k < LANE_DIMS; k++) {
        if (lane + LANES * k < args.head_dim) {
            float sum =
                share.is_split ? query.sums[k] : folded(query.fold, query.before[k], query.sums[k]);
            out[lane + LANES * k] = sum * factor;
        }
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    attend(struct cm_attention_args args, struct cm_cuda_kv kv, struct share share)
{
    CM_DYNAMIC_SHARED(struct tile, tile);
    struct cm_attention_chunk chunk = args.chunks[share.first_chunk + blockIdx.x % share.chunks];
    uint32_t kv_head = blockIdx.y;
    uint32_t group = args.n_heads / args.n_kv_heads;
    uint32_t queries_count = (uint32_t)(chunk.row_end - chunk.row_begin) * group;
    uint32_t first = blockIdx.z * QUERIES;
    if (first >= queries_count) {
        return;
    }
    int32_t first_row = chunk.row_begin + (int32_t)(first / group);
    int32_t last_row = chunk.row_begin + (int32_t)((first + QUERIES - 1) / group);
    struct reach reach = reach_of(args, chunk, first_row, last_row, split_of_block(share));
    if (reach.begin >= reach.end) {
        return; /* a part that none of the rows has; the merge does not ask for it */
    }
    uint32_t index = threadIdx.x / LANES;
    uint32_t lane = threadIdx.x % LANES;
    struct query query = {};
    query.active = first + index < queries_count;
    query.row = chunk.row_begin + (int32_t)((first + index) / group);
    query.position = query.active ? args.positions[query.row] : 0;
    query.head = kv_head * group + (first + index) % group;
    query.split = split_of_block(share);
    query.maximum = -INFINITY;
    query.fold.maximum = -INFINITY;
    size_t q_stride = (size_t)(args.n_heads + 2 * args.n_kv_heads) * args.head_dim;
    for (uint32_t i = lane; query.active && i < args.head_dim; i += LANES) {
        tile->q[index][i] =
            args.qkv[(size_t)query.row * q_stride + (size_t)query.head * args.head_dim + i];
    }
    for (int32_t v = chunk.visit_begin; v < chunk.visit_end; v++) {
        struct cm_visit visit = args.visits[v];
        if (visit.row_begin > last_row || visit.row_end <= first_row ||
            visit.first_position < reach.begin || visit.first_position >= reach.end) {
            continue; /* the same for the whole block */
        }
        __syncthreads(); /* the page before is done with */
        load_page<T>(args, kv, visit.page, kv_head, tile);
        __syncthreads();
        visit_page(args, visit, index, lane, query, tile);
    }
    if (query.active) {
        store(args, share, (uint32_t)(query.row - chunk.row_begin), lane, query);
    }
}

template <class T>
static cudaError_t launch(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                          const struct cm_cuda_parts *parts, cudaStream_t stream)
{
    return launch_shares(*args, *parts, QUERIES, parts->blocks_enough, false, stream,
                         [&](dim3 grid, const struct share &share) {
                             return CM_LAUNCH(attend<T>, grid, dim3(THREADS), sizeof(struct tile),
                                              stream, *args, *kv, share);
                         });
}

extern "C" cudaError_t cm_cuda_attention(const struct cm_attention_args *args,
                                         const struct cm_cuda_kv *kv,
                                         const struct cm_cuda_parts *parts, cudaStream_t stream)
{
    static_assert(sizeof(struct tile) <= 48 << 10, "more would have to be asked for");
    switch (kv->type) {
    case CM_CUDA_KV_F32:
        return launch<float>(args, kv, parts, stream);
    case CM_CUDA_KV_F16:
        return launch<__half>(args, kv, parts, stream);
    default:
        return launch<__nv_fp8_e4m3>(args, kv, parts, stream);
    }
}
