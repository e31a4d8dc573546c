/* vector.h for AVX2, FMA and F16C: two registers a value. */
#ifndef CM_KERNELS_CPU_VECTOR_AVX2_H
#define CM_KERNELS_CPU_VECTOR_AVX2_H

#include <immintrin.h>
#include <string.h>

typedef struct {
    __m256 low;
    __m256 high;
} v16;

/* Queries, and vectors of values of each, that attention keeps in registers at a time. */
#define V16_TILE 3
enum { V16_BLOCK = 1, V16_SUMS = 3 };

static inline v16 v16_set(float a)
{
    return (v16){ _mm256_set1_ps(a), _mm256_set1_ps(a) };
}

static inline v16 v16_load(const float *from)
{
    return (v16){ _mm256_loadu_ps(from), _mm256_loadu_ps(from + 8) };
}

static inline void v16_store(float *to, v16 a)
{
    _mm256_storeu_ps(to, a.low);
    _mm256_storeu_ps(to + 8, a.high);
}

static inline v16 v16_load_part(const float *from, size_t n)
{
    float lanes[16] = { 0 };
    memcpy(lanes, from, n * sizeof *from); /* NOLINT: `from` is not NULL, n is not 0 */
    return v16_load(lanes);
}

static inline void v16_store_part(float *to, v16 a, size_t n)
{
    float lanes[16];
    v16_store(lanes, a);
    memcpy(to, lanes, n * sizeof *to);
}

static inline v16 v16_load_int8(const int8_t *from)
{
    return (v16){
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from))),
        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(from + 8)))),
    };
}

static inline v16 v16_load_half(const uint16_t *from)
{
    return (v16){ _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + 8))) };
}

static inline void v16_store_half(uint16_t *to, v16 a)
{
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(to + 8), _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT));
}

static inline v16 v16_add(v16 a, v16 b)
{
    return (v16){ _mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high) };
}

static inline v16 v16_sub(v16 a, v16 b)
{
    return (v16){ _mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high) };
}

static inline v16 v16_mul(v16 a, v16 b)
{
    return (v16){ _mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high) };
}

static inline v16 v16_div(v16 a, v16 b)
{
    return (v16){ _mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high) };
}

/* a * b + c */
static inline v16 v16_fma(v16 a, v16 b, v16 c)
{
    return (v16){ _mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high) };
}

/* b where a is NaN */
static inline v16 v16_max(v16 a, v16 b)
{
    return (v16){ _mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high) };
}

static inline v16 v16_min(v16 a, v16 b)
{
    return (v16){ _mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high) };
}

static inline v16 v16_round(v16 a)
{
    enum { MODE = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    return (v16){ _mm256_round_ps(a.low, MODE), _mm256_round_ps(a.high, MODE) };
}

/* 2^n and below it 2^(n/2) are normal numbers, so the two products round once, at the end. */
static inline __m256 v16_scale_part(__m256 a, __m256 n)
{
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i first = _mm256_srai_epi32(whole, 1);
    __m256i second = _mm256_sub_epi32(whole, first);
    __m256i bias = _mm256_set1_epi32(127);
    __m256 first_power = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(first, bias), 23));
    __m256 second_power =
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(second, bias), 23));
    return _mm256_mul_ps(_mm256_mul_ps(a, first_power), second_power);
}

/* a * 2^n for whole n, |n| <= 250 */
static inline v16 v16_scale(v16 a, v16 n)
{
    return (v16){ v16_scale_part(a.low, n.low), v16_scale_part(a.high, n.high) };
}

/* a in lanes [begin, end), `other` elsewhere */
static inline v16 v16_keep(v16 a, int begin, int end, float other)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i before = _mm256_set1_epi32(begin);
    __m256i limit = _mm256_set1_epi32(end);
    __m256i high_lane = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    __m256i low_mask =
        _mm256_andnot_si256(_mm256_cmpgt_epi32(before, lane), _mm256_cmpgt_epi32(limit, lane));
    __m256i high_mask = _mm256_andnot_si256(_mm256_cmpgt_epi32(before, high_lane),
                                            _mm256_cmpgt_epi32(limit, high_lane));
    __m256 others = _mm256_set1_ps(other);
    return (v16){ _mm256_blendv_ps(others, a.low, _mm256_castsi256_ps(low_mask)),
                  _mm256_blendv_ps(others, a.high, _mm256_castsi256_ps(high_mask)) };
}

/* Bit i is set where a[i] >= b[i]; a NaN is not. */
static inline uint32_t v16_at_least(v16 a, v16 b)
{
    uint32_t low = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.low, b.low, _CMP_GE_OQ));
    uint32_t high = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(a.high, b.high, _CMP_GE_OQ));
    return low | high << 8;
}

/* a where it is at least `limit`, 0 elsewhere */
static inline v16 v16_keep_at_least(v16 a, v16 limit)
{
    return (v16){ _mm256_and_ps(a.low, _mm256_cmp_ps(a.low, limit.low, _CMP_GE_OQ)),
                  _mm256_and_ps(a.high, _mm256_cmp_ps(a.high, limit.high, _CMP_GE_OQ)) };
}

/* Sixteen running sums in float64. */
typedef struct {
    __m256d part[4];
} v16_wide;

static inline v16_wide v16_wide_add(v16_wide sums, v16 a)
{
    __m128 quarters[4] = { _mm256_castps256_ps128(a.low), _mm256_extractf128_ps(a.low, 1),
                           _mm256_castps256_ps128(a.high), _mm256_extractf128_ps(a.high, 1) };
    for (int i = 0; i < 4; i++) {
        sums.part[i] = _mm256_add_pd(sums.part[i], _mm256_cvtps_pd(quarters[i]));
    }
    return sums;
}

static inline float v16_sum(v16 a)
{
    __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline float v16_highest(v16 a)
{
    __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#endif
