/* The emulated device as a kernel sees it: qualifiers, index variables, barriers, warp operations,
 * the launch. The build includes this file before every .cu file, as nvcc includes
 * cuda_runtime.h.
 */
#ifndef CM_TESTS_CUDA_EMULATION_DEVICE_DEVICE_H
#define CM_TESTS_CUDA_EMULATION_DEVICE_DEVICE_H

#define COPYMILL_CUDA_EMULATED 1

#include "emulator.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <vector_functions.h>

#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

/* All local statics of .cu files are shared arrays: shared.ld gathers them for the runtime, which
 * fills them with NaN before each block. */
#undef __shared__
#define __shared__ static
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

/* Variables, since structures of the real headers have fields of these names. */
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#define CM_DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(emu::dynamic_shared())

namespace emu
{

template <class T> inline uint64_t to_bits(T value)
{
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "at most 8 plain bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}

template <class T> inline T from_bits(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace emu

/* --- Barriers --- */

inline void __syncthreads(EMU_SITE)
{
    emu::barrier(0, 0, emu::Vote::none, false, site);
}

inline int __syncthreads_count(int predicate, EMU_SITE)
{
    return emu::barrier(0, 0, emu::Vote::count, predicate != 0, site);
}

inline int __syncthreads_and(int predicate, EMU_SITE)
{
    return emu::barrier(0, 0, emu::Vote::all, predicate != 0, site);
}

inline int __syncthreads_or(int predicate, EMU_SITE)
{
    return emu::barrier(0, 0, emu::Vote::any, predicate != 0, site);
}

inline void __syncwarp(unsigned mask = ~0u, EMU_SITE)
{
    emu::sync_warp(mask, site);
}

/* --- Shuffles: lanes form groups of `width`, and reading past a group yields the own value --- */

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_SITE)
{
    int lane = (int)emu::lane();
    int from = (lane & ~(width - 1)) | (source & (width - 1));
    return emu::from_bits<T>(emu::shuffle(mask, emu::to_bits(value), (unsigned)from, site));
}

template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, EMU_SITE)
{
    int lane = (int)emu::lane(), from = lane ^ lane_mask;
    from = from > (lane | (width - 1)) ? lane : from;
    return emu::from_bits<T>(emu::shuffle(mask, emu::to_bits(value), (unsigned)from, site));
}

template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    int lane = (int)emu::lane(), from = lane + (int)delta;
    from = from > (lane | (width - 1)) ? lane : from;
    return emu::from_bits<T>(emu::shuffle(mask, emu::to_bits(value), (unsigned)from, site));
}

template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, EMU_SITE)
{
    int lane = (int)emu::lane(), from = lane - (int)delta;
    from = from < (lane & ~(width - 1)) ? lane : from;
    return emu::from_bits<T>(emu::shuffle(mask, emu::to_bits(value), (unsigned)from, site));
}

/* --- Votes, matches, reductions --- */

inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_SITE)
{
    return emu::ballot(mask, predicate != 0, site);
}

inline int __any_sync(unsigned mask, int predicate, EMU_SITE)
{
    return emu::ballot(mask, predicate != 0, site) != 0;
}

inline int __all_sync(unsigned mask, int predicate, EMU_SITE)
{
    return emu::ballot(mask, predicate == 0, site) == 0;
}

template <class T> inline unsigned __match_any_sync(unsigned mask, T value, EMU_SITE)
{
    return emu::match_any(mask, emu::to_bits(value), site);
}

template <class T> inline unsigned __match_all_sync(unsigned mask, T value, int *all, EMU_SITE)
{
    return emu::match_all(mask, emu::to_bits(value), all, site);
}

template <class T> inline T __reduce_add_sync(unsigned mask, T value, EMU_SITE)
{
    return (T)emu::reduce(mask, (unsigned)value, emu::Reduction::add, std::is_signed_v<T>, site);
}

template <class T> inline T __reduce_min_sync(unsigned mask, T value, EMU_SITE)
{
    return (T)emu::reduce(mask, (unsigned)value, emu::Reduction::min, std::is_signed_v<T>, site);
}

template <class T> inline T __reduce_max_sync(unsigned mask, T value, EMU_SITE)
{
    return (T)emu::reduce(mask, (unsigned)value, emu::Reduction::max, std::is_signed_v<T>, site);
}

inline unsigned __reduce_and_sync(unsigned mask, unsigned value, EMU_SITE)
{
    return emu::reduce(mask, value, emu::Reduction::and_, false, site);
}

inline unsigned __reduce_or_sync(unsigned mask, unsigned value, EMU_SITE)
{
    return emu::reduce(mask, value, emu::Reduction::or_, false, site);
}

inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, EMU_SITE)
{
    return emu::reduce(mask, value, emu::Reduction::xor_, false, site);
}

#include "device/intrinsics.h"
#include "device/ptx.h"

/* --- Launching --- */

#define CM_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    emu::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

namespace emu
{

template <class... Parameters, class... Arguments>
cudaError_t launch(const char *name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                   size_t shared_bytes, cudaStream_t stream, Arguments &&...arguments)
{
    std::tuple<std::decay_t<Parameters>...> bound(std::forward<Arguments>(arguments)...);
    auto body = [kernel, bound] {
        std::apply(kernel, bound);
        land_all_but(0);
    };
    return enqueue_launch(
        stream, { name, reinterpret_cast<const void *>(kernel), grid, block, shared_bytes, body });
}

} // namespace emu

#endif
