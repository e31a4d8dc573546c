#include "kernels/roofline.h"

#include "kernels/integer_format.h"

#include <ctype.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

/* --- Devices ---
 *
 * NVIDIA's data sheets of the SXM modules; boost clocks. On Hopper mma.sync reaches some 62 % of
 * what wgmma does (FlashAttention-2 and -3 differ by that much), on Ampere nearly all. */
static const struct cm_roofline_device devices[] = {
    { "h100", "NVIDIA H100 SXM5, 80 GB HBM3", 3350, 66900, 989400, 1978900, 132, 1.83, 0.92, 0.62,
      0.75, 0.8, 1.5 },
    { "h200", "NVIDIA H200 SXM, 141 GB HBM3e", 4800, 66900, 989400, 1978900, 132, 1.83, 0.92, 0.62,
      0.75, 0.8, 1.5 },
    { "a100", "NVIDIA A100 SXM4, 80 GB HBM2e", 2039, 19500, 312000, 0, 108, 1.41, 0.90, 0.90, 0.85,
      0.7, 1.5 },
};

enum { SM_BYTES_PER_CLOCK = 64 }; /* between a multiprocessor and the second-level cache */

const struct cm_roofline_device *cm_roofline_device(const char *name)
{
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        if (strcmp(devices[i].name, name) == 0) {
            return &devices[i];
        }
    }
    return NULL;
}

/* A name with "H100" in it is one. */
static const struct cm_roofline_device *sheet_of(const char *title)
{
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        char name[8] = { 0 };
        for (size_t j = 0; devices[i].name[j] != '\0'; j++) {
            name[j] = (char)toupper((unsigned char)devices[i].name[j]);
        }
        if (strstr(title, name) != NULL) {
            return &devices[i];
        }
    }
    return &devices[0];
}

struct cm_roofline_device cm_roofline_measured(const struct cm_machine_limits *limits)
{
    struct cm_roofline_device device = *sheet_of(limits->device_name);
    device.title = limits->device_name;
    device.sm_count = limits->sm_count > 0 ? limits->sm_count : device.sm_count;
    if (limits->bandwidth_gbs > 0) {
        device.bandwidth_gbs = limits->bandwidth_gbs;
        device.copy_share = 1;
    }
    if (limits->bf16_gflops > 0) {
        device.tensor_gflops = limits->bf16_gflops;
        device.mma_share = fmin(1, device.mma_share / device.blas_share);
        device.blas_share = 1;
    }
    device.fp32_gflops = limits->fp32_gflops > 0 ? limits->fp32_gflops : device.fp32_gflops;
    device.fp8_gflops = limits->fp8_gflops > 0 ? limits->fp8_gflops : device.fp8_gflops;
    return device;
}

/* --- Row ops: a pass over memory with a thread an element; the compiler unrolls four loads --- */

enum { LOADS_IN_FLIGHT = 4, SM_THREADS = 2048 };

static struct cm_work row_work(double bytes, double flops, double blocks, uint32_t threads)
{
    return (struct cm_work){
        .bytes = bytes,
        .flops = flops,
        .unit = CM_UNIT_FP32,
        .kernel_bytes = bytes,
        .sm_bytes = bytes,
        .kernel_flops = flops,
        .blocks = blocks,
        .flight_bytes = LOADS_IN_FLIGHT * 4.0 * threads,
        .sm_blocks = SM_THREADS / threads,
        .launches = 1,
    };
}

/* embed.cu: a block of 256 threads a row; the table's element in, float32 out. */
struct cm_work cm_work_embed(uint32_t n_rows, uint32_t dim, uint32_t element_bytes)
{
    double elements = (double)n_rows * dim;
    return row_work(elements * (element_bytes + 4), elements, n_rows, 256);
}

