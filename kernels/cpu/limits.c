/* What the processor can do at best, measured with the back end's own threads: the denominator of
 * every "share of the limit".
 *
 * Arithmetic: many independent accumulators per thread, so that only the throughput of the units
 * counts, with the widest instruction that the processor has for the type. Bandwidth: all threads
 * read a buffer many times larger than the caches. Each figure is the best of a few short rounds,
 * since a disturbed round says nothing about the limit.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"

#include <immintrin.h>

enum {
    ROUNDS_COUNT = 5,
    ITERATIONS = 1 << 20,
    ACCUMULATORS = 12,     /* of the sixteen registers before AVX-512 */
    ACCUMULATORS_512 = 24, /* of thirty-two */
    READ_BUFFER_BYTES = 256 << 20,
};

/* Results end up here, so that the compiler cannot leave the work out. */
static _Thread_local volatile float sink;

/* All start from zero; the compiler must not find out and compute one for all. */
#define KEEP_APART(accumulator) __asm__ volatile("" : "+v"(accumulator))

typedef void (*burst_function)(void);

/* --- One burst per instruction --- */

__attribute__((target("avx512f,avx512vnni"))) static void burst_int8_avx512(void)
{
    __m512i sums[ACCUMULATORS_512];
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sums[j] = _mm512_setzero_si512();
        KEEP_APART(sums[j]);
    }
    const __m512i ones = _mm512_set1_epi8(1);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 24
        for (int j = 0; j < ACCUMULATORS_512; j++) {
            /* GCC 12 spills the accumulators of the intrinsic to the stack. */
            __asm__("vpdpbusd %1, %1, %0" : "+v"(sums[j]) : "v"(ones));
        }
    }
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sink += (float)_mm512_reduce_add_epi32(sums[j]);
    }
}

__attribute__((target("avx512f,avx512bf16"))) static void burst_bf16_avx512(void)
{
    __m512 sums[ACCUMULATORS_512];
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sums[j] = _mm512_setzero_ps();
        KEEP_APART(sums[j]);
    }
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3f80);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 24
        for (int j = 0; j < ACCUMULATORS_512; j++) {
            sums[j] = _mm512_dpbf16_ps(sums[j], ones, ones);
        }
    }
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sink += _mm512_reduce_add_ps(sums[j]);
    }
}

__attribute__((target("avx512f"))) static void burst_fp32_avx512(void)
{
    __m512 sums[ACCUMULATORS_512];
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sums[j] = _mm512_setzero_ps();
        KEEP_APART(sums[j]);
    }
    const __m512 ones = _mm512_set1_ps(1.0f);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 24
        for (int j = 0; j < ACCUMULATORS_512; j++) {
            sums[j] = _mm512_fmadd_ps(ones, ones, sums[j]);
        }
    }
#pragma GCC unroll 24
    for (int j = 0; j < ACCUMULATORS_512; j++) {
        sink += _mm512_reduce_add_ps(sums[j]);
    }
}

__attribute__((target("avx2,fma"))) static void burst_fp32_avx2(void)
{
    __m256 sums[ACCUMULATORS];
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sums[j] = _mm256_setzero_ps();
        KEEP_APART(sums[j]);
    }
    const __m256 ones = _mm256_set1_ps(1.0f);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < ACCUMULATORS; j++) {
            sums[j] = _mm256_fmadd_ps(ones, ones, sums[j]);
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sink += _mm256_cvtss_f32(sums[j]);
    }
}

__attribute__((target("avx2,avxvnni"))) static void burst_int8_avxvnni(void)
{
    __m256i sums[ACCUMULATORS];
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sums[j] = _mm256_setzero_si256();
        KEEP_APART(sums[j]);
    }
    const __m256i ones = _mm256_set1_epi8(1);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < ACCUMULATORS; j++) {
            sums[j] = _mm256_dpbusd_avx_epi32(sums[j], ones, ones);
        }
    }
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sink += (float)_mm256_extract_epi32(sums[j], 0);
    }
}

/* Without VNNI a product of bytes takes three instructions. */
__attribute__((target("avx2"))) static void burst_int8_avx2(void)
{
    __m256i sums[ACCUMULATORS];
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sums[j] = _mm256_setzero_si256();
        KEEP_APART(sums[j]);
    }
    __m256i bytes = _mm256_set1_epi8(1);
    const __m256i shorts = _mm256_set1_epi16(1);
    for (int i = 0; i < ITERATIONS; i++) {
#pragma GCC unroll 12
        for (int j = 0; j < ACCUMULATORS; j++) {
            __m256i pairs = _mm256_maddubs_epi16(bytes, bytes);
            sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(pairs, shorts));
        }
        __asm__ volatile(""
                         : "+x"(bytes)); /* the products are not the same twice, for all it knows */
    }
