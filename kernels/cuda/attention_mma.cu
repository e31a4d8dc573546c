/* Attention over the paged KV cache on tensor cores: out = softmax(scale * q K^T) V.
 *
 * The same online softmax as in attention.cu, page by page in position order, with base 2:
 *     m' = max(m, s),  p = 2^(s - m'),  c = 2^(m - m'),  s = scale log2(e) q k
 *     l' = c l + sum(p),  a' = c a + p V
 * q [row, head, head_dim] float32 inside qkv, rounded to float16; pages as in launch.h, float16 or
 * e4m3; p rounded to float16 for the product with V; sums float32. head_dim: 32, 64, 80, 96, 128 or
 * 256.
 *
 * A block takes 64 or 16 queries (rows x heads of the group) of one chunk and KV head, a warp 16 of
 * them: one m16n8k16 tile. Decode and prefill are the same code: queries of all rows that share a
 * page stand in one tile. Pages are copied to shared memory once for the block, a few at a time,
 * while the ones before are computed (cp.async, two buffers). A page that a row does not visit
 * changes nothing for it: its scores are minus infinity, so p = 0, c = 1, and adding zeros is
 * exact. Rows of a tile do not meet in an mma. A row's positions are cut into parts that are folded
 * in order (attention_split.h). So a row has the same bits in whatever company and cut.
 *
 * Slots that nobody has written may hold NaN, and 0 * NaN is NaN: they arrive as zeros.
 * Flops: 4 head_dim a query and position, on tensor cores. Bytes: each page once a block.
 * Occupancy of attend<*1>: 3 on sm_80, 5 on sm_90
 * Occupancy of attend<128,*>: 1 on sm_80, 2 on sm_90
 * Occupancy of *: 2 on sm_80, 2 on sm_90 */
#include "kernels/cuda/attention_pages.h"

enum { WIDE_ROWS = 12, ALONE_ROWS = 3 }; /* that see a page together */

/* What a lane knows of its two queries: rows g and g + 8 of the warp's tile, g = lane / 4. */
struct queries {
    int32_t row[2]; /* -1: none */
    int32_t position[2];
    uint32_t head[2];
    int32_t split[2]; /* the part that maximum, sum and the lane's sums belong to */
    float maximum[2];
    float sum[2];        /* over the lane's own columns */
    struct fold fold[2]; /* of the parts before, whose output stands in `out` */
};

/* A page's score at position `at`, minus infinity where the row does not see it. */
static __device__ __forceinline__ float masked(const struct cm_attention_args &args, bool visits,
                                               int32_t at, int32_t position, float score)
{
    bool seen = visits && at <= position &&
                (args.window == 0 || (int64_t)at > (int64_t)position - args.window);
    return seen ? score : -INFINITY;
}

/* Scores to weights p of one page, in place; moves maxima and sums on, and tells c. `whole`: all
 * rows that visit the page see all of it. */
static __device__ __forceinline__ void weigh_page(const struct cm_attention_args &args,
                                                  const struct cm_visit &visit, bool whole,
                                                  float scale, struct queries &queries,
                                                  float (&scores)[2][4], float (&shrink)[2])
{
    int32_t column = visit.first_position + (int32_t)(threadIdx.x % 4) * 2;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        bool visits = queries.row[r] >= visit.row_begin && queries.row[r] < visit.row_end;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float *score = &scores[i / 2][2 * r + i % 2];
            float scaled = *score * scale;
            *score = whole ? visits ? scaled : -INFINITY
                           : masked(args, visits, column + i / 2 * 8 + i % 2, queries.position[r],
                                    scaled);
        }
        float highest = fmaxf(fmaxf(scores[0][2 * r], scores[0][2 * r + 1]),
                              fmaxf(scores[1][2 * r], scores[1][2 * r + 1]));
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
        highest = fmaxf(highest, queries.maximum[r]);
        /* A row that has seen nothing yet keeps zeros: minus infinity less itself is NaN. */
        float base = highest == -INFINITY ? 0.0f : highest;
        shrink[r] = highest == queries.maximum[r] ? 1.0f : cm_exp2(queries.maximum[r] - base);
        queries.maximum[r] = highest;
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float *score = &scores[i / 2][2 * r + i % 2];
            *score = cm_exp2(*score - base);
            sum += *score;
        }
        queries.sum[r] = queries.sum[r] * shrink[r] + sum;
    }
}

