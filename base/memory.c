#include "base/memory.h"

#include "base/checked.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* From this size on memory is asked for in huge pages: what is read or written in strides, such as
 * logits, otherwise waits for the page tables. */
enum { HUGE_PAGE_BYTES = 2 << 20, HUGE_ALLOCATION_BYTES = 2 * HUGE_PAGE_BYTES };

static atomic_ullong allocations_count;
static atomic_ullong fail_at;

static bool must_fail(void)
{
    unsigned long long number = atomic_fetch_add(&allocations_count, 1) + 1;
    unsigned long long target = atomic_load(&fail_at);
    return target != 0 && number == target;
}

/* The system may have none. */
static void wish_for_huge_pages(void *block, size_t bytes)
{
    (void)madvise(block, bytes, MADV_HUGEPAGE);
}

void *cm_alloc(size_t count, size_t element_bytes)
{
    size_t bytes;
    if (cm_size_mul(count, element_bytes, &bytes) || must_fail()) {
        return NULL;
    }
    return calloc(bytes > 0 ? bytes : 1, 1);
}

void *cm_alloc_aligned(size_t count, size_t element_bytes)
{
    size_t bytes;
    size_t padded;
    if (cm_size_mul(count, element_bytes, &bytes) ||
        cm_size_align(bytes > 0 ? bytes : 1, CM_CACHE_LINE_BYTES, &bytes)) {
        return NULL;
    }
    size_t alignment = bytes >= HUGE_ALLOCATION_BYTES ? HUGE_PAGE_BYTES : CM_CACHE_LINE_BYTES;
    if (cm_size_align(bytes, alignment, &padded) || must_fail()) {
        return NULL;
    }
    void *block = aligned_alloc(alignment, padded);
    if (block == NULL) {
        return NULL;
    }
    if (alignment == HUGE_PAGE_BYTES) {
        wish_for_huge_pages(block, padded);
    }
    memset(block, 0, bytes);
    return block;
}

void *cm_realloc(void *block, size_t count, size_t element_bytes)
{
    size_t bytes;
    if (cm_size_mul(count, element_bytes, &bytes) || must_fail()) {
        return NULL;
    }
    return realloc(block, bytes > 0 ? bytes : 1);
}

char *cm_strdup(const char *text)
{
    return cm_strndup(text, strlen(text));
}

char *cm_strndup(const char *text, size_t length)
{
    size_t bytes;
    if (cm_size_add(length, 1, &bytes)) {
        return NULL;
    }
    char *copy = cm_alloc(bytes, 1);
    if (copy != NULL && length > 0) {
        memcpy(copy, text, length);
    }
    return copy;
}

void cm_free(void *block)
{
    free(block);
}

void *cm_map(size_t bytes)
{
    if (bytes == 0 || must_fail()) {
        return NULL;
    }
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block == MAP_FAILED) {
        return NULL;
    }
    wish_for_huge_pages(block, bytes);
    return block;
}

void cm_unmap(void *block, size_t bytes)
{
    if (block != NULL) {
        CM_ASSERT(munmap(block, bytes) == 0);
    }
}

uint64_t cm_memory_resident_bytes(void)
{
    unsigned long long size_pages;
    unsigned long long resident_pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &size_pages, &resident_pages) != 2) {
            resident_pages = 0;
        }
        fclose(file);
    }
    return resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void cm_memory_fail_at(uint64_t nth)
{
    atomic_store(&fail_at, nth == 0 ? 0 : atomic_load(&allocations_count) + nth);
}

uint64_t cm_memory_allocations(void)
{
    return atomic_load(&allocations_count);
}

enum cm_status cm_grow(void **block, size_t *capacity, size_t needed, size_t element_bytes)
{
    if (needed <= *capacity) {
        return CM_OK;
    }
    size_t wanted = *capacity < 8 ? 8 : *capacity;
    while (wanted < needed) {
        if (cm_size_mul(wanted, 2, &wanted)) {
            return CM_OUT_OF_MEMORY;
        }
    }
    void *grown = cm_realloc(*block, wanted, element_bytes);
    if (grown == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    *block = grown;
    *capacity = wanted;
    return CM_OK;
}
