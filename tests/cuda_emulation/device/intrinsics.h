/* Single-thread built-ins of CUDA C++: atomics, cache-hinted loads, bits, floats.
 */
#ifndef CM_TESTS_CUDA_EMULATION_DEVICE_INTRINSICS_H
#define CM_TESTS_CUDA_EMULATION_DEVICE_INTRINSICS_H

#include <cassert>
#include <climits>
#include <cstdio>

/* --- Atomics. Relaxed, as on the device: they order nothing --- */

namespace emu
{

template <class T, class F> inline T atomic_update(T *address, F update)
{
    T seen, wanted;
    __atomic_load(address, &seen, __ATOMIC_RELAXED);
    do {
        wanted = update(seen);
    } while (!__atomic_compare_exchange(address, &seen, &wanted, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    return seen;
}

void fence(); /* everything a thread did before its fence is seen after a later one */

} // namespace emu

template <class T> inline T atomicAdd(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return (T)(seen + value); });
}

template <class T> inline T atomicSub(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return (T)(seen - value); });
}

template <class T> inline T atomicMax(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return value > seen ? value : seen; });
}

template <class T> inline T atomicMin(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return value < seen ? value : seen; });
}

template <class T> inline T atomicOr(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return (T)(seen | value); });
}

template <class T> inline T atomicAnd(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T seen) { return (T)(seen & value); });
}

template <class T> inline T atomicExch(T *address, std::common_type_t<T> value)
{
    return emu::atomic_update(address, [value](T) { return value; });
}

template <class T>
inline T atomicCAS(T *address, std::common_type_t<T> expected, std::common_type_t<T> value)
{
    T seen = expected;
    __atomic_compare_exchange(address, &seen, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return seen;
}

inline unsigned atomicInc(unsigned *address, unsigned limit)
{
    return emu::atomic_update(address,
                              [limit](unsigned seen) { return seen >= limit ? 0 : seen + 1; });
}

inline void __threadfence()
{
    emu::fence();
}

inline void __threadfence_block()
{
    emu::fence();
}

/* --- Loads and stores with a cache hint --- */

template <class T> inline T __ldg(const T *address)
{
    return *address;
}

template <class T> inline T __ldcs(const T *address)
{
    return *address;
}

template <class T> inline T __ldcg(const T *address)
{
    return *address;
}

template <class T> inline T __ldca(const T *address)
{
    return *address;
}

template <class T> inline void __stcs(T *address, T value)
{
    *address = value;
}

template <class T> inline void __stcg(T *address, T value)
{
    *address = value;
}

template <class T> inline void __stwt(T *address, T value)
{
    *address = value;
}

/* --- Bits and integers --- */

inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}

inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}

inline int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}

inline unsigned __brev(unsigned x)
{
    unsigned reversed = 0;
    for (int i = 0; i < 32; i++) {
        reversed |= (x >> i & 1) << (31 - i);
    }
    return reversed;
}

inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    uint64_t bytes = (uint64_t)high << 32 | low;
    unsigned picked = 0;
    for (int i = 0; i < 4; i++) {
        picked |= (unsigned)(bytes >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    }
    return picked;
}

inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31));
}

inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) << (shift & 31) >> 32);
}

inline int __dp4a(int a, int b, int c)
{
    for (int i = 0; i < 4; i++) {
        c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
    }
    return c;
}

/* --- Floats: the correctly rounded ones exactly, the approximate ones by the C library --- */

inline unsigned __float_as_uint(float x)
{
    return (unsigned)emu::to_bits(x);
}

inline int __float_as_int(float x)
{
    return (int)emu::to_bits(x);
}

inline float __uint_as_float(unsigned x)
{
    return emu::from_bits<float>(x);
}

inline float __int_as_float(int x)
{
    return emu::from_bits<float>((unsigned)x);
}

inline float __fadd_rn(float a, float b)
{
    return a + b;
}

inline float __fsub_rn(float a, float b)
{
    return a - b;
}

inline float __fmul_rn(float a, float b)
{
    return a * b;
}

inline float __fdiv_rn(float a, float b)
{
    return a / b;
}

inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}

inline float __frcp_rn(float x)
{
    return 1.0f / x;
}

inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}

inline float __fdividef(float a, float b)
{
    return a / b;
}

inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; /* NaN becomes 0, as on the device */
}

inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

inline int __float2int_rn(float x)
{
    return (int)nearbyintf(x);
}

inline int __float2int_rd(float x)
{
    return (int)floorf(x);
}

inline int __float2int_rz(float x)
{
    return (int)x;
}

inline float __int2float_rn(int x)
{
    return (float)x;
}

inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}

/* Macros, since the C library declares the names for itself. */
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

#define EMU_MIN_MAX(type)           \
    inline type min(type a, type b) \
    {                               \
        return b < a ? b : a;       \
    }                               \
    inline type max(type a, type b) \
    {                               \
        return a < b ? b : a;       \
    }
EMU_MIN_MAX(int)
EMU_MIN_MAX(unsigned)
EMU_MIN_MAX(long)
EMU_MIN_MAX(unsigned long)
EMU_MIN_MAX(long long)
EMU_MIN_MAX(unsigned long long)
#undef EMU_MIN_MAX

inline float min(float a, float b)
{
    return fminf(a, b);
}

inline float max(float a, float b)
{
    return fmaxf(a, b);
}

inline void __nanosleep(unsigned)
{
}

[[noreturn]] inline void __trap(EMU_SITE)
{
    emu::fail("__trap", site);
}

#endif
