/* Twins of the PTX wrappers in kernels/cuda/device.h: same names, same fragments.
 */
#ifndef CM_TESTS_CUDA_EMULATION_DEVICE_PTX_H
#define CM_TESTS_CUDA_EMULATION_DEVICE_PTX_H

/* --- Functions --- */

inline float cm_exp2(float x)
{
    float power = exp2f(x);
    return power < 0x1p-126f ? 0.0f : power;
}

/* --- Tensor cores --- */

inline void cm_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                 EMU_SITE)
{
    emu::mma(emu::MmaType::bf16, d, a, b, site);
}

inline void cm_mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                EMU_SITE)
{
    emu::mma(emu::MmaType::f16, d, a, b, site);
}

inline void cm_mma_m16n8k32_e4m3(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                 EMU_SITE)
{
    emu::mma(emu::MmaType::e4m3, d, a, b, site);
}

inline void cm_mma_m16n8k32_s8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                               EMU_SITE)
{
    emu::mma(emu::MmaType::s8, d, a, b, site);
}

namespace emu
{

inline void check_aligned_16(const void *address, const char *what, Site site)
{
    if (((uintptr_t)address & 15) != 0) {
        fail(what, site);
    }
}

/* Each lane reads its row itself, so that the sanitizers see the read. */
inline void load_matrices(uint32_t *registers, unsigned count, bool transposed, const void *address,
                          Site site)
{
    uint4 row = { 0, 0, 0, 0 };
    if (lane() < 8 * count) {
        check_aligned_16(address, "ldmatrix: the row is not 16-byte aligned", site);
        row = *static_cast<const uint4 *>(address);
    }
    spread_matrices(registers, count, transposed, &row, site);
}

} // namespace emu

inline void cm_ldmatrix_x4(uint32_t (&r)[4], const void *row, EMU_SITE)
{
    emu::load_matrices(r, 4, false, row, site);
}

inline void cm_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, EMU_SITE)
{
    emu::load_matrices(r, 4, true, row, site);
}

inline void cm_ldmatrix_x2(uint32_t (&r)[2], const void *row, EMU_SITE)
{
    emu::load_matrices(r, 2, false, row, site);
}

inline void cm_ldmatrix_x2_trans(uint32_t (&r)[2], const void *row, EMU_SITE)
{
    emu::load_matrices(r, 2, true, row, site);
}

/* --- cp.async: lands at the wait that asks for it, or, by the seed, at once --- */

namespace emu
{

inline void land(const AsyncCopy &copy)
{
    const uint4 zeros = { 0, 0, 0, 0 };
    *static_cast<uint4 *>(copy.shared) =
        copy.global ? *static_cast<const uint4 *>(copy.global) : zeros;
}

inline void land_all_but(size_t groups_left)
{
    AsyncCopies &copies = async_copies();
    while (copies.groups.size() > groups_left) {
        for (const AsyncCopy &copy : copies.groups.front()) {
            land(copy);
        }
        copies.groups.erase(copies.groups.begin());
    }
}

} // namespace emu

inline void cm_cp_async_16(void *shared, const void *global, bool valid, EMU_SITE)
{
    emu::check_aligned_16(shared, "cp.async: the destination is not 16-byte aligned", site);
    emu::check_aligned_16(global, "cp.async: the source is not 16-byte aligned", site);
    emu::AsyncCopy copy = { shared, valid ? global : nullptr };
    if (emu::coin()) {
        emu::land(copy);
        return;
    }
    /* Read and write now, so that the sanitizers check both addresses at the line that gave them,
     * and leave NaN behind: until the wait, the destination holds nothing. */
    emu::land(copy);
    asm volatile("" ::: "memory"); /* or the compiler drops the copy that is overwritten */
    const uint4 nan = { ~0u, ~0u, ~0u, ~0u };
    *static_cast<uint4 *>(shared) = nan;
    emu::async_copies().open.push_back(copy);
}

inline void cm_cp_async_commit()
{
    emu::AsyncCopies &copies = emu::async_copies();
    copies.groups.push_back(std::move(copies.open));
    copies.open.clear();
}

template <int N> inline void cm_cp_async_wait()
{
    emu::land_all_but(N);
}

/* --- Named barriers --- */

inline void cm_bar_sync(int id, int threads, EMU_SITE)
{
    emu::barrier(id, threads, emu::Vote::none, false, site);
}

#endif