static __device__ __forceinline__ uint32_t pack(float low, float high)
{
    __half2 both = __floats2half2_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}

/* q k of the tile's queries and the sixteen positions of each page: the pages' chains of products
 * run side by side. */
template <int D, int N>
static __device__ __forceinline__ void score_pages(const __half (*q)[D + 8],
                                                   const __half (*keys)[CM_PAGE_TOKENS][D + 8],
                                                   float (&scores)[N][2][4])
{
    uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (int page = 0; page < N; page++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            scores[page][0][i] = 0.0f;
            scores[page][1][i] = 0.0f;
        }
    }
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t a[4];
        cm_ldmatrix_x4(a, &q[lane % 16][k * 16 + lane / 16 * 8]);
#pragma unroll
        for (int page = 0; page < N; page++) {
            uint32_t b[4];
            cm_ldmatrix_x4(b, &keys[page][lane % 8 + lane / 16 * 8][k * 16 + lane / 8 % 2 * 8]);
            const uint32_t low[2] = { b[0], b[1] };
            const uint32_t high[2] = { b[2], b[3] };
            cm_mma_m16n8k16_f16(scores[page][0], a, low);
            cm_mma_m16n8k16_f16(scores[page][1], a, high);
        }
    }
}

/* Adds a page's values with the weights that its scores make. */
template <int D>
static __device__ __forceinline__ void
add_page(const struct cm_attention_args &args, const struct cm_visit &visit, bool whole,
         float scale, const __half (*values)[D + 8], struct queries &queries, float (&scores)[2][4],
         float (&sums)[D / 8][4])
{
    uint32_t lane = threadIdx.x % 32;
    float shrink[2];
    weigh_page(args, visit, whole, scale, queries, scores, shrink);
    const uint32_t weights[4] = { pack(scores[0][0], scores[0][1]),
                                  pack(scores[0][2], scores[0][3]),
                                  pack(scores[1][0], scores[1][1]),
                                  pack(scores[1][2], scores[1][3]) };
    /* Maxima seldom move, and times 1 changes nothing. */
    if (__any_sync(0xffffffffu, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sums[n][i] *= shrink[i / 2];
            }
        }
    }
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
        uint32_t b[4];
        cm_ldmatrix_x4_trans(b, &values[lane % 16][n * 16 + lane / 16 * 8]);
        const uint32_t low[2] = { b[0], b[1] };
        const uint32_t high[2] = { b[2], b[3] };
        cm_mma_m16n8k16_f16(sums[2 * n], weights, low);
        cm_mma_m16n8k16_f16(sums[2 * n + 1], weights, high);
    }
}

/* q of the block's queries as float16, zeros for those that are not there. */
template <int D, bool FP8, int W>
static __device__ __forceinline__ void
load_queries(const struct cm_attention_args &args, const struct cm_attention_chunk &chunk,
             uint32_t first, uint32_t end, layout<D, FP8, W> *shared)
{
    uint32_t group = args.n_heads / args.n_kv_heads;
    size_t stride = (size_t)(args.n_heads + 2 * args.n_kv_heads) * D;
    bool aligned = cm_is_aligned(args.qkv, D);
#pragma unroll 8
    for (uint32_t i = 4 * threadIdx.x; i < W * TILE * D; i += 4 * 32 * W) {
        uint32_t query = first + i / D;
        float4 quad = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (query < end) {
            size_t row = (size_t)chunk.row_begin + query / group;
            uint32_t head = blockIdx.y * group + query % group;
            quad = cm_load_quad(args.qkv + row * stride + (size_t)head * D, i % D, D, aligned);
        }
        __half2 *to = reinterpret_cast<__half2 *>(&shared->q[i / D][i % D]);
        to[0] = __floats2half2_rn(quad.x, quad.y);
        to[1] = __floats2half2_rn(quad.z, quad.w);
    }
    for (int32_t i = (int32_t)threadIdx.x; i < chunk.row_end - chunk.row_begin; i += 32 * W) {
        shared->positions[i] = args.positions[chunk.row_begin + i];
    }
}

