/* What the matmul driver (matmul.c), the packing of weights (matmul_pack.c) and the kernels of each
 * instruction set (matmul_<set>.c) agree on: layouts in memory and the table of kernels.
 *
 * Weights lie in panels of 32 output columns, the last one padded with zeros; rows of x are packed
 * in tiles of T = 1..tile_rows_max. A kernel multiplies one panel with one tile. Both run along K
 * in units, so that a kernel reads each as one stream:
 *
 *   format     inputs of a unit   unit of a panel                       unit of a tile
 *   F32        1                  float w[32]                           float x[T]
 *   BF16       2                  bf16 w[32][2]                         bf16 x[T][2], native dots;
 *                                                                       float x[2][T], else
 *   INT8       32                 struct cm_int8_unit                   struct cm_int8_row_unit
 *   INT8_MIN   32                 struct cm_int8_unit, float minima[32] the same
 *   INT4       32                 struct cm_int4_unit                   the same
 *   INT4_MIN   32                 struct cm_int4_unit, float minima[32] the same
 *   ..._OFFSET 32                 as above, and float totals[32]        the same, and offsets
 *   ROTATED_n  n = 64, 128        as INT8, with n inputs                the same without sums
 *
 * Accumulation, the same for every T, so that a row's result does not depend on the tile it fell
 * into:
 *   F32, BF16: float32 sums over CM_CHUNK_INPUTS inputs, k rising, added in order to the bias. The
 *     error then grows with the number of chunks rather than of products. AVX2 and AVX-512 fuse
 *     multiply and add and agree bit for bit in F32; the portable kernels round the product. Native
 *     BF16 dots add the odd and then the even product of a pair, as vdpbf16ps does.
 *   INT8, INT4: with weights scale_w * q (+ minimum) and activations scale_x * p (+ offset) in a
 *     unit, and total the sum of a column's weights in it,
 *     y = bias + sum over units of scale_w * scale_x * (sum of q * p)
 *                                 (+ minimum * (scale_x * sum of p)) (+ total * offset),
 *     integer sums exact and thus the same in all variants, units in rising order.
 *   ROTATED: y = bias + sum over units of scale_w * scale_x * (sum of q * p), in the same way.
 *
 * All memory is aligned to 64 bytes at the start of a panel; tiles to 4 bytes.
 */
#ifndef CM_KERNELS_CPU_MATMUL_KERNELS_H
#define CM_KERNELS_CPU_MATMUL_KERNELS_H

#include "kernels/cpu/cpu_backend.h"

#include <stddef.h>

enum {
    CM_PANEL = 32,
    CM_CHUNK_INPUTS = 128,
    CM_TILE_ROWS_MAX = 12,
    CM_MANY_ROWS_MIN = 5,
};

/* Weights are stored unsigned, which is what vpdpbusd multiplies with signed activations: byte
 * q + 128. The accumulators start at -128 * (sum of p), which takes the 128 back out. */
enum { CM_INT8_ZERO = 128, CM_INT8_GROUP = 32, CM_INT8_QUADS = CM_INT8_GROUP / 4 };

struct cm_int8_unit {
    uint8_t codes[CM_INT8_QUADS][CM_PANEL][4]; /* column c, input 4 * quad + i */
    float scales[CM_PANEL];
};

/* Types of four bits keep them: half the memory, and a panel stays in the first cache. A byte holds
 * an input of quad j in its low bits and that of quad j + 4 in its high ones, unsigned. INT4 stores
 * q + 8; INT4_MIN stores q itself, since its types are unsigned. */
enum { CM_INT4_ZERO = 8, CM_INT4_PAIRS = CM_INT8_QUADS / 2 };

struct cm_int4_unit {
    uint8_t codes[CM_INT4_PAIRS][CM_PANEL][4];
    float scales[CM_PANEL];
};

/* A unit of a tile of T rows: these arrays with [T] in place of [1], one after the other. */
struct cm_int8_row_unit {
    int8_t codes[CM_INT8_QUADS][1][4];
    int32_t starts[1]; /* -128 * sum of the codes; INT4 wants a sixteenth of it */
    float scales[1];
    float sums[1];    /* scale * sum of the codes */
    float offsets[1]; /* in the formats with offsets only */
};

enum {
    CM_INT8_ROW_UNIT_BYTES = offsetof(struct cm_int8_row_unit, offsets),
    CM_INT8_OFFSET_ROW_UNIT_BYTES = sizeof(struct cm_int8_row_unit),
};

