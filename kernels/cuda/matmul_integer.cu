/* y[n_rows, n_out] f32 = x[n_rows, n_in] f32 * W[n_out, n_in]^T + bias[n_out] f32, with W as the
 * integers of the model file: codes of 4 or 8 bits with a scale for every 32 inputs (or two, for
 * halves of 16) and, where the type has one, a minimum:
 *     w = scale * code (+ minimum)
 *     y = bias + sum over groups of (scale * sum of bf16(x) code (+ minimum * sum of bf16(x)))
 *
 * Codes become bfloat16 in registers, which holds them exactly, as the sums over 16 or 32 products
 * of a group in tensor cores (mma m16n8k16, float32) are then scaled in float32: the weights are
 * those of the file, x alone is rounded.
 *
 * Weights lie in panels of 32 outputs, along the inputs in units of 32: codes in the order in which
 * a lane's fragments want them, float32 scales [1 or 2][32], minima [32]; see cm_cuda_integer_place
 * in matmul_pack.c. x is rounded and put in the order of fragments by a kernel of its own:
 * [tile of 16 rows][group][k16 step][lane] of 16 bytes, zeros where there is no row or input.
 *
 * The groups are cut into 4 parts of nearly equal length. A part adds its groups in rising order,
 * and y = part 0 + part 1 + part 2 + part 3 + bias: the same for every number of rows. Which of two
 * arrangements of the block computes that is a matter of speed:
 *   up to 64 rows  the 4 warps of a block take the 4 parts of one panel, for all rows
 *   more rows      each warp takes a panel and 64 rows and goes through the parts
 * Both copy what comes next into shared memory (cp.async, 3 to 6 stages) while they compute.
 *
 * Bytes: weights once for 64 rows (0.62 to 1.25 a weight), x as bfloat16 once for a panel (few
 * rows) or four (many), y once; flops 2 n_rows n_in n_out. Few rows are bound by the weights'
 * bytes.
 * Occupancy of order_rows: 16 on sm_80, 16 on sm_90
 * Occupancy of *: 2 on sm_80, 2 on sm_90 */
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"

enum {
    WARPS = 4,
    THREADS = 32 * WARPS,
    PARTS = 4,
    PANEL = CM_CUDA_PANEL,
    COLUMN_TILES = PANEL / 8,
    ROW_TILE = 16,
    FRAGMENTS_BYTES = 1024, /* of x: 16 rows of a group */
    SCALES_BYTES = PANEL * sizeof(float),
};

/* --- x --- */

static __device__ __forceinline__ uint32_t pack(float low, float high)
{
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<uint32_t *>(&both);
}

static __global__ void __launch_bounds__(THREADS)
    order_rows(const float *x, uint32_t n_rows, uint32_t n_in, uint32_t groups, uint4 *out)
{
    uint32_t at = blockIdx.x * THREADS + threadIdx.x; /* (group, step, lane) */
    if (at >= groups * 64) {
        return;
    }
    uint32_t lane = at % 32;
    uint32_t row = blockIdx.y * ROW_TILE + lane / 4;
    uint32_t k = at / 32 * 16 + lane % 4 * 2;
    uint32_t words[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        float values[2];
#pragma unroll
        for (uint32_t j = 0; j < 2; j++) {
            uint32_t r = row + i % 2 * 8;
            uint32_t c = k + i / 2 * 8 + j;
            values[j] = r < n_rows && c < n_in ? x[(size_t)r * n_in + c] : 0.0f;
        }
        words[i] = pack(values[0], values[1]);
    }
    out[(size_t)blockIdx.y * groups * 64 + at] = make_uint4(words[0], words[1], words[2], words[3]);
}

/* --- Codes to bfloat16, two at a time: the upper and lower half of a word --- */

