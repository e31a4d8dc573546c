/* Matmul kernels for AVX2 with FMA. Shapes, layouts and order of accumulation: matmul_kernels.h;
 * chosen by cm_cpu_isa_best.
 *
 * Compiled again with vpdpbusd on eight columns (CM_AVX2_DOTS): in the encoding of AVX-VNNI for
 * processors that have that and no AVX-512, and in that of AVX-512, which such processors lack, so
 * that tests meet the same source there. Integer sums are exact, so all have the same bits.
 *
 * A panel is four registers wide. The float kernels hold a whole panel for up to 3 rows; INT8 goes
 * through the panel 8 columns at a time, with an integer and a float accumulator for up to 4 rows,
 * or 6 with vpdpbusd.
 */
#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

#if defined(CM_AVX2_DOTS)
enum { INT8_ROWS = 6 }; /* a dot needs no registers of its own */
#else
enum { INT8_ROWS = 4 };
#endif
enum { FLOAT_ROWS = 3, VECTORS = CM_PANEL / 8 };

#define INSTANCE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 6")
#define KEEP_LOOP _Pragma("GCC unroll 1") /* sixteen registers do not hold more */

/* --- F32 and BF16 --- */

INSTANCE void add_products(const __m256 w[VECTORS], const float *x, uint32_t rows,
                           __m256 sums[FLOAT_ROWS][VECTORS])
{
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        __m256 value = _mm256_broadcast_ss(x + t);
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            sums[t][v] = _mm256_fmadd_ps(w[v], value, sums[t][v]);
        }
    }
}

/* The inputs of one unit: one of F32, or the two of a BF16 pair, the first in the low half. */
INSTANCE void add_unit(const void *weights, const float *x, uint32_t rows, bool bf16,
                       __m256 sums[FLOAT_ROWS][VECTORS])
{
    __m256 w[VECTORS];
    UNROLL
    for (int v = 0; v < VECTORS; v++) {
        __m256i bits = _mm256_loadu_si256((const __m256i *)weights + v);
        w[v] = _mm256_castsi256_ps(bf16 ? _mm256_slli_epi32(bits, 16) : bits);
    }
    add_products(w, x, rows, sums);
    if (bf16) {
        UNROLL
        for (int v = 0; v < VECTORS; v++) {
            __m256i bits = _mm256_loadu_si256((const __m256i *)weights + v);
            w[v] = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int)0xffff0000)));
        }
        add_products(w, x + rows, rows, sums);
    }
}

INSTANCE void multiply_float_rows(const struct cm_matmul_tile *tile, uint32_t rows, bool bf16)
{
    uint32_t unit_inputs = bf16 ? 2 : 1;
    uint32_t chunk = CM_CHUNK_INPUTS / unit_inputs;
    const uint8_t *weights = tile->weights;
    const uint8_t *next = tile->next;
    const float *x = tile->x;
    for (uint32_t begin = 0; begin < tile->units_count; begin += chunk) {
        uint32_t left = tile->units_count - begin;
        uint32_t units = left < chunk ? left : chunk;
        __m256 sums[FLOAT_ROWS][VECTORS];
        UNROLL
        for (uint32_t t = 0; t < rows; t++) {
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                sums[t][v] = _mm256_setzero_ps();
            }
        }
        for (uint32_t u = 0; u < units; u++) {
            next = cm_matmul_fetch(next, tile->next_lines);
            add_unit(weights, x, rows, bf16, sums);
            weights += CM_PANEL * 4;
            x += unit_inputs * rows;
        }
        for (uint32_t t = 0; t < rows; t++) {
            float *out = tile->out + t * tile->out_stride;
            const float *before = begin == 0 ? tile->bias : out;
            UNROLL
            for (int v = 0; v < VECTORS; v++) {
                _mm256_storeu_ps(out + 8 * v,
                                 _mm256_add_ps(_mm256_loadu_ps(before + 8 * v), sums[t][v]));
            }
        }
    }
}

INSTANCE void multiply_float(const struct cm_matmul_tile *tile, bool bf16)
{
    switch (tile->rows) {
    case 1:
        multiply_float_rows(tile, 1, bf16);
        break;
    case 2:
        multiply_float_rows(tile, 2, bf16);
        break;
    default:
        multiply_float_rows(tile, 3, bf16);
        break;
    }
}

static void multiply_f32(const struct cm_matmul_tile *tile)
{
    multiply_float(tile, false);
}

static void multiply_bf16(const struct cm_matmul_tile *tile)
{
    multiply_float(tile, true);
}

/* --- Integers --- */

/* dots[t] = the sum of q * p over a unit, in columns [column, column + 8). */
#if defined(CM_AVX2_DOTS)