/* Adds the lane's sums over its four columns. */
static __device__ __forceinline__ float quad_sum(float sum)
{
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    return sum + __shfl_xor_sync(0xffffffffu, sum, 2);
}

static __device__ __forceinline__ float *out_of(const struct cm_attention_args &args,
                                                const struct queries &queries, int r)
{
    return args.out + ((size_t)queries.row[r] * args.n_heads + queries.head[r]) * args.head_dim +
           threadIdx.x % 4 * 2;
}

/* Queries that go on into the visit's part fold the part before into `out`, where the output
 * waits: rows are seldom so long that it matters, and registers are dear. */
template <int D>
static __device__ __forceinline__ void begin_part(const struct cm_attention_args &args,
                                                  const struct cm_visit &visit,
                                                  struct queries &queries, float (&sums)[D / 8][4])
{
    int32_t split = visit.first_position / SPLIT_TOKENS;
    bool goes_on[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        bool visits = queries.row[r] >= visit.row_begin && queries.row[r] < visit.row_end;
        goes_on[r] = visits && queries.split[r] != split;
        queries.split[r] = goes_on[r] ? split : queries.split[r];
        goes_on[r] = goes_on[r] && queries.maximum[r] != -INFINITY;
    }
    if (!__any_sync(0xffffffffu, goes_on[0] || goes_on[1])) {
        return;
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = quad_sum(queries.sum[r]);
        if (!goes_on[r]) {
            continue;
        }
        fold_in<true>(queries.fold[r], queries.maximum[r], sum);
        queries.maximum[r] = -INFINITY;
        queries.sum[r] = 0.0f;
        float *out = out_of(args, queries, r);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *element = &sums[n][2 * r + i];
                out[n * 8 + i] = folded(queries.fold[r], out[n * 8 + i], *element);
                *element = 0.0f;
            }
        }
    }
}

/* The output, or with parts side by side this one as it is. */
template <int D>
static __device__ __forceinline__ void store(const struct cm_attention_args &args,
                                             const struct share &share, int32_t first_row,
                                             struct queries &queries, const float (&sums)[D / 8][4])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = quad_sum(queries.sum[r]);
        if (queries.row[r] < 0) {
            continue;
        }
        float *out = out_of(args, queries, r);
        if (share.is_split) {
            size_t part =
                part_of((uint32_t)queries.split[r], blockIdx.x % share.chunks, share.chunks,
                        (uint32_t)(queries.row[r] - first_row), args.n_heads, queries.head[r]);
            out = share.parts.values + part * D + threadIdx.x % 4 * 2;
            if (threadIdx.x % 4 == 0) {
                share.parts.states[2 * part] = queries.maximum[r];
                share.parts.states[2 * part + 1] = sum;
            }
        } else {
            fold_in<true>(queries.fold[r], queries.maximum[r], sum);
        }
        float factor = share.is_split ? 1.0f : reciprocal_of(queries.fold[r].sum);
#pragma unroll
        for (int n = 0; n < D / 8; n++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float value = sums[n][2 * r + i];
                if (!share.is_split && queries.fold[r].before != 0.0f) {
                    value = folded(queries.fold[r], out[n * 8 + i], value);
                }
                out[n * 8 + i] = value * factor;
            }
        }
    }
}

/* --- The kernel --- */

static __device__ __forceinline__ bool concerns(const struct cm_visit &visit, int32_t first_row,
                                                int32_t last_row)
{
    return visit.row_begin <= last_row && visit.row_end > first_row;
}

/* Whether begin_part has nothing to do for the visit. */
static __device__ __forceinline__ bool goes_on(const struct cm_visit &visit,
                                               const struct queries &queries)
{
    int32_t split = visit.first_position / SPLIT_TOKENS;
    bool ours = true;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        bool visits = queries.row[r] >= visit.row_begin && queries.row[r] < visit.row_end;
        ours = ours && (!visits || queries.split[r] == split);
    }
    return __all_sync(0xffffffffu, ours);
}