/* norm.cu: a block a row. x in and out out; with a residual that comes in too and x goes out. */
struct cm_work cm_work_norm(uint32_t n_rows, uint32_t dim, bool with_residual)
{
    uint32_t threads = dim <= 256 ? 64 : dim <= 1024 ? 256 : 512;
    double elements = (double)n_rows * dim;
    return row_work(elements * (with_residual ? 16 : 8), elements * 5, n_rows, threads);
}

/* norm.cu: two in, one out; 256 elements a block. */
struct cm_work cm_work_add(uint32_t n_rows, uint32_t dim)
{
    double elements = (double)n_rows * dim;
    return row_work(elements * 12, elements, ceil(elements / 256), 256);
}

/* activation.cu: one or two in, one out, some 20 flops; 256 elements a block. */
struct cm_work cm_work_activation(uint32_t n_rows, uint32_t dim, bool gated)
{
    double elements = (double)n_rows * dim;
    return row_work(elements * (gated ? 12 : 8), elements * 20, ceil(elements / 256), 256);
}

/* rope.cu: a block of 256 threads a row. q in and out, k and v in as float32 and out as the cache
 * has them; six flops an element of q and k. */
struct cm_work cm_work_rope(uint32_t n_rows, uint32_t n_heads, uint32_t n_kv_heads,
                            uint32_t head_dim, uint32_t kv_bytes)
{
    double q = (double)n_heads * head_dim;
    double kv = 2.0 * n_kv_heads * head_dim;
    return row_work(n_rows * (q * 8 + kv * (4 + kv_bytes)), n_rows * 6 * (q + kv / 2), n_rows, 256);
}

/* --- Products --- */

/* The library's tile is taken to be the largest of 128 x 128, 64 x 128 and 64 x 64 that gives every
 * multiprocessor a block, or else the smallest. */
static void choose_tile(const struct cm_work_matmul *shape, double *tile_rows, double *tile_outs)
{
    static const double sizes[][2] = { { 128, 128 }, { 64, 128 }, { 64, 64 } };
    for (int i = 0; i < 3; i++) {
        *tile_rows = sizes[i][0];
        *tile_outs = sizes[i][1];
        if (ceil(shape->n_rows / *tile_rows) * ceil(shape->n_out / *tile_outs) >= shape->sm_count) {
            return;
        }
    }
}

static double product_flops(const struct cm_work_matmul *shape)
{
    return 2.0 * shape->n_rows * shape->n_in * shape->n_out;
}

/* matmul.c: weights, x and y once, in tiles that are four stages of 128 bytes of inputs deep. The
 * algorithm does not split the inputs, so a matrix with few outputs has few blocks. narrow.cu
 * rounds x first: 4 bytes in, 2 out, of e4m3 1; and for e4m3 scales y afterwards: 4 in, 4 out. */
static struct cm_work library_matmul(const struct cm_work_matmul *shape)
{
    enum { STAGES = 4, DEPTH_BYTES = 128 };
    bool exact = shape->precision == CM_PRECISION_EXACT;
    bool fp8 = shape->precision == CM_PRECISION_FP8;
    double element_bytes = exact ? 4 : fp8 ? 1 : 2;
    double n_in = shape->n_in;
    double x = shape->n_rows * n_in;
    double y_bytes = (double)shape->n_rows * shape->n_out * 4;
    double tile_rows = 0;
    double tile_outs = 0;
    choose_tile(shape, &tile_rows, &tile_outs);
    double tiles = ceil(shape->n_rows / tile_rows) * ceil(shape->n_out / tile_outs);
    struct cm_work work = {
        .bytes = shape->weights_bytes + x * 4 + y_bytes,
        .flops = product_flops(shape),
        .unit = exact ? CM_UNIT_FP32
                : fp8 ? CM_UNIT_BLAS_FP8
                      : CM_UNIT_BLAS,
        .sm_bytes = tiles * (tile_rows + tile_outs) * n_in * element_bytes + y_bytes,
        .kernel_flops = 2 * tiles * tile_rows * tile_outs * n_in,
        .blocks = tiles,
        .flight_bytes = STAGES * DEPTH_BYTES * (tile_rows + tile_outs),
        .sm_blocks = 1,
        .launches = exact ? 1
                    : fp8 ? 3
                          : 2,
    };
    work.kernel_bytes = work.bytes + (exact ? 0 : x * 2 * element_bytes) + (fp8 ? 2 * y_bytes : 0);
    return work;
}

