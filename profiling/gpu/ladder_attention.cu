/* Attention over paged float16 keys and values: --decode, one row of each of many texts that share
 * a prefix, or --prefill, all rows of one text.
 *
 * Decode is bound by reading the cache, each page once; prefill by the tensor cores. */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "profiling/gpu/ladder.h"

enum { WARPS = 4, HEAD_DIM = 64, LANE_DIMS = HEAD_DIM / 32 };

/* What all rungs work on. */
struct scene {
    struct cm_attention_args args; /* pointers of the device */
    struct cm_cuda_kv kv;
    struct cm_cuda_parts parts;
    const int32_t *tables; /* [rows][blocks]: a row's pages */
    uint32_t blocks;       /* of a row */
};

/* 1: a warp a row and head, position by position out of memory; nothing is shared. */
static __global__ void warp_a_query(struct scene scene)
{
    const struct cm_attention_args &args = scene.args;
    uint32_t row = blockIdx.x;
    uint32_t head = blockIdx.y * WARPS + threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    if (head >= args.n_heads) {
        return;
    }
    uint32_t kv_head = head / (args.n_heads / args.n_kv_heads);
    size_t heads = args.n_heads + 2 * args.n_kv_heads;
    const float *q = args.qkv + (row * heads + head) * HEAD_DIM;
    float sums[LANE_DIMS] = { 0 };
    float maximum = -INFINITY;
    float total = 0.0f;
    for (int32_t at = 0; at <= args.positions[row]; at++) {
        int32_t page = scene.tables[(size_t)row * scene.blocks + at / CM_PAGE_TOKENS];
        const __half *key = (const __half *)scene.kv.pages + (size_t)page * scene.kv.page_stride +
                            kv_head * scene.kv.head_stride + at % CM_PAGE_TOKENS * HEAD_DIM;
        const __half *value = key + scene.kv.values_stride;
        float score = 0.0f;
        for (uint32_t i = 0; i < LANE_DIMS; i++) {
            score += q[lane + 32 * i] * __half2float(key[lane + 32 * i]);
        }
        score = cm_warp_sum(score) * args.scale;
        float highest = fmaxf(maximum, score);
        float shrink = expf(maximum - highest);
        float weight = expf(score - highest);
        total = total * shrink + weight;
        for (uint32_t i = 0; i < LANE_DIMS; i++) {
            sums[i] = sums[i] * shrink + weight * __half2float(value[lane + 32 * i]);
        }
        maximum = highest;
    }
    for (uint32_t i = 0; i < LANE_DIMS; i++) {
        args.out[((size_t)row * args.n_heads + head) * HEAD_DIM + lane + 32 * i] = sums[i] / total;
    }
}

/* Host copies of what plain C needs. */
struct reference {
    float *qkv;
    uint16_t *pages;
    int32_t *tables;
    int32_t *positions;
};

static double half_value(uint16_t bits)
{
    double fraction = 1.0 + (bits & 0x3FF) / 1024.0;
    double value = ldexp(fraction, (bits >> 10 & 31) - 15);
    return (bits & 0x8000) != 0 ? -value : value;
}

/* One row and head in float64. */
static double error_of_head(const struct scene *scene, const struct reference *host, uint32_t row,
                            uint32_t head, const float *out)
{
    const struct cm_attention_args *args = &scene->args;
    uint32_t kv_head = head / (args->n_heads / args->n_kv_heads);
    const float *q =
        host->qkv + ((size_t)row * (args->n_heads + 2 * args->n_kv_heads) + head) * HEAD_DIM;
    double sums[HEAD_DIM] = { 0 };
    double total = 0;
    double error = 0;
    for (int32_t at = 0; at <= host->positions[row]; at++) {
        int32_t page = host->tables[(size_t)row * scene->blocks + at / CM_PAGE_TOKENS];
        const uint16_t *key = host->pages + (size_t)page * scene->kv.page_stride +
                              kv_head * scene->kv.head_stride + at % CM_PAGE_TOKENS * HEAD_DIM;
        double score = 0;
        for (uint32_t i = 0; i < HEAD_DIM; i++) {
            score += q[i] * half_value(key[i]);
        }
        double weight = exp(score * args->scale);
        total += weight;
        for (uint32_t i = 0; i < HEAD_DIM; i++) {
            sums[i] += weight * half_value(key[scene->kv.values_stride + i]);
        }
    }
    for (uint32_t i = 0; i < HEAD_DIM; i++) {
        error = fmax(error, fabs(out[i] - sums[i] / total));
    }
    return error;
}