static __device__ __forceinline__ uint32_t difference(uint32_t a, uint32_t b)
{
    __nv_bfloat162 result =
        __hsub2(*reinterpret_cast<__nv_bfloat162 *>(&a), *reinterpret_cast<__nv_bfloat162 *>(&b));
    return *reinterpret_cast<uint32_t *>(&result);
}

enum : uint32_t {
    EIGHTS = 0x43004300
}; /* 128 twice: the next integers up to 255 differ in the
      lowest bits */

/* (128 + code) - (128 + zero) */
static __device__ __forceinline__ uint32_t of_nibbles(uint32_t word, uint32_t zeros)
{
    return difference((word & 0x000f000f) | EIGHTS, zeros);
}

/* A signed byte is its low 7 bits less 128 where the eighth is set: (128 + low) - (128 or 256). */
static __device__ __forceinline__ uint32_t of_bytes(uint32_t word)
{
    return difference((word & 0x007f007f) | EIGHTS, (word & 0x00800080) | EIGHTS);
}

/* Fragments of 8 columns: [k16 step][register]. */
template <int BITS>
static __device__ __forceinline__ void fragments_of(const uint32_t (&words)[BITS], int column_tile,
                                                    uint32_t zeros, uint32_t (&b)[2][2])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if constexpr (BITS == 4) {
            b[i / 2][i % 2] = of_nibbles(words[column_tile] >> 4 * i, zeros);
        } else {
            b[i / 2][i % 2] = of_bytes(words[2 * column_tile + i / 2] >> 8 * (i % 2));
        }
    }
}

/* --- The block --- */

template <int BITS, int SCALES> struct unit {
    uint32_t codes[BITS / 4][32][4]; /* 16 bytes a lane */
    float scales[SCALES][PANEL];
    float minima[PANEL]; /* in memory only where the type has them */
};

/* One stage of shared memory. WIDE: the warps share x. */
template <int BITS, int SCALES, int TILES, bool WIDE> struct stage {
    uint4 x[WIDE ? 1 : WARPS][TILES][2][32];
    struct unit<BITS, SCALES> units[WARPS];
};

template <int BITS, int SCALES, int TILES, bool WIDE> struct ring {
    static constexpr int stages = WIDE ? 4 : TILES == 1 ? 6 : TILES == 2 ? 4 : 3;
    using slot = struct stage<BITS, SCALES, TILES, WIDE>;
    slot slots[stages];
};

/* What a block works on. */
struct place {
    uint32_t groups;
    uint32_t part;       /* groups of a part */
    uint32_t panel;      /* of this warp */
    uint32_t first_tile; /* of 16 rows */
    uint32_t tiles;      /* in all */
};

/* The group that a warp works on in a step; `groups` or more: none. */
template <bool WIDE>
static __device__ __forceinline__ uint32_t group_of(const struct place &place, uint32_t step)
{
    if (WIDE) {
        return step;
    }
    return step < place.part ? threadIdx.x / 32 * place.part + step : place.groups;
}

/* Starts the copies of a step. */
template <int BITS, int SCALES, int TILES, bool WIDE>
static __device__ __forceinline__ void
start_stage(const struct cm_cuda_integers &matrix, const uint4 *x, const struct place &place,
            uint32_t step, struct stage<BITS, SCALES, TILES, WIDE> *slot)
{
    uint32_t warp = threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    uint32_t group = group_of<WIDE>(place, step);
    if (group >= place.groups) {
        return;
    }
    const uint32_t first = WIDE ? threadIdx.x : lane;
    const uint32_t stride = WIDE ? THREADS : 32;
    uint4 *to = &slot->x[WIDE ? 0 : warp][0][0][0];
    for (uint32_t i = first; i < TILES * 64; i += stride) {
        uint32_t tile = place.first_tile + i / 64;
        bool there = tile < place.tiles;
        const uint4 *from = x + ((size_t)(there ? tile : 0) * place.groups + group) * 64 + i % 64;
        cm_cp_async_16(to + i, from, there);
    }
    if (place.panel * PANEL >= matrix.n_out) {
        return;
    }
    const uint8_t *unit =
        matrix.units + ((size_t)place.panel * place.groups + group) * matrix.unit_bytes;
    uint8_t *unit_to = reinterpret_cast<uint8_t *>(&slot->units[warp]);
    for (uint32_t i = lane; i < matrix.unit_bytes / 16; i += 32) {
        cm_cp_async_16(unit_to + 16 * i, unit + 16 * i, true);
    }
}