INSTANCE void dot_quad(__m256i codes, const int32_t *x, uint32_t rows, __m256i dots[INT8_ROWS])
{
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        dots[t] = _mm256_dpbusd_epi32(dots[t], codes, _mm256_set1_epi32(x[t]));
    }
}

INSTANCE void dot_unit(const uint8_t *unit, const int32_t *x, uint32_t column, uint32_t rows,
                       enum cm_matrix_format format, __m256i dots[INT8_ROWS])
{
    const int32_t *starts = x + CM_INT8_QUADS * rows;
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        bool from_zero = cm_format_is_int4(format) && cm_format_has_minima(format);
        int32_t start = from_zero ? 0 : cm_format_is_int4(format) ? starts[t] / 16 : starts[t];
        dots[t] = _mm256_set1_epi32(start);
    }
    if (!cm_format_is_int4(format)) {
        KEEP_LOOP
        for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
            const uint8_t *codes = unit + (q * CM_PANEL + column) * 4;
            dot_quad(_mm256_loadu_si256((const __m256i *)codes), x + q * rows, rows, dots);
        }
        return;
    }
    const __m256i nibble = _mm256_set1_epi8(15);
    KEEP_LOOP
    for (uint32_t j = 0; j < CM_INT4_PAIRS; j++) {
        const uint8_t *codes = unit + (j * CM_PANEL + column) * 4;
        __m256i both = _mm256_loadu_si256((const __m256i *)codes);
        dot_quad(_mm256_and_si256(both, nibble), x + j * rows, rows, dots);
        dot_quad(_mm256_and_si256(_mm256_srli_epi16(both, 4), nibble),
                 x + (CM_INT4_PAIRS + j) * rows, rows, dots);
    }
}

#else

/* Adds codes . x over four inputs in each of 8 columns. vpmaddubsw multiplies unsigned with signed
 * bytes and adds pairs to 16 bits with saturation, which is never reached: magnitudes are at most
 * 128 * 127 * 2. The sign of an INT8 code goes to x. */
INSTANCE void add_int8_quad(const uint8_t *codes, const int32_t *x, uint32_t rows,
                            __m256i dots[INT8_ROWS])
{
    __m256i w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)codes),
                                 _mm256_set1_epi8((char)CM_INT8_ZERO));
    __m256i magnitude = _mm256_abs_epi8(w);
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        __m256i quad = _mm256_sign_epi8(_mm256_set1_epi32(x[t]), w);
        __m256i pairs = _mm256_maddubs_epi16(magnitude, quad);
        dots[t] = _mm256_add_epi32(dots[t], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
}

/* Quads j and j + 4 of codes up to 15. Even all of a unit's pairs, 16 * 15 * 127, fit in 16 bits.
 */
INSTANCE void add_int4_quads(const uint8_t *codes, const int32_t *x, uint32_t rows,
                             __m256i pairs[INT8_ROWS])
{
    __m256i both = _mm256_loadu_si256((const __m256i *)codes);
    __m256i low = _mm256_and_si256(both, _mm256_set1_epi8(15));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), _mm256_set1_epi8(15));
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        __m256i low_x = _mm256_set1_epi32(x[t]);
        __m256i high_x = _mm256_set1_epi32(x[CM_INT4_PAIRS * rows + t]);
        __m256i sum =
            _mm256_add_epi16(_mm256_maddubs_epi16(low, low_x), _mm256_maddubs_epi16(high, high_x));
        pairs[t] = _mm256_add_epi16(pairs[t], sum);
    }
}

INSTANCE void dot_unit(const uint8_t *unit, const int32_t *x, uint32_t column, uint32_t rows,
                       enum cm_matrix_format format, __m256i dots[INT8_ROWS])
{
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        dots[t] = _mm256_setzero_si256();
    }
    if (!cm_format_is_int4(format)) {
        KEEP_LOOP
        for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
            add_int8_quad(unit + (q * CM_PANEL + column) * 4, x + q * rows, rows, dots);
        }
        return;
    }
    KEEP_LOOP
    for (uint32_t j = 0; j < CM_INT4_PAIRS; j++) {
        add_int4_quads(unit + (j * CM_PANEL + column) * 4, x + j * rows, rows, dots);
    }
    const int32_t *starts = x + CM_INT8_QUADS * rows;
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        dots[t] = _mm256_madd_epi16(dots[t], _mm256_set1_epi16(1));
        if (!cm_format_has_minima(format)) {
            dots[t] = _mm256_add_epi32(dots[t], _mm256_set1_epi32(starts[t] / 16));
        }
    }
}

#endif