static double error_of_rows(struct ladder *ladder, const struct scene *scene,
                            const struct reference *host)
{
    const struct cm_attention_args *args = &scene->args;
    size_t row_count = (size_t)args->n_heads * HEAD_DIM;
    float *out = (float *)malloc(row_count * sizeof *out);
    double error = 0;
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t row = i * (args->n_rows - 1);
        check(ladder,
              cudaMemcpy(out, args->out + row * row_count, row_count * sizeof *out,
                         cudaMemcpyDeviceToHost),
              "result");
        for (uint32_t head = 0; head < args->n_heads; head++) {
            error = fmax(error, error_of_head(scene, host, row, head, out + head * HEAD_DIM));
        }
    }
    free(out);
    return error;
}

/* Chunks of 32 rows; in each, block by block, a visit for every run of rows with the same page. */
static void plan(struct ladder *ladder, struct scene *scene, const struct reference *host)
{
    uint32_t rows = scene->args.n_rows;
    uint32_t chunks_max = (rows + CM_ATTENTION_CHUNK_ROWS - 1) / CM_ATTENTION_CHUNK_ROWS;
    struct cm_attention_chunk *chunks =
        (struct cm_attention_chunk *)calloc(chunks_max, sizeof *chunks);
    struct cm_visit *visits =
        (struct cm_visit *)calloc((size_t)rows * scene->blocks, sizeof *visits);
    int32_t count = 0;
    for (uint32_t c = 0; c < chunks_max; c++) {
        uint32_t begin = c * CM_ATTENTION_CHUNK_ROWS;
        uint32_t end =
            begin + CM_ATTENTION_CHUNK_ROWS < rows ? begin + CM_ATTENTION_CHUNK_ROWS : rows;
        chunks[c] = { (int32_t)begin, (int32_t)end, count, 0 };
        for (uint32_t block = 0; block < scene->blocks; block++) {
            for (uint32_t row = begin; row < end; row++) {
                int32_t page = host->tables[(size_t)row * scene->blocks + block];
                bool sees = host->positions[row] >= (int32_t)(block * CM_PAGE_TOKENS);
                if (sees && count > chunks[c].visit_begin && visits[count - 1].page == page &&
                    visits[count - 1].row_end == (int32_t)row) {
                    visits[count - 1].row_end++;
                } else if (sees) {
                    visits[count++] = { page, (int32_t)(block * CM_PAGE_TOKENS), (int32_t)row,
                                        (int32_t)row + 1 };
                }
            }
        }
        chunks[c].visit_end = count;
    }
    scene->args.n_chunks = chunks_max;
    scene->args.chunks =
        (struct cm_attention_chunk *)device_copy(ladder, chunks, chunks_max * sizeof *chunks);
    scene->args.visits =
        (struct cm_visit *)device_copy(ladder, visits, (size_t)count * sizeof *visits);
    free(chunks);
    free(visits);
}

