/* Joins neighbouring symbols of a text pair by pair, best pair first, until none is left: the
 * common core of byte-level BPE and SentencePiece BPE for texts of any length, in O(n log n). What
 * may be joined, and how good that is, the caller says. */
#ifndef CM_HOST_MERGE_QUEUE_H
#define CM_HOST_MERGE_QUEUE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define CM_NO_RANK UINT32_MAX
#define CM_NO_SYMBOL UINT32_MAX

struct cm_symbol {
    int32_t id;     /* -1: not in the vocabulary */
    uint32_t begin; /* where its bytes lie in the text */
    uint32_t bytes; /* 0: joined to a symbol before it */
    uint32_t before;
    uint32_t after; /* CM_NO_SYMBOL at the ends */
};

/* The lowest rank is joined first, and of equal ones the leftmost; CM_NO_RANK: never. */
struct cm_merge {
    uint32_t rank;
    int32_t joined;
};

typedef struct cm_merge cm_merge_find(const void *context, const struct cm_symbol *left,
                                      const struct cm_symbol *right);

/* Zero-initialise; may be used for one text after the other. */
struct cm_merge_queue {
    struct cm_symbol *symbols;
    size_t symbols_capacity;
    struct cm_merge_candidate *heap;
    size_t heap_count;
    size_t heap_capacity;
};

void cm_merge_queue_deinit(struct cm_merge_queue *queue);

/* Room for `count` symbols in `queue->symbols`. */
enum cm_status cm_merge_queue_reserve(struct cm_merge_queue *queue, size_t count) CM_MUST_CHECK;

/* The caller has set id, begin and bytes of `count` symbols, none of them empty. Afterwards what is
 * left hangs together by `after`, from the first symbol on. */
enum cm_status cm_merge_queue_run(struct cm_merge_queue *queue, uint32_t count, cm_merge_find *find,
                                  const void *context) CM_MUST_CHECK;

#endif
