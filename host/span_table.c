#include "host/span_table.h"

#include "base/checked.h"
#include "base/memory.h"

#include <string.h>

/* Eight bytes at a time through a multiply and a fold: keys are mostly words of a few bytes. */
static uint32_t hash_of(struct cm_span key)
{
    const uint64_t multiplier = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t hash = key.length * multiplier;
    for (size_t i = 0; i < key.length; i += 8) {
        uint64_t eight = 0;
        size_t left = key.length - i;
        if (left >= 8) {
            memcpy(&eight, key.data + i, 8);
        } else {
            for (size_t k = 0; k < left; k++) {
                eight |= (uint64_t)(uint8_t)key.data[i + k] << (8 * k);
            }
        }
        hash = (hash ^ eight) * multiplier;
        hash ^= hash >> 32;
    }
    return (uint32_t)(hash ^ (hash >> 29));
}

enum cm_status cm_span_table_init(struct cm_span_table *table, size_t count)
{
    size_t wanted;
    size_t slots_count = 16;
    if (cm_size_mul(count, 2, &wanted)) {
        return CM_OUT_OF_MEMORY;
    }
    while (slots_count < wanted) {
        if (cm_size_mul(slots_count, 2, &slots_count)) {
            return CM_OUT_OF_MEMORY;
        }
    }
    table->slots = cm_alloc(slots_count, sizeof *table->slots);
    if (table->slots == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    table->mask = slots_count - 1;
    for (size_t i = 0; i < slots_count; i++) {
        table->slots[i].value = -1;
    }
    return CM_OK;
}

void cm_span_table_deinit(struct cm_span_table *table)
{
    cm_free(table->slots);
    *table = (struct cm_span_table){ 0 };
}

/* The slot of `key`, or the free one where it belongs. */
static struct cm_span_table_slot *slot_of(const struct cm_span_table *table, struct cm_span key,
                                          uint32_t hash)
{
    for (size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
        struct cm_span_table_slot *slot = &table->slots[i];
        if (slot->value < 0 || (slot->hash == hash && cm_span_equal(slot->key, key))) {
            return slot;
        }
    }
}

void cm_span_table_insert(struct cm_span_table *table, struct cm_span key, int32_t value)
{
    uint32_t hash = hash_of(key);
    struct cm_span_table_slot *slot = slot_of(table, key, hash);
    if (slot->value < 0) {
        *slot = (struct cm_span_table_slot){ key, hash, value };
    }
}

int32_t cm_span_table_find(const struct cm_span_table *table, struct cm_span key)
{
    return slot_of(table, key, hash_of(key))->value;
}
