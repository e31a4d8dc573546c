/* vector.h for AVX-512 F and DQ. */
#ifndef CM_KERNELS_CPU_VECTOR_AVX512_H
#define CM_KERNELS_CPU_VECTOR_AVX512_H

#include <immintrin.h>
#include <stdbool.h>

typedef __m512 v16;

/* Queries, and vectors of values of each, that attention keeps in registers at a time. */
#define V16_TILE 7
enum { V16_BLOCK = 2, V16_SUMS = 16 };

static inline v16 v16_set(float a)
{
    return _mm512_set1_ps(a);
}

static inline v16 v16_load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline void v16_store(float *to, v16 a)
{
    _mm512_storeu_ps(to, a);
}

static inline v16 v16_load_part(const float *from, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
}

static inline void v16_store_part(float *to, v16 a, size_t n)
{
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), a);
}

static inline v16 v16_load_int8(const int8_t *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
}

static inline v16 v16_load_half(const uint16_t *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
}

static inline void v16_store_half(uint16_t *to, v16 a)
{
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}

#if defined(__AVX512BF16__)
/* Pairs of bf16 and of words, and their dot products. Bf16 is rounded to nearest even, subnormals
 * count as zero. */
#define V16_PAIRS 1

/* a as the firsts (0) or the seconds (1) of 16 pairs; the others stay. */
static inline void v16_store_in_pairs(uint16_t *to, uint32_t place, v16 a)
{
    __m512i words = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(a));
    if (place == 0) {
        _mm512_mask_storeu_epi16(to, 0x55555555, words);
    } else {
        _mm512_mask_storeu_epi16(to, 0xaaaaaaaa, _mm512_slli_epi32(words, 16));
    }
}

/* a rounded, which goes as 8 pairs of neighbouring lanes to `to`. */
static inline v16 v16_store_rounded_pairs(uint32_t *to, v16 a)
{
    __m256i words = (__m256i)_mm512_cvtneps_pbh(a);
    _mm256_storeu_si256((__m256i *)to, words);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
}

/* 16 pairs, of which those halves are zero that are not wanted. */
static inline v16 v16_load_pairs(const void *from, bool first, bool second)
{
    uint32_t mask = (first ? 0xffffu : 0) | (second ? 0xffff0000u : 0);
    __m512i pairs = _mm512_loadu_si512(from);
    return _mm512_castsi512_ps(
        first && second ? pairs : _mm512_and_si512(pairs, _mm512_set1_epi32((int)mask)));
}

/* a rounded to nearest even, at most 32,767 away from zero. */
static inline void v16_store_words(int16_t *to, v16 a)
{
    _mm256_storeu_si256((__m256i *)to, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a)));
}

/* Sixteen integers. */
typedef __m512i v16_integers;

static inline v16_integers v16_integers_zero(void)
{
    return _mm512_setzero_si512();
}

static inline v16 v16_from_integers(v16_integers a)
{
    return _mm512_cvtepi32_ps(a);
}

static inline v16_integers v16_load_words(const void *pairs)
{
    return _mm512_loadu_si512(pairs);
}

/* sums += the dot product of each of 16 pairs of words with the pair at `other`. Written out
 * because GCC 12 moves the intrinsic's operands from register to register and through the stack. */
static inline void v16_add_word_dots(v16_integers *sums, v16_integers pairs, const void *other)
{
    __asm__("vpdpwssd %2%{1to16%}, %1, %0"
            : "+v"(*sums)
            : "v"(pairs), "m"(*(const int32_t *)other));
}

static inline v16_integers v16_integers_add(v16_integers a, v16_integers b)
{
    return _mm512_add_epi32(a, b);
}

/* sums + the dot product of each pair of `pairs` with the pair of bf16 in `other`. */
static inline v16 v16_add_dots(v16 sums, v16 pairs, uint32_t other)
{
    return _mm512_dpbf16_ps(sums, (__m512bh)pairs, (__m512bh)_mm512_set1_epi32((int)other));
}
#endif

static inline v16 v16_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}

static inline v16 v16_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}

static inline v16 v16_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}

static inline v16 v16_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}

/* a * b + c */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* b where a is NaN */
static inline v16 v16_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}

static inline v16 v16_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}

static inline v16 v16_round(v16 a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* a * 2^n for whole n */
static inline v16 v16_scale(v16 a, v16 n)
{
    return _mm512_scalef_ps(a, n);
}

/* a in lanes [begin, end), `other` elsewhere */
static inline v16 v16_keep(v16 a, int begin, int end, float other)
{
    __mmask16 mask = (__mmask16)((1u << end) - (1u << begin));
    return _mm512_mask_blend_ps(mask, _mm512_set1_ps(other), a);
}

/* Bit i is set where a[i] >= b[i]; a NaN is not. */
static inline uint32_t v16_at_least(v16 a, v16 b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ);
}

/* a where it is at least `limit`, 0 elsewhere */
static inline v16 v16_keep_at_least(v16 a, v16 limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, limit, _CMP_GE_OQ), a);
}

/* Sixteen running sums in float64. */
typedef struct {
    __m512d part[2];
} v16_wide;

static inline v16_wide v16_wide_add(v16_wide sums, v16 a)
{
    __m256 high = _mm512_extractf32x8_ps(a, 1);
    sums.part[0] = _mm512_add_pd(sums.part[0], _mm512_cvtps_pd(_mm512_castps512_ps256(a)));
    sums.part[1] = _mm512_add_pd(sums.part[1], _mm512_cvtps_pd(high));
    return sums;
}

static inline float v16_sum(v16 a)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline float v16_highest(v16 a)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* The trees of v16_sum and v16_highest over up to eight vectors at once: two vectors' halves are
 * folded into one, then two of those, and so on; lane k of the result is the fold of values[k]. */
#define V16_FOLD_EACH(op)                                                                       \
    v16 pairs[4];                                                                               \
    for (uint32_t i = 0; i < 4; i++) { /* [a, b], eight lanes each */                           \
        v16 a = values[2 * i < n ? 2 * i : 0];                                                  \
        v16 b = values[2 * i + 1 < n ? 2 * i + 1 : 0];                                          \
        pairs[i] = op(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));      \
    }                                                                                           \
    v16 fours[2];                                                                               \
    for (uint32_t i = 0; i < 2; i++) { /* [a, b, c, d], four lanes each */                      \
        v16 low = _mm512_shuffle_f32x4(pairs[2 * i], pairs[2 * i + 1], 0x88);                   \
        v16 high = _mm512_shuffle_f32x4(pairs[2 * i], pairs[2 * i + 1], 0xdd);                  \
        fours[i] = op(low, high);                                                               \
    }                                                                                           \
    v16 twos = op(_mm512_shuffle_ps(fours[0], fours[1], 0x44),                                  \
                  _mm512_shuffle_ps(fours[0], fours[1], 0xee)); /* [a, e], [b, f], ... */       \
    v16 ones = op(twos, _mm512_shuffle_ps(twos, twos, 0xb1));                                   \
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0); \
    return _mm512_permutexvar_ps(order, ones)

static inline v16 v16_sum_each(const v16 *values, uint32_t n)
{
    /* cppcheck-suppress uninitvar ; n is at least 1 */
    V16_FOLD_EACH(_mm512_add_ps);
}

static inline v16 v16_highest_each(const v16 *values, uint32_t n)
{
    V16_FOLD_EACH(_mm512_max_ps);
}

#endif
