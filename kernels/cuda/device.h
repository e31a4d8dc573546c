/* What every kernel file includes: the launch and shared-memory macros, and all inline PTX.
 *
 * Each wrapper has a twin with the same name and meaning in tests/cuda_emulation, which is compiled
 * in its place on the emulated device; there the whole real half below is left out. Fragments of
 * matrices are those of the PTX ISA, section "Warp-level matrix instructions". */
#ifndef CM_KERNELS_CUDA_DEVICE_H
#define CM_KERNELS_CUDA_DEVICE_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifndef COPYMILL_CUDA_EMULATED

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/* The error that the launch left; a kernel with commas in its name goes in parentheses. */
/* clang-format off */
#define CM_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    ((kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__), cudaGetLastError())
/* clang-format on */

/* The block's dynamic shared memory, once in a kernel. */
#define CM_DYNAMIC_SHARED(type, name)                            \
    extern __shared__ __align__(128) unsigned char cm_dynamic[]; \
    type *name = reinterpret_cast<type *>(cm_dynamic)

/* --- Matrix multiply: d += a b, one 16 x 8 tile of a warp --- */

#define CM_MMA_HALF(name, type)                                                           \
    static __device__ __forceinline__ void name(float(&d)[4], const uint32_t(&a)[4],      \
                                                const uint32_t(&b)[2])                    \
    {                                                                                     \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "       \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"              \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                     \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1])); \
    }
CM_MMA_HALF(cm_mma_m16n8k16_bf16, "bf16")
CM_MMA_HALF(cm_mma_m16n8k16_f16, "f16")
#undef CM_MMA_HALF

/* --- Tiles of 8 x 8 two-byte elements out of shared memory; `row` is the lane's row address --- */

#define CM_LDMATRIX_X4(name, transposed)                                                           \
    static __device__ __forceinline__ void name(uint32_t(&r)[4], const void *row)                  \
    {                                                                                              \
        uint32_t address = (uint32_t)__cvta_generic_to_shared(row);                                \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" transposed ".shared.b16 {%0,%1,%2,%3}, [%4];" \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                              \
                     : "r"(address)                                                                \
                     : "memory");                                                                  \
    }
CM_LDMATRIX_X4(cm_ldmatrix_x4, "")
CM_LDMATRIX_X4(cm_ldmatrix_x4_trans, ".trans")
#undef CM_LDMATRIX_X4

/* --- Copies from global to shared memory that go on while the thread computes --- */

/* 16 bytes, both sides aligned to 16; zeros where not `valid`. */
static __device__ __forceinline__ void cm_cp_async_16(void *shared, const void *global, bool valid)
{
    uint32_t address = (uint32_t)__cvta_generic_to_shared(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global),
                 "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void cm_cp_async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most N of this thread's groups are on their way. */
template <int N> static __device__ __forceinline__ void cm_cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* --- Functions --- */

/* 2^x to a few units in the last place; 0 under 2^-126. exp2f spends half its instructions there.
 */
static __device__ __forceinline__ float cm_exp2(float x)
{
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

#endif

/* --- Sums and maxima in a fixed order --- */

/* Every lane gets the sum; the tree is the same for each, so they agree bit for bit. */
static __device__ __forceinline__ float cm_warp_sum(float value)
{
    for (int offset = 16; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, offset);
    }
    return value;
}

/* The sum over the block, in every thread; `partial` is shared memory, a value for each warp, that
 * nobody else uses until the next barrier. The block is a whole number of warps. */
static __device__ __forceinline__ float cm_block_sum(float value, float *partial)
{
    unsigned warp = threadIdx.x / 32;
    value = cm_warp_sum(value);
    __syncthreads(); /* partial may still be read from the sum before */
    if (threadIdx.x % 32 == 0) {
        partial[warp] = value;
    }
    __syncthreads();
    float sum = 0.0f;
    for (unsigned i = 0; i < blockDim.x / 32; i++) {
        sum += partial[i];
    }
    return sum;
}

/* --- Rows, four neighbours at a time --- */

/* Whether rows of n elements from here on all begin at a multiple of 16 bytes. */
static __device__ __forceinline__ bool cm_is_aligned(const void *rows, uint32_t n)
{
    return rows == NULL || (n % 4 == 0 && (uintptr_t)rows % 16 == 0);
}

/* Elements i to i + 3 of a row of n, i < n; those behind its end are 0. */
static __device__ __forceinline__ float4 cm_load_quad(const float *row, uint32_t i, uint32_t n,
                                                      bool aligned)
{
    if (aligned) {
        return *reinterpret_cast<const float4 *>(row + i);
    }
    return make_float4(row[i], i + 1 < n ? row[i + 1] : 0.0f, i + 2 < n ? row[i + 2] : 0.0f,
                       i + 3 < n ? row[i + 3] : 0.0f);
}

static __device__ __forceinline__ void cm_store_quad(float *row, uint32_t i, uint32_t n,
                                                     bool aligned, float4 quad)
{
    if (aligned) {
        *reinterpret_cast<float4 *>(row + i) = quad;
        return;
    }
    const float values[4] = { quad.x, quad.y, quad.z, quad.w };
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
        if (i + j < n) {
            row[i + j] = values[j];
        }
    }
}

#endif
