/* What the device half of the emulation (device/, compiled into every .cu file) asks of the runtime
 * half (the .cpp files). Threads of a block are fibers of one host thread; blocks run one after the
 * other; operations of a warp meet when every live lane of their mask has arrived.
 *
 * The runtime half is never instrumented by ThreadSanitizer, so whatever a kernel does to memory
 * must be done by code in device/, which is.
 */
#ifndef CM_TESTS_CUDA_EMULATION_EMULATOR_H
#define CM_TESTS_CUDA_EMULATION_EMULATOR_H

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace emu
{

/* Where a kernel called an operation. As the last default argument of a wrapper, EMU_SITE is the
 * caller's line. */
struct Site {
    const char *file;
    int line;
};
constexpr Site here(const char *file = __builtin_FILE(), int line = __builtin_LINE())
{
    return { file, line };
}
#define EMU_SITE emu::Site site = emu::here()

/* Prints what is wrong with the kernel, where, and in which thread, and aborts. */
[[noreturn]] void fail(const char *what, Site site);

/* --- The running thread --- */

unsigned lane();
unsigned char *dynamic_shared();
bool coin(); /* a choice the hardware is free to make; always false with seed 0 */

/* cp.async of the running thread: copies that have been issued and not yet waited for. */
struct AsyncCopy {
    void *shared;
    const void *global; /* NULL: zeros */
};
struct AsyncCopies {
    std::vector<AsyncCopy> open;                /* issued since the last commit */
    std::vector<std::vector<AsyncCopy>> groups; /* committed, oldest first */
};
AsyncCopies &async_copies();

/* --- Barriers --- */

enum class Vote { none, count, all, any };

/* Waits for all live threads of the block (threads = 0) or for `threads` of them at barrier `id`.
 * Returns the vote over their predicates. */
int barrier(int id, int threads, Vote vote, bool predicate, Site site);

/* --- Warp operations: `mask` as in CUDA; lanes that have ended do not count --- */

void sync_warp(unsigned mask, Site site); /* the only one that orders memory */
uint64_t shuffle(unsigned mask, uint64_t bits, unsigned source_lane, Site site);
unsigned ballot(unsigned mask, bool predicate, Site site);
unsigned match_any(unsigned mask, uint64_t bits, Site site);
unsigned match_all(unsigned mask, uint64_t bits, int *all_equal, Site site);

enum class Reduction { add, min, max, and_, or_, xor_ };
unsigned reduce(unsigned mask, unsigned value, Reduction reduction, bool is_signed, Site site);

/* ldmatrix: every lane brings the 16 bytes at its address and takes its part of the 8x8 matrices
 * that they make up. */
void spread_matrices(uint32_t *registers, unsigned matrices_count, bool transposed, const void *row,
                     Site site);

enum class MmaType { bf16, f16, e4m3, s8 };
/* d += a * b, fragments as the PTX manual lays them out; m16n8k16 for 16-bit types, else
 * m16n8k32. */
void mma(MmaType type, void *d, const uint32_t *a, const uint32_t *b, Site site);

/* --- Launching --- */

struct Launch {
    const char *kernel_name;
    const void *kernel;
    dim3 grid;
    dim3 block;
    size_t shared_bytes;
    std::function<void()> body; /* the kernel with its arguments bound */
};
cudaError_t enqueue_launch(cudaStream_t stream, Launch launch);

} // namespace emu

#endif
