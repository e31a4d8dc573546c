/* Open addressing with linear probing: no library here keeps a set in 16 bytes per entry. */
#include "jobs/duplicates.h"

#include "base/memory.h"

#include <string.h>

enum { PREFIX_BYTES = 12, SLOTS_FIRST = 1024 };

struct slot {
    uint8_t prefix[PREFIX_BYTES];
    uint32_t count; /* 0: free */
};

struct cm_duplicates {
    struct slot *slots;
    size_t slots_count; /* a power of two */
    size_t used_count;
};

enum cm_status cm_duplicates_open(struct cm_duplicates **duplicates)
{
    struct cm_duplicates *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->slots_count = SLOTS_FIRST;
    opened->slots = cm_alloc(SLOTS_FIRST, sizeof *opened->slots);
    if (opened->slots == NULL) {
        cm_free(opened);
        return CM_OUT_OF_MEMORY;
    }
    *duplicates = opened;
    return CM_OK;
}

void cm_duplicates_close(struct cm_duplicates *duplicates)
{
    if (duplicates != NULL) {
        cm_free(duplicates->slots);
        cm_free(duplicates);
    }
}

/* The slot that holds the prefix, or the free one where it belongs. */
static struct slot *find_slot(struct slot *slots, size_t slots_count, const uint8_t *prefix)
{
    uint64_t start;
    memcpy(&start, prefix, sizeof start);
    for (size_t i = (size_t)start & (slots_count - 1);; i = (i + 1) & (slots_count - 1)) {
        if (slots[i].count == 0 || memcmp(slots[i].prefix, prefix, PREFIX_BYTES) == 0) {
            return &slots[i];
        }
    }
}

static enum cm_status widen(struct cm_duplicates *duplicates)
{
    size_t slots_count = 2 * duplicates->slots_count;
    struct slot *slots = cm_alloc(slots_count, sizeof *slots);
    if (slots == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < duplicates->slots_count; i++) {
        const struct slot *from = &duplicates->slots[i];
        if (from->count > 0) {
            *find_slot(slots, slots_count, from->prefix) = *from;
        }
    }
    cm_free(duplicates->slots);
    duplicates->slots = slots;
    duplicates->slots_count = slots_count;
    return CM_OK;
}

enum cm_status cm_duplicates_count(struct cm_duplicates *duplicates,
                                   const struct cm_content_digest *digest, uint32_t *nth)
{
    if (4 * (duplicates->used_count + 1) > 3 * duplicates->slots_count &&
        widen(duplicates) != CM_OK) {
        return CM_OUT_OF_MEMORY;
    }
    struct slot *slot = find_slot(duplicates->slots, duplicates->slots_count, digest->bytes);
    if (slot->count == 0) {
        memcpy(slot->prefix, digest->bytes, PREFIX_BYTES);
        duplicates->used_count++;
    }
    *nth = slot->count++;
    return CM_OK;
}
