/* A hash table from byte strings to numbers, filled once and read by many threads. It keeps the
 * spans it is given: their bytes must outlive it. */
#ifndef CM_HOST_SPAN_TABLE_H
#define CM_HOST_SPAN_TABLE_H

#include "base/status.h"
#include "base/text.h"

#include <stdint.h>

struct cm_span_table_slot {
    struct cm_span key;
    uint32_t hash;
    int32_t value; /* -1: free */
};

struct cm_span_table {
    struct cm_span_table_slot *slots;
    size_t mask; /* slots - 1, a power of two */
};

/* Room for `count` entries. */
enum cm_status cm_span_table_init(struct cm_span_table *table, size_t count) CM_MUST_CHECK;
void cm_span_table_deinit(struct cm_span_table *table);

/* `value` >= 0. A key that is there keeps its first value. */
void cm_span_table_insert(struct cm_span_table *table, struct cm_span key, int32_t value);

/* -1 where the key is not there. */
int32_t cm_span_table_find(const struct cm_span_table *table, struct cm_span key);

#endif
