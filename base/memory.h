/* Allocation. Every allocation of the program goes through here, so that a test can make the Nth
 * one fail (`cm_memory_fail_at`). All functions return NULL on failure or overflow, never abort;
 * free takes NULL. Memory is zeroed unless the name says otherwise. Thread-safe. */
#ifndef CM_BASE_MEMORY_H
#define CM_BASE_MEMORY_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { CM_CACHE_LINE_BYTES = 64 };

/* `count` elements of `element_bytes`, zeroed. A count of zero gives a valid pointer to nothing. */
void *cm_alloc(size_t count, size_t element_bytes) CM_MUST_CHECK;

/* As cm_alloc, aligned to CM_CACHE_LINE_BYTES; release with cm_free. */
void *cm_alloc_aligned(size_t count, size_t element_bytes) CM_MUST_CHECK;

/* Grows or shrinks; new bytes are not zeroed. On failure the old block stays valid. */
void *cm_realloc(void *block, size_t count, size_t element_bytes) CM_MUST_CHECK;

char *cm_strdup(const char *text) CM_MUST_CHECK;
char *cm_strndup(const char *text, size_t length) CM_MUST_CHECK;

void cm_free(void *block);

/* Large memory that costs nothing until it is touched (mmap, zeroed, huge pages where the system
 * has them); release with cm_unmap and the same size. Counts as an allocation. */
void *cm_map(size_t bytes) CM_MUST_CHECK;
void cm_unmap(void *block, size_t bytes);

/* What this process holds in memory now, the pages of its files too; 0 where the system does not
 * say. */
uint64_t cm_memory_resident_bytes(void);

/* Makes the nth allocation from now (1 = the next) fail, once; 0 switches it off. For tests. */
void cm_memory_fail_at(uint64_t nth);

/* Allocations counted since the start of the process. */
uint64_t cm_memory_allocations(void);

/* Ensures room for `needed` elements in a growing array; doubles. Returns CM_OUT_OF_MEMORY. */
enum cm_status cm_grow(void **block, size_t *capacity, size_t needed,
                       size_t element_bytes) CM_MUST_CHECK;

#endif