/* matmul_integer.cu: x becomes bfloat16 fragments first, 4 bytes in, 2 out. Then up to 64 rows a
 * block takes a panel of 32 outputs for all rows, which are filled up to 16, 32 or 64, and beyond
 * them four panels for 64; a ring of 3 to 6 stages of a group of 32 inputs in four warps. What
 * minima cost is left out. */
static struct cm_work integer_matmul(const struct cm_work_matmul *shape)
{
    enum { PANEL = CM_INTEGER_PANEL, WARPS = 4, FRAGMENTS_BYTES = 1024 };
    bool wide = shape->n_rows > 64;
    double tiles = shape->n_rows <= 16 ? 1 : shape->n_rows <= 32 ? 2 : 4; /* of 16 rows */
    double row_blocks = ceil(shape->n_rows / (tiles * 16));
    double panels = ceil(shape->n_out / (double)PANEL);
    double groups = ceil(shape->n_in / (double)CM_QUANT_GROUP);
    double unit_bytes = shape->weights_bytes / (panels * groups);
    double x = (double)shape->n_rows * shape->n_in;
    double y_bytes = (double)shape->n_rows * shape->n_out * 4;
    double stages = wide ? 4 : tiles == 1 ? 6 : tiles == 2 ? 4 : 3;
    double blocks = row_blocks * (wide ? ceil(panels / WARPS) : panels);
    double fragments_bytes = row_blocks * tiles * groups * FRAGMENTS_BYTES;
    return (struct cm_work){
        .bytes = shape->weights_bytes + x * 4 + y_bytes,
        .flops = product_flops(shape),
        .unit = CM_UNIT_MMA,
        .kernel_bytes = shape->weights_bytes + x * 4 + 2 * fragments_bytes + y_bytes,
        .sm_bytes = row_blocks * shape->weights_bytes +
                    (wide ? ceil(panels / WARPS) : panels) * fragments_bytes + y_bytes,
        .kernel_flops = 2 * row_blocks * tiles * 16 * panels * PANEL * groups * CM_QUANT_GROUP,
        .blocks = blocks,
        .flight_bytes =
            (stages - 1) * ((wide ? 1 : WARPS) * tiles * FRAGMENTS_BYTES + WARPS * unit_bytes),
        .sm_blocks = 2,
        .launches = 2,
    };
}

static bool has_integers(enum cm_precision precision)
{
    return precision == CM_PRECISION_INT8 || precision == CM_PRECISION_INT4;
}

double cm_work_weights_bytes(enum cm_precision precision, const enum cm_dtype *dtypes,
                             size_t dtypes_count, uint32_t n_in, uint32_t n_out)
{
    double count = (double)n_in * n_out;
    if (has_integers(precision)) {
        struct cm_integer_format format = cm_integer_format(precision, dtypes[0]);
        for (size_t i = 1; i < dtypes_count; i++) {
            cm_integer_format_add(&format, dtypes[i]);
        }
        return ceil(n_out / (double)CM_INTEGER_PANEL) * ceil(n_in / (double)CM_QUANT_GROUP) *
               cm_integer_unit_bytes(&format);
    }
    return precision == CM_PRECISION_EXACT ? 4 * count
           : precision == CM_PRECISION_FP8 ? count + 4.0 * n_out
                                           : 2 * count;
}

struct cm_work cm_work_matmul(const struct cm_work_matmul *shape)
{
    return has_integers(shape->precision) ? integer_matmul(shape) : library_matmul(shape);
}