/* The pages of a stage for the warp's queries. */
template <int D, int N>
static __device__ __forceinline__ void
visit_pages(const struct cm_attention_args &args, const struct cm_visit *visits, int count,
            int32_t first_row, int32_t last_row, int32_t lowest, float scale,
            const __half (*q)[D + 8], const __half (*keys)[CM_PAGE_TOKENS][D + 8],
            const __half (*values)[CM_PAGE_TOKENS][D + 8], struct queries &queries,
            float (&sums)[D / 8][4])
{
    bool together = count == N;
    bool whole = args.window == 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        together =
            together && concerns(visits[i], first_row, last_row) && goes_on(visits[i], queries);
        whole = whole && visits[i].first_position + CM_PAGE_TOKENS <= lowest + 1;
    }
    if (together) {
        float scores[N][2][4];
        score_pages<D, N>(q, keys, scores);
        if (whole) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                add_page<D>(args, visits[i], true, scale, values[i], queries, scores[i], sums);
            }
        } else {
#pragma unroll
            for (int i = 0; i < N; i++) {
                add_page<D>(args, visits[i], false, scale, values[i], queries, scores[i], sums);
            }
        }
        return;
    }
    for (int i = 0; i < count; i++) {
        struct cm_visit visit = visits[i];
        if (concerns(visit, first_row, last_row)) {
            float scores[1][2][4];
            begin_part<D>(args, visit, queries, sums);
            score_pages<D, 1>(q, keys + i, scores);
            add_page<D>(args, visit, false, scale, values[i], queries, scores[0], sums);
        }
    }
}

template <int D, bool FP8, int W>
static __global__ void __launch_bounds__(32 * W, W > 1 ? 2 : 1)
    attend(struct cm_attention_args args, struct cm_cuda_kv kv, struct share share)
{
    using shared_layout = layout<D, FP8, W>;
    CM_DYNAMIC_SHARED(shared_layout, shared);
    struct cm_attention_chunk chunk = args.chunks[share.first_chunk + blockIdx.x % share.chunks];
    uint32_t group = args.n_heads / args.n_kv_heads;
    uint32_t queries_count = (uint32_t)(chunk.row_end - chunk.row_begin) * group;
    uint32_t first = blockIdx.z * share.queries;
    if (first >= queries_count) {
        return;
    }
    uint32_t end = first + share.queries < queries_count ? first + share.queries : queries_count;
    int32_t first_row = chunk.row_begin + (int32_t)(first / group);
    int32_t last_row = chunk.row_begin + (int32_t)((end - 1) / group);
    struct reach reach = reach_of(args, chunk, first_row, last_row, split_of_block(share));
    if (reach.begin >= reach.end) {
        return; /* a part that none of the rows has; the merge does not ask for it */
    }
    load_queries<D, FP8, W>(args, chunk, first, end, shared);
    __syncthreads();

    uint32_t warp = threadIdx.x / 32;
    struct queries queries;
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t query = first + warp * TILE + threadIdx.x % 32 / 4 + 8 * r;
        bool there = query < end;
        queries.row[r] = there ? chunk.row_begin + (int32_t)(query / group) : -1;
        queries.position[r] = there ? shared->positions[query / group] : -1;
        queries.head[r] = blockIdx.y * group + query % group;
        queries.split[r] = split_of_block(share);
        queries.maximum[r] = -INFINITY;
        queries.sum[r] = 0.0f;
        queries.fold[r] = { -INFINITY, 0.0f, 0.0f, 0.0f };
    }
    int32_t warp_first = chunk.row_begin + (int32_t)((first + warp * TILE) / group);
    int32_t warp_last = chunk.row_begin + (int32_t)((first + warp * TILE + TILE - 1) / group);
    float sums[D / 8][4] = { { 0 } };
    float scale = args.scale * 1.44269504088896340736f;
    struct cursor<visits_ahead<D>> cursor = {
        args.visits, chunk.visit_end, chunk.visit_begin - 32, {}, 0, first_row, last_row, reach
    };
    start_cursor(cursor);
    int count = start_stage<D, FP8, W>(args, kv, chunk, cursor, 0, shared);
    for (int stage = 0; count > 0; stage ^= 1) {
        int next_count = start_stage<D, FP8, W>(args, kv, chunk, cursor, stage ^ 1, shared);
        cm_cp_async_wait<1>();
        __syncthreads();
        if constexpr (FP8) {
            widen_stage<D, W>(stage, count, shared);
            __syncthreads();
        }
        const int ready = FP8 ? 0 : stage;
        visit_pages<D, stage_pages<D, W>>(
            args, shared->visits[stage], count, warp_first, warp_last, reach.lowest, scale,
            shared->q + warp * TILE, shared->keys[ready], shared->values[ready], queries, sums);
        count = next_count;
        __syncthreads(); /* the stage is done with before it is filled again */
    }
    store<D>(args, share, chunk.row_begin, queries, sums);
}

