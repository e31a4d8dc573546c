/* Matmul kernels for AVX-512 with VNNI. Shapes, layouts and order of accumulation:
 * matmul_kernels.h; chosen by cm_cpu_isa_best.
 *
 * A panel is two registers wide. All accumulators of a tile stay in registers: 2 per row for the
 * float formats (12 rows), 2 integers and 2 floats per row for INT8 (7 rows). The number of rows is
 * a constant of each instance, so that the loops over rows unroll and the arrays become registers.
 */
#include "kernels/cpu/matmul_rows.h"

#include <immintrin.h>

enum { FLOAT_ROWS = 12, INT8_ROWS = 7 };

#define INSTANCE static inline __attribute__((always_inline))
#define UNROLL_ROWS _Pragma("GCC unroll 12")

static const float *float_at(const void *base, size_t floats)
{
    return (const float *)base + floats;
}

/* --- F32 and BF16 --- */

INSTANCE void add_chunk(const struct cm_matmul_tile *tile, uint32_t rows, bool first,
                        const __m512 sums[FLOAT_ROWS][2])
{
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        float *out = tile->out + t * tile->out_stride;
        const float *before = first ? tile->bias : out;
        _mm512_storeu_ps(out, _mm512_add_ps(_mm512_loadu_ps(before), sums[t][0]));
        _mm512_storeu_ps(out + 16, _mm512_add_ps(_mm512_loadu_ps(before + 16), sums[t][1]));
    }
}

INSTANCE void add_products(__m512 w0, __m512 w1, const float *x, uint32_t rows,
                           __m512 sums[FLOAT_ROWS][2])
{
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        __m512 value = _mm512_set1_ps(x[t]);
        sums[t][0] = _mm512_fmadd_ps(w0, value, sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(w1, value, sums[t][1]);
    }
}

INSTANCE void multiply_float_rows(const struct cm_matmul_tile *tile, uint32_t rows, bool bf16)
{
    uint32_t chunk = bf16 ? CM_CHUNK_INPUTS / 2 : CM_CHUNK_INPUTS; /* in units */
    const uint8_t *next = tile->next;
    for (uint32_t begin = 0; begin < tile->units_count; begin += chunk) {
        uint32_t left = tile->units_count - begin;
        uint32_t end = begin + (left < chunk ? left : chunk);
        __m512 sums[FLOAT_ROWS][2];
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            sums[t][0] = sums[t][1] = _mm512_setzero_ps();
        }
        for (uint32_t u = begin; u < end; u++) {
            next = cm_matmul_fetch(next, tile->next_lines);
            const float *w = float_at(tile->weights, (size_t)u * CM_PANEL);
            if (bf16) {
                /* The first input of a pair is the low half of a word. */
                const float *x = float_at(tile->x, (size_t)u * 2 * rows);
                __m512i pairs0 = _mm512_loadu_si512(w);
                __m512i pairs1 = _mm512_loadu_si512(w + 16);
                __m512i high = _mm512_set1_epi32((int)0xffff0000);
                add_products(_mm512_castsi512_ps(_mm512_slli_epi32(pairs0, 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(pairs1, 16)), x, rows, sums);
                add_products(_mm512_castsi512_ps(_mm512_and_si512(pairs0, high)),
                             _mm512_castsi512_ps(_mm512_and_si512(pairs1, high)), x + rows, rows,
                             sums);
            } else {
                add_products(_mm512_loadu_ps(w), _mm512_loadu_ps(w + 16),
                             float_at(tile->x, (size_t)u * rows), rows, sums);
            }
        }
        add_chunk(tile, rows, begin == 0, sums);
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
    case 3:
        multiply_float_rows(tile, 3, bf16);
        break;
    case 4:
        multiply_float_rows(tile, 4, bf16);
        break;
    case 5:
        multiply_float_rows(tile, 5, bf16);
        break;
    case 6:
        multiply_float_rows(tile, 6, bf16);
        break;
    case 7:
        multiply_float_rows(tile, 7, bf16);
        break;
    case 8:
        multiply_float_rows(tile, 8, bf16);
        break;
    case 9:
        multiply_float_rows(tile, 9, bf16);
        break;
    case 10:
        multiply_float_rows(tile, 10, bf16);
        break;
    case 11:
        multiply_float_rows(tile, 11, bf16);
        break;
    default:
        multiply_float_rows(tile, 12, bf16);
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

/* --- INT8 --- */

/* Packing, bit for bit as cm_pack_int8. One group is a long chain of short operations, so they are
 * done in four passes over a few units, with rows side by side where rows are independent. Fields
 * of a unit wait in their places for the next pass: the largest magnitude in that of the scale, its
 * inverse in that of the sum. */
enum { PACK_UNITS = 8 };

struct packing {
    const float *x;
    uint32_t n_in;
    uint32_t rows;
    bool offsets;
    uint32_t *units; /* of the tile */
};

INSTANCE uint32_t *unit_field(const struct packing *packing, uint32_t u, uint32_t field)
{
    const uint32_t fields =
        (packing->offsets ? CM_INT8_OFFSET_ROW_UNIT_BYTES : CM_INT8_ROW_UNIT_BYTES) /
        sizeof(uint32_t);
    return packing->units + ((size_t)u * fields + field) * packing->rows;
}

enum { FIELD_STARTS = CM_INT8_QUADS, FIELD_SCALES, FIELD_SUMS, FIELD_OFFSETS };

/* Group u of a row, zero past the end. */
INSTANCE void load_group(const struct packing *packing, uint32_t u, uint32_t t, __m512 halves[2])
{
    uint32_t left = packing->n_in - u * CM_INT8_GROUP;
    uint32_t mask = left < CM_INT8_GROUP ? (1u << left) - 1 : UINT32_MAX;
    const float *group = packing->x + (size_t)t * packing->n_in + (size_t)u * CM_INT8_GROUP;
    halves[0] = _mm512_maskz_loadu_ps((__mmask16)mask, group);
    halves[1] = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), group + 16);
}