/* --- Attention --- */

/* attention_mma.cu: where a prompt's rows see the same pages, a block takes 64 queries (rows x
 * heads of the group) of a chunk of 32 rows, a warp 16 of them, and pages come through two stages
 * of four; elsewhere a block is a warp, with 16 queries or those of a row that shares nothing, and
 * pages come one at a time; a page that a row sees alone is still computed for a tile of 16. Pages
 * come from device memory once and go to every block that sees them. attention.cu, exact: 8 queries
 * a block, one page at a time, float32. Where the blocks are few, each 256 positions have blocks of
 * their own, whose outputs are merged: attention_split.h. */
struct cm_work cm_work_attention(const struct cm_work_attention *shape)
{
    enum { PAGE_TOKENS = 16, CHUNK_ROWS = 32, SPLIT_TOKENS = 256 };
    bool exact = shape->precision == CM_PRECISION_EXACT;
    bool fp8 = shape->precision == CM_PRECISION_FP8;
    double tile = exact ? 1 : 16; /* queries computed together */
    double head_bytes = fp8 ? shape->head_dim + 1.0 : shape->head_dim * (exact ? 4.0 : 2.0);
    double group = (double)shape->n_heads / shape->n_kv_heads;
    double context = shape->shared_tokens + shape->private_tokens;
    double position_bytes = 2 * head_bytes; /* keys and values of one KV head */
    double rows_bytes = 2.0 * shape->n_rows * shape->n_heads * shape->head_dim * 4; /* q and out */
    double chunks = ceil((double)shape->n_rows / CHUNK_ROWS);
    double rows = shape->n_rows < CHUNK_ROWS ? shape->n_rows : CHUNK_ROWS;
    double wide_blocks = shape->n_rows * group / 64 * shape->n_kv_heads;
    bool wide = wide_blocks >= shape->sm_count && shape->private_tokens == 0;
    double queries = exact ? 8 : wide ? 64 : shape->shared_tokens > 0 ? 16 : group; /* of a block */
    double tiles_of_chunk = ceil(rows * group / queries);
    double visits_of_tiles = ceil(shape->n_rows * group / tile) * shape->shared_tokens +
                             shape->n_rows * ceil(group / tile) * shape->private_tokens;
    double visits_of_blocks =
        chunks * tiles_of_chunk * shape->shared_tokens + shape->n_rows * shape->private_tokens;
    double stage_pages = exact ? 1 : shape->head_dim > 128 || !wide ? 2 : 8;
    struct cm_work work = {
        .bytes = rows_bytes + shape->cached_tokens * shape->n_kv_heads * position_bytes,
        .flops = 4.0 * shape->n_rows * shape->n_heads * shape->head_dim * context,
        .unit = exact ? CM_UNIT_FP32 : CM_UNIT_MMA,
        .kernel_flops = 4.0 * shape->head_dim * tile * shape->n_kv_heads * visits_of_tiles,
        .blocks = chunks * shape->n_kv_heads * tiles_of_chunk,
        .flight_bytes = stage_pages * PAGE_TOKENS * position_bytes,
        .sm_blocks = wide    ? 2
                     : exact ? 3
                             : 8,
        .launches = 1,
    };
    double enough = exact ? 2 : wide ? 1 : 8;
    double splits = ceil(context / SPLIT_TOKENS);
    double parts_bytes = 0;
    if (splits > 1 && work.blocks < enough * shape->sm_count) {
        work.blocks *= splits;
        work.launches = 2;
        parts_bytes = 2 * splits * rows_bytes / 2; /* each part's output out and in again */
    }
    work.kernel_bytes = work.bytes + parts_bytes;
    work.sm_bytes =
        rows_bytes + parts_bytes + visits_of_blocks * shape->n_kv_heads * position_bytes;
    return work;
}

/* --- Sampling --- */