/* --- Launches --- */

template <int D, bool FP8, int W>
static cudaError_t launch(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                          const struct cm_cuda_parts *parts, uint32_t queries, uint32_t enough,
                          cudaStream_t stream)
{
    cudaError_t result = cudaFuncSetAttribute((const void *)attend<D, FP8, W>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              (int)sizeof(layout<D, FP8, W>));
    if (result != cudaSuccess) {
        return result;
    }
    return launch_shares(*args, *parts, queries, enough, true, stream,
                         [&](dim3 grid, const struct share &share) {
                             return CM_LAUNCH((attend<D, FP8, W>), grid, dim3(32 * W),
                                              sizeof(layout<D, FP8, W>), stream, *args, *kv, share);
                         });
}

/* Four warps a block copy a page once for 64 queries, where many rows see the same pages, as those
 * of a prompt do. Where few do, three of the warps would watch one, and where the blocks are few
 * they leave the device idle: then a block is one warp, with 16 queries, or with those of a single
 * row where hardly a page is shared: pages come one after the other in a warp, and many warps wait
 * for many at a time. The bits are the same. */
template <int D, bool FP8>
static cudaError_t launch_of_width(const struct cm_attention_args *args,
                                   const struct cm_cuda_kv *kv, const struct cm_cuda_parts *parts,
                                   cudaStream_t stream)
{
    uint32_t group = args->n_heads / args->n_kv_heads;
    size_t queries = (size_t)args->n_rows * group;
    uint32_t visitors = args->rows_per_visit; /* 0: not told */
    uint32_t enough = parts->blocks_enough;
    if (queries / (4 * TILE) * args->n_kv_heads >= enough / 2 &&
        (visitors == 0 || visitors >= WIDE_ROWS)) {
        return launch<D, FP8, 4>(args, kv, parts, 4 * TILE, enough / 2, stream);
    }
    const uint32_t tile = TILE;
    bool alone = visitors > 0 && visitors <= ALONE_ROWS && group <= tile;
    return launch<D, FP8, 1>(args, kv, parts, alone ? group : tile, 4 * enough, stream);
}

template <int D>
static cudaError_t launch_of(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                             const struct cm_cuda_parts *parts, cudaStream_t stream)
{
    return kv->type == CM_CUDA_KV_E4M3 ? launch_of_width<D, true>(args, kv, parts, stream)
                                       : launch_of_width<D, false>(args, kv, parts, stream);
}

extern "C" cudaError_t cm_cuda_attention_mma(const struct cm_attention_args *args,
                                             const struct cm_cuda_kv *kv,
                                             const struct cm_cuda_parts *parts, cudaStream_t stream)
{
    switch (args->head_dim) {
    case 32:
        return launch_of<32>(args, kv, parts, stream);
    case 64:
        return launch_of<64>(args, kv, parts, stream);
    case 80:
        return launch_of<80>(args, kv, parts, stream);
    case 96:
        return launch_of<96>(args, kv, parts, stream);
    case 128:
        return launch_of<128>(args, kv, parts, stream);
    case 256:
        return launch_of<256>(args, kv, parts, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