/* sums += what one group adds. */
template <int BITS, int SCALES, int TILES>
static __device__ __forceinline__ void
add_group(const struct cm_cuda_integers &matrix, const uint4 (*x)[2][32],
          const struct unit<BITS, SCALES> &unit, float (&sums)[TILES][COLUMN_TILES][4])
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t zeros = EIGHTS + matrix.zero * 0x00010001;
    uint32_t a[TILES][2][4];
    float of_x[TILES][4] = { { 0 } }; /* sums of a row's x: the same in all columns */
#pragma unroll
    for (int m = 0; m < TILES; m++) {
#pragma unroll
        for (int s = 0; s < 2; s++) {
            uint4 words = x[m][s][lane];
            a[m][s][0] = words.x;
            a[m][s][1] = words.y;
            a[m][s][2] = words.z;
            a[m][s][3] = words.w;
            if (matrix.has_minima) {
                const uint32_t ones[2] = { 0x3f803f80, 0x3f803f80 };
                cm_mma_m16n8k16_bf16(of_x[m], a[m][s], ones);
            }
        }
    }
    uint32_t words[BITS];
#pragma unroll
    for (int i = 0; i < BITS / 4; i++) {
        uint4 four = *reinterpret_cast<const uint4 *>(unit.codes[i][lane]);
        words[4 * i] = four.x;
        words[4 * i + 1] = four.y;
        words[4 * i + 2] = four.z;
        words[4 * i + 3] = four.w;
    }
#pragma unroll
    for (int n = 0; n < COLUMN_TILES; n++) {
        uint32_t column = n * 8 + lane % 4 * 2;
        uint32_t b[2][2];
        fragments_of<BITS>(words, n, zeros, b);
        float minima[2] = { 0.0f, 0.0f };
        if (matrix.has_minima) {
            minima[0] = unit.minima[column];
            minima[1] = unit.minima[column + 1];
        }
#pragma unroll
        for (int m = 0; m < TILES; m++) {
#pragma unroll
            for (int half = 0; half < SCALES; half++) {
                float products[4] = { 0 };
                cm_mma_m16n8k16_bf16(products, a[m][half], b[half]);
                if (SCALES == 1) {
                    cm_mma_m16n8k16_bf16(products, a[m][1], b[1]);
                }
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    sums[m][n][i] =
                        fmaf(products[i], unit.scales[half][column + i % 2], sums[m][n][i]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4 && matrix.has_minima; i++) {
                sums[m][n][i] = fmaf(of_x[m][i], minima[i % 2], sums[m][n][i]);
            }
        }
    }
}

/* totals += sums, which begin anew. */
template <int TILES>
static __device__ __forceinline__ void end_part(float (&totals)[TILES][COLUMN_TILES][4],
                                                float (&sums)[TILES][COLUMN_TILES][4])
{
#pragma unroll
    for (int i = 0; i < TILES * COLUMN_TILES * 4; i++) {
        float *sum = &sums[i / 4 / COLUMN_TILES][i / 4 % COLUMN_TILES][i % 4];
        totals[i / 4 / COLUMN_TILES][i / 4 % COLUMN_TILES][i % 4] += *sum;
        *sum = 0.0f;
    }
}

static __device__ __forceinline__ void store(const struct cm_cuda_integers &matrix, uint32_t row,
                                             uint32_t n_rows, uint32_t column, float total,
                                             float *y)
{
    if (row < n_rows && column < matrix.n_out) {
        float bias = matrix.bias != NULL ? matrix.bias[column] : 0.0f;
        y[(size_t)row * matrix.n_out + column] = total + bias;
    }
}