/* sample.cu: a block of 1024 threads a row, each with four loads of 16 bytes on their way. A pass
 * for the best and one for the sum of all exponentials; top-k takes one more, top-p without it one
 * that weighs all, and one each for its place and the draw's. Only the first comes from device
 * memory. Flops are what the instructions take the time of. */
struct cm_work cm_work_sample(uint32_t n_rows, uint32_t n_vocab, enum cm_work_sampling sampling)
{
    static const double passes[] = {
        [CM_WORK_GREEDY] = 2, [CM_WORK_TOP_K] = 3, [CM_WORK_TOP_P] = 5
    };
    const double pass_flops = 8;
    const double sum_flops = 30;
    const double weigh_flops = 70;
    double logits = (double)n_rows * n_vocab;
    struct cm_work work = row_work(4 * logits, 3 * logits, n_rows, 1024);
    work.sm_bytes = passes[sampling] * work.bytes;
    work.kernel_flops = logits * (passes[sampling] * pass_flops + sum_flops +
                                  (sampling == CM_WORK_TOP_P ? weigh_flops : 0));
    work.flight_bytes = 4 * 16 * 1024;
    work.sm_blocks = 1; /* registers */
    return work;
}

/* --- Time --- */

static double peak_gflops(const struct cm_roofline_device *device, enum cm_roofline_unit unit)
{
    return unit == CM_UNIT_FP32       ? device->fp32_gflops
           : unit == CM_UNIT_BLAS_FP8 ? device->fp8_gflops
                                      : device->tensor_gflops;
}

static double reached_share(const struct cm_roofline_device *device, enum cm_roofline_unit unit)
{
    return unit == CM_UNIT_FP32  ? 0.7 /* loads and addresses take their share */
           : unit == CM_UNIT_MMA ? device->mma_share
                                 : device->blas_share;
}

/* roofline  max(bytes / bandwidth, flops / peak)
 * designed  launches + the longest of
 *     kernel bytes / (bandwidth x share of a copy x share of the loads in flight that cover the
 *                     latency)
 *     bytes of the multiprocessors / (64 a clock each) x imbalance
 *     kernel flops / (peak x share reached) x imbalance
 * where imbalance is how much more than the mean the fullest multiprocessor has to do. */
struct cm_roofline_time cm_roofline_time(const struct cm_roofline_device *device,
                                         const struct cm_work *work)
{
    double bandwidth = device->bandwidth_gbs * 1e9;
    double peak = peak_gflops(device, work->unit) * 1e9;
    double fullest = ceil(work->blocks / device->sm_count);
    double imbalance = fullest * device->sm_count / work->blocks;
    double resident = fmin(work->blocks, (double)device->sm_count * work->sm_blocks);
    double needed_bytes = bandwidth * device->latency_us * 1e-6;
    double covered = fmin(1.0, resident * work->flight_bytes / needed_bytes);
    double sm_bandwidth = device->sm_count * SM_BYTES_PER_CLOCK * device->clock_ghz * 1e9;

    double memory_s = work->kernel_bytes / (bandwidth * device->copy_share * covered);
    double sm_s = work->sm_bytes / sm_bandwidth * imbalance;
    double flops_s = work->kernel_flops / (peak * reached_share(device, work->unit)) * imbalance;
    double launch_s = work->launches * device->launch_us * 1e-6;
    double longest_s = fmax(memory_s, fmax(sm_s, flops_s));

    struct cm_roofline_time time = {
        .roofline_s = fmax(work->bytes / bandwidth, work->flops / peak),
        .designed_s = launch_s + longest_s,
        .covered = covered,
        .imbalance = imbalance,
    };
    time.bound = launch_s > longest_s   ? "launches"
                 : longest_s == flops_s ? "arithmetic"
                 : longest_s == sm_s    ? "multiprocessors"
                 : covered < 1          ? "loads in flight"
                                        : "memory";
    return time;
}
