/* Sorted names, so that those a text begins with are found byte by byte: no matter how many there
 * are, a look costs no more than the longest of them. Filled once and read by many threads. It
 * keeps the spans it is given: their bytes must outlive it. */
#ifndef CM_HOST_PIECE_INDEX_H
#define CM_HOST_PIECE_INDEX_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct cm_piece {
    struct cm_span name;
    int32_t id;
};

struct cm_piece_index {
    struct cm_piece *pieces;
    size_t count;
    size_t first[257]; /* where the names with each first byte begin */
};

/* Room for `count` pieces. */
enum cm_status cm_piece_index_init(struct cm_piece_index *index, size_t count) CM_MUST_CHECK;
void cm_piece_index_deinit(struct cm_piece_index *index);

/* Empty names are left out; of equal ones the first id stands. */
void cm_piece_index_add(struct cm_piece_index *index, struct cm_span name, int32_t id);
void cm_piece_index_sort(struct cm_piece_index *index); /* after the last one was added */

/* The pieces that a text begins with, shortest first. */
struct cm_piece_walk {
    const struct cm_piece_index *index;
    struct cm_span text;
    size_t low; /* the names that agree with the text's first bytes and go on after them */
    size_t high;
    size_t bytes;
};

struct cm_piece_walk cm_piece_walk_begin(const struct cm_piece_index *index, struct cm_span text);
bool cm_piece_walk_next(struct cm_piece_walk *walk, struct cm_piece *piece);

#endif
