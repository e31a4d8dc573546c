/* Open addressing with linear probing: no library here keeps a set in 16 bytes per entry. */
#include "base/digest_count.h"

#include "base/memory.h"

#include <string.h>

enum { SLOTS_FIRST = 1024 };

struct slot {
    uint8_t prefix[CM_DIGEST_COUNT_BYTES];
    uint32_t times; /* 0: free */
};

struct cm_digest_count {
    struct slot *slots;
    size_t slots_count; /* a power of two */
    size_t used_count;
};

enum cm_status cm_digest_count_open(struct cm_digest_count **count)
{
    struct cm_digest_count *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->slots_count = SLOTS_FIRST;
    opened->slots = cm_alloc(SLOTS_FIRST, sizeof *opened->slots);
    if (opened->slots == NULL) {
        cm_free(opened);
        return CM_OUT_OF_MEMORY;
    }
    *count = opened;
    return CM_OK;
}

void cm_digest_count_close(struct cm_digest_count *count)
{
    if (count != NULL) {
        cm_free(count->slots);
        cm_free(count);
    }
}

/* The slot that holds the prefix, or the free one where it belongs. */
static struct slot *find_slot(struct slot *slots, size_t slots_count, const uint8_t *prefix)
{
    uint64_t start;
    memcpy(&start, prefix, sizeof start);
    for (size_t i = (size_t)start & (slots_count - 1);; i = (i + 1) & (slots_count - 1)) {
        if (slots[i].times == 0 || memcmp(slots[i].prefix, prefix, CM_DIGEST_COUNT_BYTES) == 0) {
            return &slots[i];
        }
    }
}

static enum cm_status widen(struct cm_digest_count *count)
{
    size_t slots_count = 2 * count->slots_count;
    struct slot *slots = cm_alloc(slots_count, sizeof *slots);
    if (slots == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    for (size_t i = 0; i < count->slots_count; i++) {
        const struct slot *from = &count->slots[i];
        if (from->times > 0) {
            *find_slot(slots, slots_count, from->prefix) = *from;
        }
    }
    cm_free(count->slots);
    count->slots = slots;
    count->slots_count = slots_count;
    return CM_OK;
}

enum cm_status cm_digest_count_add(struct cm_digest_count *count, const uint8_t *digest,
                                   uint32_t *nth)
{
    if (4 * (count->used_count + 1) > 3 * count->slots_count && widen(count) != CM_OK) {
        return CM_OUT_OF_MEMORY;
    }
    struct slot *slot = find_slot(count->slots, count->slots_count, digest);
    if (slot->times == 0) {
        memcpy(slot->prefix, digest, CM_DIGEST_COUNT_BYTES);
        count->used_count++;
    }
    *nth = slot->times++;
    return CM_OK;
}