/* Texts of `context` positions, the first `shared` of them in common; returns bytes of pages. */
static double set_up(struct ladder *ladder, struct scene *scene, struct reference *host,
                     uint32_t rows, uint32_t context, uint32_t shared, bool is_prefill)
{
    struct cm_attention_args *args = &scene->args;
    args->n_rows = rows;
    args->head_dim = HEAD_DIM;
    args->scale = 1.0f / sqrtf(HEAD_DIM);
    args->positions_end = context;
    scene->blocks = (context + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
    scene->kv.type = CM_CUDA_KV_F16;
    scene->kv.head_stride = CM_PAGE_TOKENS * HEAD_DIM;
    scene->kv.values_stride = scene->kv.head_stride * args->n_kv_heads;
    scene->kv.layer_stride = 2 * scene->kv.values_stride;
    scene->kv.page_stride = scene->kv.layer_stride;
    host->tables = (int32_t *)malloc((size_t)rows * scene->blocks * sizeof(int32_t));
    host->positions = (int32_t *)malloc(rows * sizeof(int32_t));
    int32_t pages = (int32_t)scene->blocks;
    for (uint32_t row = 0; row < rows; row++) {
        host->positions[row] = (int32_t)(is_prefill ? context - rows + row : context - 1);
        for (uint32_t block = 0; block < scene->blocks; block++) {
            bool is_common = row == 0 || is_prefill || (block + 1) * CM_PAGE_TOKENS <= shared;
            host->tables[(size_t)row * scene->blocks + block] =
                is_common ? (int32_t)block : pages++;
        }
    }
    size_t halves = (size_t)pages * scene->kv.page_stride;
    size_t qkv_count = (size_t)rows * (args->n_heads + 2 * args->n_kv_heads) * HEAD_DIM;
    host->qkv = numbers(1, qkv_count);
    host->pages = (uint16_t *)malloc(halves * sizeof *host->pages);
    for (size_t i = 0; i < halves; i++) { /* of magnitude 1/8 to 2 */
        uint32_t mixed = (uint32_t)i * 2654435761u >> 8;
        host->pages[i] = (uint16_t)((mixed & 0x83FFu) | (12 + mixed % 4) << 10);
    }
    scene->kv.pages = device_copy(ladder, host->pages, halves * 2);
    args->qkv = (float *)device_copy(ladder, host->qkv, qkv_count * sizeof(float));
    args->positions = (int32_t *)device_copy(ladder, host->positions, rows * sizeof(int32_t));
    args->out =
        (float *)device_copy(ladder, NULL, (size_t)rows * args->n_heads * HEAD_DIM * sizeof(float));
    scene->tables = (int32_t *)device_copy(ladder, host->tables,
                                           (size_t)rows * scene->blocks * sizeof(int32_t));
    scene->parts.capacity =
        (size_t)rows * args->n_heads * (scene->blocks / CM_CUDA_SPLIT_PAGES + 1);
    scene->parts.capacity = (scene->parts.capacity + 31) / 32 * 32 * CM_ATTENTION_CHUNK_ROWS;
    scene->parts.blocks_enough = 264; /* two a multiprocessor of an H100, as kv_pool.c */
    scene->parts.values =
        (float *)device_copy(ladder, NULL, scene->parts.capacity * HEAD_DIM * sizeof(float));
    scene->parts.states = (float *)device_copy(ladder, NULL, scene->parts.capacity * 8);
    plan(ladder, scene, host);
    return (double)halves * 2 + (double)rows * args->n_heads * HEAD_DIM * 8;
}

static void tear_down(struct scene *scene, struct reference *host)
{
    const void *const memory[] = { scene->kv.pages,     scene->args.qkv,    scene->args.positions,
                                   scene->args.out,     scene->tables,      scene->parts.values,
                                   scene->parts.states, scene->args.visits, scene->args.chunks };
    for (const void *each : memory) {
        cudaFree((void *)each);
    }
    free(host->qkv);
    free(host->pages);
    free(host->tables);
    free(host->positions);
}

int main(int argc, char **argv)
{
    struct ladder ladder;
    if (is_help(argc, argv,
                "ladder_attention [--prefill 1] [--rows 64] [--context 512] [--shared 256]\n"
                "                 [--heads 32] [--kv-heads 8] [--calls 20]\n")) {
        return 0;
    }
    if (!ladder_open(&ladder, argc, argv)) {
        return 77;
    }
    struct scene scene = {};
    struct reference host = {};
    bool is_prefill = option_of(argc, argv, "--prefill", 0) != 0;
    uint32_t rows = option_of(argc, argv, "--rows", is_prefill ? 512 : 64);
    uint32_t context = option_of(argc, argv, "--context", 512);
    scene.args.n_heads = option_of(argc, argv, "--heads", 32);
    scene.args.n_kv_heads = option_of(argc, argv, "--kv-heads", 8);
    context = is_prefill && context < rows ? rows : context;
    double bytes = set_up(&ladder, &scene, &host, rows, context,
                          option_of(argc, argv, "--shared", 256), is_prefill);
    double seen = is_prefill ? context - (rows - 1) / 2.0 : context;
    double flops = 4.0 * rows * scene.args.n_heads * HEAD_DIM * seen;
    auto error = [&] { return error_of_rows(&ladder, &scene, &host); };
    rung(
        &ladder, "1 warp a query", bytes, flops, 1e-4,
        [&] {
            return CM_LAUNCH(warp_a_query, dim3(rows, (scene.args.n_heads + WARPS - 1) / WARPS),
                             dim3(32 * WARPS), 0, ladder.stream, scene);
        },
        error);
    rung(
        &ladder, "2 attention.cu", bytes, flops, 1e-4,
        [&] { return cm_cuda_attention(&scene.args, &scene.kv, &scene.parts, ladder.stream); },
        error);
    rung(
        &ladder, "3 attention_mma.cu", bytes, flops, 5e-3,
        [&] { return cm_cuda_attention_mma(&scene.args, &scene.kv, &scene.parts, ladder.stream); },
        error);
    tear_down(&scene, &host);
    return ladder_close(&ladder);
}