INSTANCE void find_largest(const struct packing *packing, uint32_t u)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 halves[2];
        load_group(packing, u, t, halves);
        __m512i bits =
            _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(halves[0]), magnitude),
                             _mm512_and_si512(_mm512_castps_si512(halves[1]), magnitude));
        unit_field(packing, u, FIELD_SCALES)[t] = (uint32_t)_mm512_reduce_max_epi32(bits);
    }
}

INSTANCE __m512i ordered_bits(__m512i bits)
{
    return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
}

/* With offsets: the ends of the range, in the places of the scale and the sum. */
INSTANCE void find_range(const struct packing *packing, uint32_t u)
{
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 halves[2];
        load_group(packing, u, t, halves);
        __m512i first = ordered_bits(_mm512_castps_si512(halves[0]));
        __m512i second = ordered_bits(_mm512_castps_si512(halves[1]));
        unit_field(packing, u, FIELD_SCALES)[t] =
            (uint32_t)_mm512_reduce_max_epi32(_mm512_max_epi32(first, second));
        unit_field(packing, u, FIELD_SUMS)[t] =
            (uint32_t)_mm512_reduce_min_epi32(_mm512_min_epi32(first, second));
    }
}

INSTANCE void find_scales_offset(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    const __m512 steps = _mm512_set1_ps(254.0f);
    __m512 highest = _mm512_castsi512_ps(
        ordered_bits(_mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, FIELD_SCALES))));
    __m512 lowest = _mm512_castsi512_ps(
        ordered_bits(_mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, FIELD_SUMS))));
    __m512 range = _mm512_sub_ps(highest, lowest);
    __m512 offset = _mm512_mul_ps(_mm512_add_ps(highest, lowest), _mm512_set1_ps(0.5f));
    __mmask16 some =
        _knot_mask16(_mm512_cmp_ps_mask(range, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_OFFSETS), lanes, offset);
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SCALES), lanes,
                          _mm512_maskz_div_ps(some, range, steps));
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SUMS), lanes,
                          _mm512_maskz_div_ps(some, steps, range));
}

