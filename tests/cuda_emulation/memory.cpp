#include "memory.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace emu
{

PinnedMemory pinned_memory;

static const size_t alignment_bytes = 256, red_zone_bytes = 1024, page_bytes = 4096;

/* Room that an allocation takes up: itself, then at least a red zone. */
static size_t room_for(size_t bytes)
{
    return (bytes + red_zone_bytes + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
}

Memory::~Memory()
{
    if (base_) {
        ASAN_UNPOISON_MEMORY_REGION(base_, top_ - base_);
        munmap(base_, range_bytes_);
    }
}

/* The range is larger than the capacity, so that red zones and gaps cost nothing. */
void Memory::reserve(size_t capacity_bytes)
{
    capacity_bytes_ = capacity_bytes;
    range_bytes_ = 2 * capacity_bytes + (64u << 20);
    void *range =
        mmap(nullptr, range_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) {
        perror("emulation: no address range for a device");
        abort();
    }
    base_ = top_ = static_cast<char *>(range);
}

void Memory::raise_top(char *top)
{
    if (top > top_) {
        size_t bytes = ((size_t)(top - top_) + page_bytes - 1) / page_bytes * page_bytes;
        mprotect(top_, bytes, PROT_READ | PROT_WRITE);
        memset(top_, 0xff, bytes);
        ASAN_POISON_MEMORY_REGION(top_, bytes);
        top_ += bytes;
        is_open_ = false;
        open();
    }
}

char *Memory::find_space(size_t bytes) const
{
    char *begin = base_ + red_zone_bytes;
    for (const auto &[address, size] : allocations_) {
        if ((size_t)(address - begin) >= room_for(bytes)) {
            return begin;
        }
        begin = address + room_for(size);
    }
    return begin + room_for(bytes) <= base_ + range_bytes_ ? begin : nullptr;
}

void *Memory::allocate(size_t bytes)
{
    if (bytes == 0 || bytes > capacity_bytes_ - used_bytes_) {
        return nullptr;
    }
    char *address = find_space(bytes);
    if (!address) {
        return nullptr;
    }
    allocations_[address] = bytes;
    used_bytes_ += bytes;
    raise_top(address + room_for(bytes));
    ASAN_UNPOISON_MEMORY_REGION(address, bytes);
    open();
    memset(address, 0xff, bytes);
    return address;
}

bool Memory::release(void *address)
{
    auto found = allocations_.find(static_cast<char *>(address));
    if (found == allocations_.end()) {
        return false;
    }
    open();
    memset(address, 0xff, found->second);
    ASAN_POISON_MEMORY_REGION(address, found->second);
    used_bytes_ -= found->second;
    allocations_.erase(found);
    return true;
}

bool Memory::holds(const void *address) const
{
    return address >= base_ && address < base_ + range_bytes_;
}

bool Memory::holds(const void *address, size_t bytes) const
{
    char *begin = static_cast<char *>(const_cast<void *>(address));
    auto after = allocations_.upper_bound(begin);
    if (after == allocations_.begin()) {
        return false;
    }
    auto [start, size] = *--after;
    size_t offset = (size_t)(begin - start);
    return offset <= size && bytes <= size - offset;
}

void Memory::open()
{
    if (!is_open_) {
        mprotect(base_, (size_t)(top_ - base_), PROT_READ | PROT_WRITE);
        is_open_ = true;
    }
}

void Memory::close()
{
    if (is_open_) {
        mprotect(base_, (size_t)(top_ - base_), PROT_NONE);
        is_open_ = false;
    }
}

/* --- Page-locked memory --- */

void *PinnedMemory::allocate(size_t bytes)
{
    void *address = nullptr;
    if (posix_memalign(&address, 4096, bytes ? bytes : 1) != 0) {
        return nullptr;
    }
    memset(address, 0xff, bytes);
    ranges_[static_cast<char *>(address)] = { bytes, true };
    return address;
}

bool PinnedMemory::release(void *address)
{
    auto found = ranges_.find(static_cast<char *>(address));
    if (found == ranges_.end() || !found->second.is_own) {
        return false;
    }
    ranges_.erase(found);
    free(address);
    return true;
}

bool PinnedMemory::add(void *address, size_t bytes)
{
    return bytes > 0 && ranges_.insert({ static_cast<char *>(address), { bytes, false } }).second;
}

bool PinnedMemory::remove(void *address)
{
    auto found = ranges_.find(static_cast<char *>(address));
    if (found == ranges_.end() || found->second.is_own) {
        return false;
    }
    ranges_.erase(found);
    return true;
}

bool PinnedMemory::holds(const void *address) const
{
    char *begin = static_cast<char *>(const_cast<void *>(address));
    auto after = ranges_.upper_bound(begin);
    return after != ranges_.begin() && begin < (--after)->first + after->second.bytes;
}

} // namespace emu
