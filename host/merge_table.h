/* The list of merges of a BPE vocabulary as a hash table: which token two neighbours become, and
 * how early in the list that stands. Filled once and read by many threads. */
#ifndef CM_HOST_MERGE_TABLE_H
#define CM_HOST_MERGE_TABLE_H

#include "base/status.h"
#include "host/merge_queue.h"
#include "host/span_table.h"
#include "loaders/model_file.h"

struct cm_merge_slot {
    int32_t left; /* -1: free */
    int32_t right;
    struct cm_merge merge; /* of a free slot: CM_NO_RANK */
};

struct cm_merge_table {
    struct cm_merge_slot *slots;
    size_t mask; /* slots - 1, a power of two */
};

/* `names` finds a token by its name in the file. CM_INVALID_DATA where a merge names a token that
 * is not there. */
enum cm_status cm_merge_table_init(struct cm_merge_table *table,
                                   const struct cm_tokenizer_data *data,
                                   const struct cm_span_table *names,
                                   struct cm_error *error) CM_MUST_CHECK;
void cm_merge_table_deinit(struct cm_merge_table *table);

/* Never NULL. An id below 0 is joined to nothing. */
const struct cm_merge *cm_merge_table_find(const struct cm_merge_table *table, int32_t left,
                                           int32_t right);

/* Markers of a conversation are never made of text, whatever a file's merges say. */
bool cm_token_may_come_from_text(const struct cm_tokenizer_data *data, int32_t id);

#endif