INSTANCE void find_scales(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    const __m512 steps = _mm512_set1_ps(127.0f);
    __m512 largest = _mm512_maskz_loadu_ps(lanes, unit_field(packing, u, FIELD_SCALES));
    /* A NaN is not less. */
    __mmask16 some =
        _knot_mask16(_mm512_cmp_ps_mask(largest, _mm512_set1_ps(CM_INT8_LEAST), _CMP_LT_OQ));
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SCALES), lanes,
                          _mm512_maskz_div_ps(some, largest, steps));
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SUMS), lanes,
                          _mm512_maskz_div_ps(some, steps, largest));
}

INSTANCE void store_codes(const struct packing *packing, uint32_t u)
{
    const uint32_t *inverses = unit_field(packing, u, FIELD_SUMS);
    for (uint32_t t = 0; t < packing->rows; t++) {
        __m512 inverse = _mm512_set1_ps(*float_at(inverses, t));
        __m512 halves[2];
        load_group(packing, u, t, halves);
        if (packing->offsets) {
            __m512 offset = _mm512_set1_ps(*float_at(unit_field(packing, u, FIELD_OFFSETS), t));
            halves[0] = _mm512_sub_ps(halves[0], offset);
            halves[1] = _mm512_sub_ps(halves[1], offset);
        }
        __m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(halves[0], inverse));
        __m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(halves[1], inverse));
        uint32_t quads[CM_INT8_QUADS];
        _mm_storeu_si128((__m128i *)quads, _mm512_cvtepi32_epi8(low));
        _mm_storeu_si128((__m128i *)quads + 1, _mm512_cvtepi32_epi8(high));
        uint32_t *to = unit_field(packing, u, 0) + t;
        for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
            to[q * packing->rows] = quads[q];
        }
    }
}

INSTANCE void store_sums(const struct packing *packing, uint32_t u)
{
    const __mmask16 lanes = (__mmask16)((1u << packing->rows) - 1);
    __m512i sums = _mm512_setzero_si512();
    for (uint32_t q = 0; q < CM_INT8_QUADS; q++) {
        __m512i quads = _mm512_maskz_loadu_epi32(lanes, unit_field(packing, u, q));
        sums = _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(1), quads);
    }
    __m512 scales = _mm512_maskz_loadu_ps(lanes, unit_field(packing, u, FIELD_SCALES));
    _mm512_mask_storeu_epi32(unit_field(packing, u, FIELD_STARTS), lanes,
                             _mm512_mullo_epi32(sums, _mm512_set1_epi32(-CM_INT8_ZERO)));
    _mm512_mask_storeu_ps(unit_field(packing, u, FIELD_SUMS), lanes,
                          _mm512_mul_ps(scales, _mm512_cvtepi32_ps(sums)));
}

