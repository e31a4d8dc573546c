/* The memory of one emulated device, and page-locked host memory.
 *
 * Fresh and freed memory is NaN. Allocations stand apart; AddressSanitizer sees all that is between
 * them and all that is freed. The memory can be closed: a host that follows a device pointer then
 * gets a segmentation fault.
 */
#ifndef CM_TESTS_CUDA_EMULATION_MEMORY_H
#define CM_TESTS_CUDA_EMULATION_MEMORY_H

#include <cstddef>
#include <map>

namespace emu
{

class Memory
{
  public:
    Memory() = default;
    ~Memory();
    Memory(const Memory &) = delete;

    void reserve(size_t capacity_bytes);
    void *allocate(size_t bytes);          /* NULL: full. Aligned to 256 bytes */
    bool release(void *address);           /* false: not the start of an allocation */
    bool holds(const void *address) const; /* any address in the range of the device */
    bool holds(const void *address, size_t bytes) const; /* all of it in one allocation */
    void open();
    void close();

    size_t capacity_bytes() const
    {
        return capacity_bytes_;
    }
    size_t used_bytes() const
    {
        return used_bytes_;
    }

  private:
    char *find_space(size_t bytes) const;
    void raise_top(char *top);

    char *base_ = nullptr;
    char *top_ = nullptr; /* end of what has ever been in use; never opened beyond it */
    size_t capacity_bytes_ = 0, range_bytes_ = 0, used_bytes_ = 0;
    bool is_open_ = false;
    std::map<char *, size_t> allocations_;
};

/* Page-locked ranges of host memory: allocated by the runtime or registered by the caller. */
class PinnedMemory
{
  public:
    void *allocate(size_t bytes);
    bool release(void *address);
    bool add(void *address, size_t bytes);
    bool remove(void *address);
    bool holds(const void *address) const;

  private:
    struct Range {
        size_t bytes;
        bool is_own;
    };
    std::map<char *, Range> ranges_;
};
extern PinnedMemory pinned_memory;

} // namespace emu

#endif