/* Rotated formats, for AVX-512: in place of a unit's inputs x and weights w of a column they
 * multiply H x and H w / n, where H is the Hadamard matrix of n = 64 or 128 (1 and -1, with H H =
 * n): the same product, but no channel is an outlier any more, since each is spread evenly over its
 * unit. Eight bits then serve n inputs better than they serve 32 as they are (profiling/README.md,
 * "Accuracy"), minima and offsets vanish, and a scale for n inputs leaves nearly all of a matmul's
 * operations to its dots. After QuaRot (Ashkboos et al. 2024), by units and within a matmul, so
 * that the model around it knows nothing of it. */
enum { CM_ROTATED_MAX = 128, CM_ROTATED_MIN = 64 };

/* First each input is multiplied by a sign, so that what all have in common (an activation's mean)
 * does not end up in one. Input i of a unit is negated where bit i is set; the bits are those of
 * the fraction of pi. */
static const uint64_t CM_ROTATED_SIGNS[CM_ROTATED_MAX / 64] = { 0x243f6a8885a308d3,
                                                                0x13198a2e03707344 };

/* Scales of rotated x are of the form 2^s * (8 + step) / 8, step = 0..7: the next such number. What
 * that wastes of the codes' range, six percent on average, buys kernels for many rows that multiply
 * no scales: they find a panel's scales, times (8 + step) / 8, in a table that serves all tiles,
 * and 2^s costs nothing. An accumulator that starts at the bits of M = 1.5 * 2^(23 + s) and adds
 * integers is, read as a float, M + 2^s * sum: taking M away replaces the conversion. As 2^s is
 * exact in products, the bits of results are those of the kernels for few rows.
 *
 * A row's unit: codes, then for few rows `start` (-128 * sum of the codes) and `scale`; for many
 * rows `start` plus the bits of M, M, and the bytes from the start of the table's unit to the
 * step's scales. */
enum {
    CM_SCALE_STEPS = 8,
    CM_TABLE_UNIT_BYTES = CM_SCALE_STEPS * CM_PANEL * sizeof(float), /* scales[steps][32] */
    CM_ROTATED_FIELDS_BYTES = 3 * sizeof(uint32_t), /* what follows a row's codes, at most */
};

enum cm_matrix_format {
    CM_FORMAT_F32,
    CM_FORMAT_BF16,
    CM_FORMAT_INT8,
    CM_FORMAT_INT8_MIN,
    CM_FORMAT_INT4,
    CM_FORMAT_INT4_MIN,
    /* For activations that lie far from zero, or on one side of it: their groups have an offset. */
    CM_FORMAT_INT8_OFFSET,
    CM_FORMAT_INT8_MIN_OFFSET,
    CM_FORMAT_INT4_OFFSET,
    CM_FORMAT_INT4_MIN_OFFSET,
    CM_FORMAT_ROTATED_64,
    CM_FORMAT_ROTATED_128,
    CM_FORMAT_COUNT
};

static inline bool cm_format_has_offsets(enum cm_matrix_format format)
{
    return format >= CM_FORMAT_INT8_OFFSET && format <= CM_FORMAT_INT4_MIN_OFFSET;
}

/* The format without offsets of an integer format. */
static inline enum cm_matrix_format cm_format_plain(enum cm_matrix_format format)
{
    return cm_format_has_offsets(format)
               ? (enum cm_matrix_format)(format - CM_FORMAT_INT8_OFFSET + CM_FORMAT_INT8)
               : format;
}

static inline bool cm_format_has_minima(enum cm_matrix_format format)
{
    return cm_format_plain(format) == CM_FORMAT_INT8_MIN ||
           cm_format_plain(format) == CM_FORMAT_INT4_MIN;
}

static inline bool cm_format_is_int4(enum cm_matrix_format format)
{
    return cm_format_plain(format) == CM_FORMAT_INT4 ||
           cm_format_plain(format) == CM_FORMAT_INT4_MIN;
}

static inline bool cm_format_is_rotated(enum cm_matrix_format format)
{
    return format >= CM_FORMAT_ROTATED_64;
}

/* Inputs of a unit of the integer formats, a multiple of CM_PANEL. */
static inline uint32_t cm_format_group(enum cm_matrix_format format)
{
    return format == CM_FORMAT_ROTATED_128  ? CM_ROTATED_MAX
           : format == CM_FORMAT_ROTATED_64 ? CM_ROTATED_MIN
                                            : CM_INT8_GROUP;
}