/* Row and column, in the tile, of element i of a lane's accumulators. */
static __device__ __forceinline__ uint32_t row_of(int m, int i)
{
    return m * ROW_TILE + threadIdx.x % 32 / 4 + i / 2 * 8;
}

static __device__ __forceinline__ uint32_t column_of(int n, int i)
{
    return n * 8 + threadIdx.x % 4 * 2 + i % 2;
}

/* Adds the four warps' parts in order. `parts` is the ring, which nobody reads any more. */
template <int TILES>
static __device__ __forceinline__ void
store_parts(const struct cm_cuda_integers &matrix, const struct place &place, uint32_t n_rows,
            const float (&sums)[TILES][COLUMN_TILES][4],
            float (*parts)[TILES * ROW_TILE][PANEL + 1], float *y)
{
    __syncthreads();
#pragma unroll
    for (int i = 0; i < TILES * COLUMN_TILES * 4; i++) {
        int m = i / 4 / COLUMN_TILES;
        int n = i / 4 % COLUMN_TILES;
        parts[threadIdx.x / 32][row_of(m, i % 4)][column_of(n, i % 4)] = sums[m][n][i % 4];
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < TILES * ROW_TILE * PANEL; i += THREADS) {
        uint32_t row = i / PANEL;
        uint32_t column = i % PANEL;
        float total = 0.0f;
        for (int part = 0; part < PARTS; part++) {
            total += parts[part][row][column];
        }
        store(matrix, place.first_tile * ROW_TILE + row, n_rows, place.panel * PANEL + column,
              total, y);
    }
}

template <int TILES>
static __device__ __forceinline__ void
store_totals(const struct cm_cuda_integers &matrix, const struct place &place, uint32_t n_rows,
             const float (&totals)[TILES][COLUMN_TILES][4], float *y)
{
#pragma unroll
    for (int i = 0; i < TILES * COLUMN_TILES * 4; i++) {
        int m = i / 4 / COLUMN_TILES;
        int n = i / 4 % COLUMN_TILES;
        store(matrix, place.first_tile * ROW_TILE + row_of(m, i % 4), n_rows,
              place.panel * PANEL + column_of(n, i % 4), totals[m][n][i % 4], y);
    }
}

template <int BITS, int SCALES, int TILES, bool WIDE>
static __global__ void __launch_bounds__(THREADS, 2)
    multiply(struct cm_cuda_integers matrix, const uint4 *x, uint32_t n_rows, float *y)
{
    using shared_ring = struct ring<BITS, SCALES, TILES, WIDE>;
    constexpr int STAGES = shared_ring::stages;
    static_assert(sizeof(shared_ring) >= PARTS * TILES * ROW_TILE * (PANEL + 1) * sizeof(float) ||
                      WIDE,
                  "the parts meet in it");
    CM_DYNAMIC_SHARED(shared_ring, shared);
    uint32_t warp = threadIdx.x / 32;
    struct place place;
    place.groups = matrix.units_count;
    place.part = (place.groups + PARTS - 1) / PARTS;
    place.panel = WIDE ? blockIdx.x * WARPS + warp : blockIdx.x;
    place.first_tile = blockIdx.y * TILES;
    place.tiles = (n_rows + ROW_TILE - 1) / ROW_TILE;
    uint32_t steps = WIDE ? place.groups : place.part;
    float sums[TILES][COLUMN_TILES][4] = { { { 0 } } };
    float totals[TILES][COLUMN_TILES][4] = { { { 0 } } };
    for (uint32_t step = 0; step < STAGES - 1; step++) {
        if (step < steps) {
            start_stage(matrix, x, place, step, &shared->slots[step]);
        }
        cm_cp_async_commit();
    }
    for (uint32_t step = 0; step < steps; step++) {
        cm_cp_async_wait<STAGES - 2>();
        __syncthreads(); /* the step has come, and the one before is done with */
        if (step + STAGES - 1 < steps) {
            start_stage(matrix, x, place, step + STAGES - 1,
                        &shared->slots[(step + STAGES - 1) % STAGES]);
        }
        cm_cp_async_commit();
        const typename shared_ring::slot &slot = shared->slots[step % STAGES];
        bool works = place.panel * PANEL < matrix.n_out;
        if (works && group_of<WIDE>(place, step) < place.groups) {
            add_group<BITS, SCALES, TILES>(matrix, slot.x[WIDE ? 0 : warp], slot.units[warp], sums);
        }
        if constexpr (WIDE) {
            if ((step + 1) % place.part == 0 || step + 1 == steps) {
                end_part<TILES>(totals, sums);
            }
        }
    }
    if constexpr (WIDE) {
        store_totals<TILES>(matrix, place, n_rows, totals, y);
    } else {
        store_parts<TILES>(matrix, place, n_rows, sums,
                           reinterpret_cast<float(*)[TILES * ROW_TILE][PANEL + 1]>(shared), y);
    }
}

