/* Attention over the paged KV cache in float32: out = softmax(scale * q K^T) V for every query
 * head.
 *
 * Page by page in position order with a running maximum m, sum l and accumulator a per query
 * (online softmax, Milakov and Gimelshein 2018); for the 16 scores s of a page m' = max(m, s),  p =
 * exp(s - m'),  c = exp(m - m') l' = c l + sum(p),  a' = c a + sum_t p_t V[t, :] and out = a / l at
 * the end.
 *
 * q [row, head, head_dim] float32 inside qkv; pages as in launch.h, float32 (precision exact) or
 * float16; all arithmetic float32. A score sums the dimensions in rising order, sum(p) is a tree
 * over the 16 positions, values are added in rising position: nothing depends on the other queries
 * of a tile or on the cut of the work, so a row has the same bits in whatever company.
 *
 * A block takes 8 queries (rows x heads of the group) of one chunk and KV head, 16 threads a query:
 * one thread a score, then one thread for every 16th dimension. Chosen for precision exact, and for
 * head sizes that attention_mma.cu does not take. Slots outside a query's positions are never used.
 * Flops: 4 head_dim a query and position. Bytes: a page's keys and values for every 8 queries,
 * which mostly come out of the second-level cache. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

#include <math.h>

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
    for (uint32_t i = threadIdx.x; i < CM_PAGE_TOKENS * args.head_dim; i += THREADS) {
        tile->keys[i / args.head_dim][i % args.head_dim] = to_float(keys[i]);
        tile->values[i / args.head_dim][i % args.head_dim] = to_float(values[i]);
    }
}

template <class T>
static __global__ void __launch_bounds__(THREADS)
    attend(struct cm_attention_args args, struct cm_cuda_kv kv)
{
    CM_DYNAMIC_SHARED(struct tile, tile);
    struct cm_attention_chunk chunk = args.chunks[blockIdx.x];
    uint32_t kv_head = blockIdx.y;
    uint32_t group = args.n_heads / args.n_kv_heads;
    uint32_t queries_count = (uint32_t)(chunk.row_end - chunk.row_begin) * group;
    uint32_t first = blockIdx.z * QUERIES;
    if (first >= queries_count) {
        return;
    }
    uint32_t query = threadIdx.x / LANES;
    uint32_t lane = threadIdx.x % LANES;
    bool active = first + query < queries_count;
    int32_t row = chunk.row_begin + (int32_t)((first + query) / group);
    uint32_t head = kv_head * group + (first + query) % group;
    int32_t first_row = chunk.row_begin + (int32_t)(first / group);
    int32_t last_row = chunk.row_begin + (int32_t)((first + QUERIES - 1) / group);
    int32_t position = active ? args.positions[row] : 0;
    size_t q_stride = (size_t)(args.n_heads + 2 * args.n_kv_heads) * args.head_dim;
    for (uint32_t i = lane; active && i < args.head_dim; i += LANES) {
        tile->q[query][i] = args.qkv[(size_t)row * q_stride + (size_t)head * args.head_dim + i];
    }
    float sums[LANE_DIMS] = { 0 };
    float maximum = -INFINITY;
    float total = 0.0f;
    for (int32_t v = chunk.visit_begin; v < chunk.visit_end; v++) {
        struct cm_visit visit = args.visits[v];
        if (visit.row_begin > last_row || visit.row_end <= first_row) {
            continue; /* the same for the whole block */
        }
        __syncthreads(); /* the page before is done with */
        load_page<T>(args, kv, visit.page, kv_head, tile);
        __syncthreads();
        int32_t at = visit.first_position + (int32_t)lane;
        bool visits = active && row >= visit.row_begin && row < visit.row_end;
        bool seen = visits && at <= position &&
                    (args.window == 0 || (int64_t)at > (int64_t)position - args.window);
        float score = -INFINITY;
        if (seen) {
            score = 0.0f;
            for (uint32_t i = 0; i < args.head_dim; i++) {
                score = fmaf(tile->q[query][i], tile->keys[lane][i], score);
            }
            score *= args.scale;
        }
        float highest = fmaxf(maximum, maximum_of_lanes(score));
        float weight = seen ? expf(score - highest) : 0.0f;
        float page_sum = sum_of_lanes(weight);
        tile->weights[query][lane] = weight;
        unsigned seen_lanes = __ballot_sync(0xffffffffu, seen) >> threadIdx.x % 32 / LANES * LANES;
        __syncwarp();
        if ((seen_lanes & 0xffffu) == 0) {
            continue;
        }
        float shrink = expf(maximum - highest);
        maximum = highest;
        total = fmaf(total, shrink, page_sum);
        for (uint32_t k = 0; k < LANE_DIMS; k++) {
            sums[k] *= shrink;
        }
        for (uint32_t t = 0; t < CM_PAGE_TOKENS; t++) {
            if ((seen_lanes >> t & 1) == 0) {
                continue; /* whatever stands there: it may be NaN */
            }
            for (uint32_t k = 0; k < LANE_DIMS; k++) {
                if (lane + LANES * k < args.head_dim) {
                    sums[k] =
                        fmaf(tile->weights[query][t], tile->values[t][lane + LANES * k], sums[k]);
                }
            }
        }
    }
    if (!active) {
        return;
    }
    float factor = total > 0.0f ? 1.0f / total : 0.0f;
    float *out = args.out + ((size_t)row * args.n_heads + head) * args.head_dim;
    for (uint32_t k = 0; k < LANE_DIMS; k++) {
        if (lane + LANES * k < args.head_dim) {
            out[lane + LANES * k] = sums[k] * factor;
        }
    }
}

template <class T>
static cudaError_t launch(const struct cm_attention_args *args, const struct cm_cuda_kv *kv,
                          cudaStream_t stream)
{
    uint32_t group = args->n_heads / args->n_kv_heads;
    const uint32_t rows_max = CM_ATTENTION_CHUNK_ROWS;
    uint32_t rows = args->n_rows < rows_max ? args->n_rows : rows_max;
    uint32_t tiles = (rows * group + QUERIES - 1) / QUERIES;
    return CM_LAUNCH(attend<T>, dim3(args->n_chunks, args->n_kv_heads, tiles), dim3(THREADS),
                     sizeof(struct tile), stream, *args, *kv);
}

extern "C" cudaError_t cm_cuda_attention(const struct cm_attention_args *args,
                                         const struct cm_cuda_kv *kv, cudaStream_t stream)
{
    static_assert(sizeof(struct tile) <= 48 << 10, "more would have to be asked for");
    return kv->half ? launch<__half>(args, kv, stream) : launch<float>(args, kv, stream);
}