/* Of a unit of the integer formats; scales, then minima, then totals follow the codes. */
static inline size_t cm_format_codes_bytes(enum cm_matrix_format format)
{
    return CM_PANEL * cm_format_group(format) / (cm_format_is_int4(format) ? 2 : 1);
}

static inline size_t cm_format_unit_bytes(enum cm_matrix_format format)
{
    size_t arrays =
        1 + (cm_format_has_minima(format) ? 1 : 0) + (cm_format_has_offsets(format) ? 1 : 0);
    return cm_format_codes_bytes(format) + arrays * CM_PANEL * sizeof(float);
}

static inline size_t cm_format_row_unit_bytes(enum cm_matrix_format format)
{
    return cm_format_has_offsets(format) ? CM_INT8_OFFSET_ROW_UNIT_BYTES : CM_INT8_ROW_UNIT_BYTES;
}

struct cm_matrix {
    const struct cm_backend_functions *functions;
    enum cm_matrix_format format;
    const struct cm_matmul_kernels *kernels;
    uint32_t n_in;
    uint32_t n_out;
    uint32_t panels_count;
    uint32_t units_count; /* along K */
    size_t panel_bytes;
    size_t row_bytes; /* of a packed row of x */
    size_t bytes;
    uint8_t *panels; /* [panels_count][panel_bytes] */
    struct cm_panel_block *panels_block;
    float *bias; /* [panels_count * 32], zero where there is none */
    uint64_t rows_count;
    bool is_shared; /* panels and bias are another's */
};

/* One panel times one tile. */
struct cm_matmul_tile {
    const void *weights;
    const void *x;
    uint32_t rows; /* T */
    uint32_t units_count;
    const float *bias; /* [32] */
    float *out;        /* [T][32] with rows `out_stride` floats apart */
    size_t out_stride;
    bool past_caches; /* write `out`, whole cache lines, to memory past the caches */
    float *table;     /* for multiply_many: [units_count][CM_SCALE_STEPS][32] */
    bool fills_table; /* the first tile of a panel does */
    /* What will be read next: the kernel asks for `next_lines` cache lines per unit from here on,
     * so that weights arrive from memory while the processor multiplies. May run past the end. */
    const uint8_t *next;
    uint32_t next_lines;
    /* The same for pages of the KV cache, or for rows; in multiply_many only. */
    const uint8_t *coming;
    uint32_t coming_lines;
};

/* Asks for `lines` cache lines from `next` on; see struct cm_matmul_tile. Returns what follows. */
static inline const uint8_t *cm_matmul_fetch(const uint8_t *next, uint32_t lines)
{
    for (uint32_t i = 0; i < lines; i++) {
        __builtin_prefetch(next, 0, 2); /* to read, into the second level */
        next += CM_CACHE_LINE_BYTES;
    }
    return next;
}

struct cm_matmul_kernels {
    uint32_t tile_rows_max;
    uint32_t row_unit_bytes; /* of a packed row, at most */
    /* Packs x [rows, n_in] as one tile of rows <= tile_rows_max. */
    void (*pack)(const float *x, uint32_t n_in, uint32_t rows, void *tile);
    void (*multiply)(const struct cm_matmul_tile *tile);
    /* The same for tiles of CM_MANY_ROWS_MIN rows and more where several tiles meet each panel;
     * NULL: there is no better way. */
    void (*pack_many)(const float *x, uint32_t n_in, uint32_t rows, void *tile);
    void (*multiply_many)(const struct cm_matmul_tile *tile);
};

extern const struct cm_matmul_kernels cm_matmul_portable[CM_FORMAT_COUNT];
#if defined(__x86_64__)
extern const struct cm_matmul_kernels cm_matmul_avx2[CM_FORMAT_COUNT];
extern const struct cm_matmul_kernels cm_matmul_avxvnni[CM_FORMAT_COUNT];
extern const struct cm_matmul_kernels cm_matmul_avxvnni_evex[CM_FORMAT_COUNT]; /* for tests */
extern const struct cm_matmul_kernels cm_matmul_avx512[CM_FORMAT_COUNT];
extern const struct cm_matmul_kernels cm_matmul_avx512bf16; /* the format BF16 */
#endif

/* Fills panels and bias of a matrix whose sizes are set and whose memory is zeroed. */
enum cm_status cm_matrix_pack(struct cm_backend *backend, struct cm_matrix *matrix,
                              const struct cm_matrix_source *sources, size_t sources_count,
                              struct cm_error *error) CM_MUST_CHECK;

#endif