/* --- Launch --- */

template <int BITS, int SCALES, int TILES, bool WIDE>
static cudaError_t launch_as(const struct cm_cuda_integers &matrix, const uint4 *x, uint32_t n_rows,
                             float *y, cudaStream_t stream)
{
    constexpr size_t bytes = sizeof(struct ring<BITS, SCALES, TILES, WIDE>);
    const uint32_t panels = (matrix.n_out + PANEL - 1) / PANEL;
    const uint32_t rows = TILES * ROW_TILE;
    dim3 grid(WIDE ? (panels + WARPS - 1) / WARPS : panels, (n_rows + rows - 1) / rows);
    cudaError_t result =
        cudaFuncSetAttribute((const void *)multiply<BITS, SCALES, TILES, WIDE>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (result != cudaSuccess) {
        return result;
    }
    return CM_LAUNCH((multiply<BITS, SCALES, TILES, WIDE>), grid, dim3(THREADS), bytes, stream,
                     matrix, x, n_rows, y);
}

template <int BITS, int SCALES>
static cudaError_t launch(const struct cm_cuda_integers &matrix, const uint4 *x, uint32_t n_rows,
                          float *y, cudaStream_t stream)
{
    if (n_rows <= 16) {
        return launch_as<BITS, SCALES, 1, false>(matrix, x, n_rows, y, stream);
    }
    if (n_rows <= 32) {
        return launch_as<BITS, SCALES, 2, false>(matrix, x, n_rows, y, stream);
    }
    return n_rows <= 64 ? launch_as<BITS, SCALES, 4, false>(matrix, x, n_rows, y, stream)
                        : launch_as<BITS, SCALES, 4, true>(matrix, x, n_rows, y, stream);
}

extern "C" cudaError_t cm_cuda_integer_matmul(const struct cm_cuda_integers *matrix, const float *x,
                                              uint32_t n_rows, uint32_t n_in, void *fragments,
                                              float *y, cudaStream_t stream)
{
    uint32_t groups = matrix->units_count;
    dim3 grid((groups * 64 + THREADS - 1) / THREADS, (n_rows + ROW_TILE - 1) / ROW_TILE);
    uint4 *ordered = (uint4 *)fragments;
    cudaError_t result =
        CM_LAUNCH(order_rows, grid, dim3(THREADS), 0, stream, x, n_rows, n_in, groups, ordered);
    if (result != cudaSuccess) {
        return result;
    }
    if (matrix->bits == 4) {
        return launch<4, 1>(*matrix, ordered, n_rows, y, stream);
    }
    return matrix->scales == 1 ? launch<8, 1>(*matrix, ordered, n_rows, y, stream)
                               : launch<8, 2>(*matrix, ordered, n_rows, y, stream);
}