/* Columns [column, column + 8) of the panel. */
INSTANCE void multiply_integer_columns(const struct cm_matmul_tile *tile, uint32_t column,
                                       uint32_t rows, enum cm_matrix_format format)
{
    const uint8_t *weights = tile->weights;
    const int32_t *x = tile->x;
    __m256 sums[INT8_ROWS];
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        sums[t] = _mm256_loadu_ps(tile->bias + column);
    }
    for (uint32_t u = 0; u < tile->units_count; u++) {
        const uint8_t *unit = weights + u * cm_format_unit_bytes(format);
        const float *scales = (const void *)(unit + cm_format_codes_bytes(format));
        const float *x_scales = (const void *)(x + (CM_INT8_QUADS + 1) * rows);
        const float *x_sums = x_scales + rows;
        const float *totals = scales + (cm_format_has_minima(format) ? 2 : 1) * CM_PANEL;
        __m256i dots[INT8_ROWS];
        dot_unit(unit, x, column, rows, format, dots);
        __m256 scales8 = _mm256_loadu_ps(scales + column);
        UNROLL
        for (uint32_t t = 0; t < rows; t++) {
            __m256 scale = _mm256_mul_ps(scales8, _mm256_broadcast_ss(x_scales + t));
            sums[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[t]), scale, sums[t]);
            if (cm_format_has_minima(format)) {
                sums[t] = _mm256_fmadd_ps(_mm256_loadu_ps(scales + CM_PANEL + column),
                                          _mm256_broadcast_ss(x_sums + t), sums[t]);
            }
            if (cm_format_has_offsets(format)) {
                sums[t] = _mm256_fmadd_ps(_mm256_loadu_ps(totals + column),
                                          _mm256_broadcast_ss(x_sums + rows + t), sums[t]);
            }
        }
        x += rows * cm_format_row_unit_bytes(format) / sizeof *x;
    }
    UNROLL
    for (uint32_t t = 0; t < rows; t++) {
        _mm256_storeu_ps(tile->out + t * tile->out_stride + column, sums[t]);
    }
}

INSTANCE void multiply_integers(const struct cm_matmul_tile *tile, enum cm_matrix_format format)
{
    for (uint32_t column = 0; column < CM_PANEL; column += 8) {
        switch (tile->rows) {
        case 1:
            multiply_integer_columns(tile, column, 1, format);
            break;
        case 2:
            multiply_integer_columns(tile, column, 2, format);
            break;
        case 3:
            multiply_integer_columns(tile, column, 3, format);
            break;
#if defined(CM_AVX2_DOTS)
        case 4:
            multiply_integer_columns(tile, column, 4, format);
            break;
        case 5:
            multiply_integer_columns(tile, column, 5, format);
            break;
#endif
        default:
            multiply_integer_columns(tile, column, INT8_ROWS, format);
            break;
        }
    }
}

#define MULTIPLY(name, format)                                     \
    static void multiply_##name(const struct cm_matmul_tile *tile) \
    {                                                              \
        multiply_integers(tile, format);                           \
    }

CM_EACH_INTEGER_FORMAT(MULTIPLY)

#define INTEGER_KERNELS(name)                                             \
    {                                                                     \
        INT8_ROWS, CM_INT8_ROW_UNIT_BYTES, cm_pack_int8, name, NULL, NULL \
    }
#define OFFSET_KERNELS(name)                                                            \
    {                                                                                   \
        INT8_ROWS, CM_INT8_OFFSET_ROW_UNIT_BYTES, cm_pack_int8_offset, name, NULL, NULL \
    }

#if !defined(CM_AVX2_DOTS)
#define KERNELS cm_matmul_avx2
#elif defined(__AVXVNNI__)
#define KERNELS cm_matmul_avxvnni
#else
#define KERNELS cm_matmul_avxvnni_evex
#endif

const struct cm_matmul_kernels KERNELS[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32, NULL, NULL },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16, NULL, NULL },
    [CM_FORMAT_INT8] = INTEGER_KERNELS(multiply_int8),
    [CM_FORMAT_INT8_MIN] = INTEGER_KERNELS(multiply_int8_min),
    [CM_FORMAT_INT4] = INTEGER_KERNELS(multiply_int4),
    [CM_FORMAT_INT4_MIN] = INTEGER_KERNELS(multiply_int4_min),
    [CM_FORMAT_INT8_OFFSET] = OFFSET_KERNELS(multiply_int8_offset),
    [CM_FORMAT_INT8_MIN_OFFSET] = OFFSET_KERNELS(multiply_int8_min_offset),
    [CM_FORMAT_INT4_OFFSET] = OFFSET_KERNELS(multiply_int4_offset),
    [CM_FORMAT_INT4_MIN_OFFSET] = OFFSET_KERNELS(multiply_int4_min_offset),
};