INSTANCE void pack_integers(const float *x, uint32_t n_in, uint32_t rows, bool offsets, void *tile)
{
    const struct packing packing = { x, n_in, rows, offsets, tile };
    uint32_t units_count = (n_in + CM_INT8_GROUP - 1) / CM_INT8_GROUP;
    for (uint32_t begin = 0; begin < units_count; begin += PACK_UNITS) {
        uint32_t end = begin + PACK_UNITS < units_count ? begin + PACK_UNITS : units_count;
        for (uint32_t u = begin; u < end; u++) {
            offsets ? find_range(&packing, u) : find_largest(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            offsets ? find_scales_offset(&packing, u) : find_scales(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            store_codes(&packing, u);
        }
        for (uint32_t u = begin; u < end; u++) {
            store_sums(&packing, u);
        }
    }
}

static void pack_int8(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    pack_integers(x, n_in, rows, false, tile);
}

static void pack_int8_offset(const float *x, uint32_t n_in, uint32_t rows, void *tile)
{
    pack_integers(x, n_in, rows, true, tile);
}

/* sums[i] += w[4i..4i+3] (unsigned) . x[0..3] (signed). Written out because GCC 12 moves the
 * intrinsic's operands through the stack, which costs two thirds of the speed. */
INSTANCE void add_dots(__m512i *sums, __m512i w, const int32_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(*sums) : "v"(w), "m"(*x));
}

/* The 16 columns from `column` on of a quad. The two halves of a byte are loaded apart, since
 * keeping it would take a register from the sums; written out so that GCC does not. */
INSTANCE __m512i load_quad(const uint8_t *unit, bool int4, uint32_t quad, uint32_t column,
                           __m512i low_bits)
{
    if (!int4) {
        return _mm512_loadu_si512(unit + (quad * CM_PANEL + column) * 4);
    }
    const __m512i *pairs = (const void *)(unit + (quad % CM_INT4_PAIRS * CM_PANEL + column) * 4);
    __m512i codes;
    if (quad < CM_INT4_PAIRS) {
        __asm__("vpandd %1, %2, %0" : "=v"(codes) : "m"(*pairs), "v"(low_bits));
        return codes;
    }
    __asm__("vpsrlw $4, %1, %0" : "=v"(codes) : "m"(*pairs));
    return _mm512_and_si512(codes, low_bits);
}

INSTANCE __m512i start_of(enum cm_matrix_format format, int32_t start)
{
    if (cm_format_is_int4(format) && cm_format_has_minima(format)) {
        return _mm512_setzero_si512();
    }
    __m512i starts = _mm512_set1_epi32(start);
    return cm_format_is_int4(format) ? _mm512_srai_epi32(starts, 4) : starts;
}

/* sums[t][:] += columns[:] * x[t] */
INSTANCE void add_outer_product(const float *columns, const float *x, uint32_t rows,
                                __m512 sums[INT8_ROWS][2])
{
    __m512 columns0 = _mm512_loadu_ps(columns);
    __m512 columns1 = _mm512_loadu_ps(columns + 16);
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        __m512 value = _mm512_set1_ps(x[t]);
        sums[t][0] = _mm512_fmadd_ps(columns0, value, sums[t][0]);
        sums[t][1] = _mm512_fmadd_ps(columns1, value, sums[t][1]);
    }
}

INSTANCE void multiply_integer_rows(const struct cm_matmul_tile *tile, uint32_t rows,
                                    enum cm_matrix_format format)
{
    const uint8_t *weights = tile->weights;
    const int32_t *x = tile->x;
    const __m512i low_bits = _mm512_set1_epi8(15);
    __m512 sums[INT8_ROWS][2];
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        sums[t][0] = _mm512_loadu_ps(tile->bias);
        sums[t][1] = _mm512_loadu_ps(tile->bias + 16);
    }
    const uint8_t *next = tile->next;
    for (uint32_t u = 0; u < tile->units_count; u++) {
        next = cm_matmul_fetch(next, tile->next_lines);
        __m512i dots[INT8_ROWS][2];
        const int32_t *starts = x + CM_INT8_QUADS * rows;
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            dots[t][0] = dots[t][1] = start_of(format, starts[t]);
        }
        _Pragma("GCC unroll 8") for (uint32_t q = 0; q < CM_INT8_QUADS; q++)
        {
            __m512i w0 = load_quad(weights, cm_format_is_int4(format), q, 0, low_bits);
            __m512i w1 = load_quad(weights, cm_format_is_int4(format), q, 16, low_bits);
            UNROLL_ROWS
            for (uint32_t t = 0; t < rows; t++) {
                add_dots(&dots[t][0], w0, x + q * rows + t);
                add_dots(&dots[t][1], w1, x + q * rows + t);
            }
        }
        const float *scales = (const void *)(weights + cm_format_codes_bytes(format));
        const float *x_scales = float_at(starts, rows);
        __m512 scale0 = _mm512_loadu_ps(scales);
        __m512 scale1 = _mm512_loadu_ps(scales + 16);
        UNROLL_ROWS
        for (uint32_t t = 0; t < rows; t++) {
            __m512 scale = _mm512_set1_ps(x_scales[t]);
            sums[t][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][0]),
                                         _mm512_mul_ps(scale0, scale), sums[t][0]);
            sums[t][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dots[t][1]),
                                         _mm512_mul_ps(scale1, scale), sums[t][1]);
        }
        if (cm_format_has_minima(format)) {
            scales += CM_PANEL;
            add_outer_product(scales, float_at(x_scales, rows), rows, sums);
        }
        if (cm_format_has_offsets(format)) {
            add_outer_product(scales + CM_PANEL, float_at(x_scales, 2 * rows), rows, sums);
        }
        weights += cm_format_unit_bytes(format);
        x += rows * cm_format_row_unit_bytes(format) / sizeof *x;
    }
    UNROLL_ROWS
    for (uint32_t t = 0; t < rows; t++) {
        _mm512_storeu_ps(tile->out + t * tile->out_stride, sums[t][0]);
        _mm512_storeu_ps(tile->out + t * tile->out_stride + 16, sums[t][1]);
    }
}

