#include "host/piece_index.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

enum cm_status cm_piece_index_init(struct cm_piece_index *index, size_t count)
{
    index->pieces = cm_alloc(count, sizeof *index->pieces);
    return index->pieces == NULL ? CM_OUT_OF_MEMORY : CM_OK;
}

void cm_piece_index_deinit(struct cm_piece_index *index)
{
    cm_free(index->pieces);
    *index = (struct cm_piece_index){ 0 };
}

void cm_piece_index_add(struct cm_piece_index *index, struct cm_span name, int32_t id)
{
    if (name.length > 0) {
        index->pieces[index->count++] = (struct cm_piece){ name, id };
    }
}

static int compare_pieces(const void *left, const void *right)
{
    const struct cm_piece *a = left;
    const struct cm_piece *b = right;
    size_t common = a->name.length < b->name.length ? a->name.length : b->name.length;
    int order = memcmp(a->name.data, b->name.data, common);
    if (order == 0) {
        order = (a->name.length > b->name.length) - (a->name.length < b->name.length);
    }
    return order != 0 ? order : (a->id > b->id) - (a->id < b->id);
}

static uint8_t byte_at(const struct cm_piece_index *index, size_t piece, size_t at)
{
    return (uint8_t)index->pieces[piece].name.data[at];
}

void cm_piece_index_sort(struct cm_piece_index *index)
{
    if (index->count > 0) {
        qsort(index->pieces, index->count, sizeof *index->pieces, compare_pieces);
    }
    size_t next = 0;
    for (size_t byte = 0; byte < 256; byte++) {
        index->first[byte] = next;
        while (next < index->count && byte_at(index, next, 0) == byte) {
            next++;
        }
    }
    index->first[256] = next;
}

/* The first of the names in [low, high) whose byte at `at` is no less than `byte`. */
static size_t lower_bound(const struct cm_piece_index *index, size_t low, size_t high, size_t at,
                          unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (byte_at(index, middle, at) < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct cm_piece_walk cm_piece_walk_begin(const struct cm_piece_index *index, struct cm_span text)
{
    return (struct cm_piece_walk){ .index = index, .text = text, .high = index->count };
}

static void narrow(struct cm_piece_walk *walk)
{
    unsigned byte = (uint8_t)walk->text.data[walk->bytes];
    if (walk->bytes == 0) {
        walk->low = walk->index->first[byte];
        walk->high = walk->index->first[byte + 1];
    } else {
        walk->low = lower_bound(walk->index, walk->low, walk->high, walk->bytes, byte);
        walk->high = lower_bound(walk->index, walk->low, walk->high, walk->bytes, byte + 1);
    }
    walk->bytes++;
}

bool cm_piece_walk_next(struct cm_piece_walk *walk, struct cm_piece *piece)
{
    bool is_found = false;
    while (!is_found && walk->low < walk->high && walk->bytes < walk->text.length) {
        narrow(walk);
        /* The shorter name sorts first, and of equal ones that with the lower id. */
        while (walk->low < walk->high &&
               walk->index->pieces[walk->low].name.length == walk->bytes) {
            if (!is_found) {
                *piece = walk->index->pieces[walk->low];
                is_found = true;
            }
            walk->low++;
        }
    }
    return is_found;
}