#pragma GCC unroll 12
    for (int j = 0; j < ACCUMULATORS; j++) {
        sink += (float)_mm256_extract_epi32(sums[j], 0);
    }
}

static void burst_fp32_portable(void)
{
    float sums[4 * ACCUMULATORS] = { 0 };
    float one = 1.0f;
    for (int i = 0; i < ITERATIONS; i++) {
        for (int j = 0; j < 4 * ACCUMULATORS; j++) {
            sums[j] = sums[j] + one * one;
        }
        __asm__ volatile("" : "+x"(one));
    }
    for (int j = 0; j < 4 * ACCUMULATORS; j++) {
        sink += sums[j];
    }
}

/* --- Measuring --- */

static void run_burst(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)thread_index;
    (void)threads_count;
    (*(const burst_function *)context)();
}

/* Billions of operations a second over all threads; a multiply and an add count as two. */
static double measure_burst(struct cm_backend *backend, burst_function burst,
                            double operations_per_burst)
{
    double best_s = 1e9;
    for (int round = 0; round < ROUNDS_COUNT; round++) {
        double start_s = cm_clock_s();
        cm_pool_run(backend->pool, run_burst, &burst);
        double seconds = cm_clock_s() - start_s;
        best_s = seconds < best_s ? seconds : best_s;
    }
    return operations_per_burst * cm_pool_threads(backend->pool) / best_s * 1e-9;
}

struct reading {
    const uint64_t *words;
    uint32_t lines_count; /* of eight words */
};

static void read_share(void *context, uint32_t thread_index, uint32_t threads_count)
{
    const struct reading *reading = context;
    struct cm_pool_range lines = cm_pool_share(reading->lines_count, thread_index, threads_count);
    uint64_t sums[8] = { 0 };
    for (uint32_t line = lines.begin; line < lines.end; line++) {
        for (int i = 0; i < 8; i++) {
            sums[i] += reading->words[(size_t)line * 8 + (size_t)i];
        }
    }
    for (int i = 0; i < 8; i++) {
        sink += (float)sums[i];
    }
}

/* 0 where there is no memory for the buffer. */
static double measure_bandwidth_gbs(struct cm_backend *backend)
{
    uint64_t *words = cm_alloc_aligned(READ_BUFFER_BYTES, 1);
    if (words == NULL) {
        return 0.0;
    }
    struct reading reading = { words, READ_BUFFER_BYTES / 64 };
    double best_s = 1e9;
    for (int round = 0; round < ROUNDS_COUNT; round++) {
        double start_s = cm_clock_s();
        cm_pool_run(backend->pool, read_share, &reading);
        double seconds = cm_clock_s() - start_s;
        best_s = seconds < best_s ? seconds : best_s;
    }
    cm_free(words);
    return READ_BUFFER_BYTES / best_s * 1e-9;
}

void cm_cpu_backend_measure_limits(struct cm_backend *backend, bool bandwidth,
                                   struct cm_machine_limits *limits)
{
    *limits = (struct cm_machine_limits){ 0 };
    enum cm_cpu_isa isa = cm_cpu_isa_best();
    const double narrow = (double)ITERATIONS * ACCUMULATORS;
    const double wide = (double)ITERATIONS * ACCUMULATORS_512;
    if (isa >= CM_CPU_AVX512VNNI) {
        limits->int8_gops = measure_burst(backend, burst_int8_avx512, 128 * wide);
        limits->fp32_gflops = measure_burst(backend, burst_fp32_avx512, 32 * wide);
    } else if (isa >= CM_CPU_AVX2) {
        burst_function dots = isa == CM_CPU_AVXVNNI ? burst_int8_avxvnni : burst_int8_avx2;
        limits->int8_gops = measure_burst(backend, dots, 64 * narrow);
        limits->fp32_gflops = measure_burst(backend, burst_fp32_avx2, 16 * narrow);
    } else {
        limits->fp32_gflops = measure_burst(backend, burst_fp32_portable, 8 * narrow);
    }
    if (isa >= CM_CPU_AVX512BF16) {
        limits->bf16_gflops = measure_burst(backend, burst_bf16_avx512, 64 * wide);
    }
    limits->bandwidth_gbs = bandwidth ? measure_bandwidth_gbs(backend) : 0;
}