INSTANCE void multiply_integers(const struct cm_matmul_tile *tile, enum cm_matrix_format format)
{
    switch (tile->rows) {
    case 1:
        multiply_integer_rows(tile, 1, format);
        break;
    case 2:
        multiply_integer_rows(tile, 2, format);
        break;
    case 3:
        multiply_integer_rows(tile, 3, format);
        break;
    case 4:
        multiply_integer_rows(tile, 4, format);
        break;
    case 5:
        multiply_integer_rows(tile, 5, format);
        break;
    case 6:
        multiply_integer_rows(tile, 6, format);
        break;
    default:
        multiply_integer_rows(tile, 7, format);
        break;
    }
}

#define MULTIPLY(name, format)                                     \
    static void multiply_##name(const struct cm_matmul_tile *tile) \
    {                                                              \
        multiply_integers(tile, format);                           \
    }

CM_EACH_INTEGER_FORMAT(MULTIPLY)

#define INTEGER_KERNELS(name)                              \
    {                                                      \
        INT8_ROWS, CM_INT8_ROW_UNIT_BYTES, pack_int8, name \
    }
#define OFFSET_KERNELS(name)                                             \
    {                                                                    \
        INT8_ROWS, CM_INT8_OFFSET_ROW_UNIT_BYTES, pack_int8_offset, name \
    }

const struct cm_matmul_kernels cm_matmul_avx512[CM_FORMAT_COUNT] = {
    [CM_FORMAT_F32] = { FLOAT_ROWS, 4, cm_pack_f32, multiply_f32 },
    [CM_FORMAT_BF16] = { FLOAT_ROWS, 8, cm_pack_f32_pairs, multiply_bf16 },
    [CM_FORMAT_INT8] = INTEGER_KERNELS(multiply_int8),
    [CM_FORMAT_INT8_MIN] = INTEGER_KERNELS(multiply_int8_min),
    [CM_FORMAT_INT4] = INTEGER_KERNELS(multiply_int4),
    [CM_FORMAT_INT4_MIN] = INTEGER_KERNELS(multiply_int4_min),
    [CM_FORMAT_INT8_OFFSET] = OFFSET_KERNELS(multiply_int8_offset),
    [CM_FORMAT_INT8_MIN_OFFSET] = OFFSET_KERNELS(multiply_int8_min_offset),
    [CM_FORMAT_INT4_OFFSET] = OFFSET_KERNELS(multiply_int4_offset),
    [CM_FORMAT_INT4_MIN_OFFSET] = OFFSET_KERNELS(multiply_int4_min_offset),
};
