#include "jobs/prepare/segment_groups.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

/* The combination of bands as one number, or -1; `lacking` is the dimension that has none. */
static long cell_of_row(const struct cm_segment_groups *groups, size_t row, size_t *lacking)
{
    long cell = 0;
    for (size_t i = 0; i < groups->dimensions_count; i++) {
        int band = cm_bands_of_row(&groups->dimensions[i], row);
        if (band < 0) {
            *lacking = i;
            return -1;
        }
        cell = cell * (long)groups->dimensions[i].count + band;
    }
    return cell;
}

int cm_segment_group_of_row(const struct cm_segment_groups *groups, size_t row)
{
    size_t lacking;
    long cell = cell_of_row(groups, row, &lacking);
    return cell < 0 ? -1 : groups->group_of_cell[cell];
}

static enum cm_status count_cells(struct cm_segment_groups *groups, struct cm_error *error)
{
    groups->cells_count = 1;
    for (size_t i = 0; i < groups->dimensions_count; i++) {
        groups->cells_count *= groups->dimensions[i].count; /* 32 each at most */
    }
    groups->group_of_cell = cm_alloc(groups->cells_count, sizeof *groups->group_of_cell);
    uint64_t *counts = cm_alloc(groups->cells_count, sizeof *counts);
    groups->items = cm_alloc(CM_GROUPS_MAX, sizeof *groups->items);
    enum cm_status status = CM_OK;
    if (groups->group_of_cell == NULL || counts == NULL || groups->items == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for the segments");
        goto release;
    }
    for (size_t row = 0; row < groups->customers->rows_count; row++) {
        size_t lacking = 0;
        long cell = cell_of_row(groups, row, &lacking);
        if (cell < 0) {
            groups->left_out_count++;
            groups->lacking[lacking]++;
        } else {
            counts[cell]++;
        }
    }
    for (size_t cell = 0; cell < groups->cells_count; cell++) {
        groups->group_of_cell[cell] = -1;
        if (counts[cell] == 0) {
            continue;
        }
        if (groups->count == CM_GROUPS_MAX) {
            status = cm_error_set(error, CM_LIMIT,
                                  "%s: more than %d combinations to group by; name fewer columns, "
                                  "or such with fewer values, with --by",
                                  groups->customers->path, CM_GROUPS_MAX);
            goto release;
        }
        struct cm_segment_group *group = &groups->items[groups->count];
        size_t rest = cell;
        for (size_t i = groups->dimensions_count; i-- > 0;) {
            group->masks[i] = (uint32_t)1 << rest % groups->dimensions[i].count;
            rest /= groups->dimensions[i].count;
        }
        group->rows_count = counts[cell];
        groups->group_of_cell[cell] = (int16_t)groups->count++;
    }
release:
    cm_free(counts);
    return status;
}

/* How many bands lie between two sets; any two different choices are as far as two bands. */
static unsigned distance(const struct cm_segment_groups *groups, const struct cm_segment_group *a,
                         const struct cm_segment_group *b)
{
    unsigned total = 0;
    for (size_t i = 0; i < groups->dimensions_count; i++) {
        if (a->masks[i] == b->masks[i]) {
            continue;
        }
        unsigned steps = 2;
        if (groups->dimensions[i].is_ordered) {
            uint32_t grown = a->masks[i];
            for (steps = 1; ((grown | grown << 1 | grown >> 1) & b->masks[i]) == 0; steps++) {
                grown |= grown << 1 | grown >> 1;
            }
        }
        total += steps;
    }
    return total;
}

static size_t smallest_of(const struct cm_segment_groups *groups)
{
    size_t smallest = 0;
    for (size_t i = 1; i < groups->count; i++) {
        if (groups->items[i].rows_count < groups->items[smallest].rows_count) {
            smallest = i;
        }
    }
    return smallest;
}

/* Nearest, of those the one with fewest customers, of those the first. */
static size_t neighbour_of(const struct cm_segment_groups *groups, size_t which)
{
    size_t best = which == 0 ? 1 : 0;
    unsigned best_distance = UINT32_MAX;
    for (size_t i = 0; i < groups->count; i++) {
        unsigned steps =
            i == which ? UINT32_MAX : distance(groups, &groups->items[which], &groups->items[i]);
        bool smaller = groups->items[i].rows_count < groups->items[best].rows_count;
        if (steps < best_distance || (steps == best_distance && i != which && smaller)) {
            best = i;
            best_distance = steps;
        }
    }
    return best;
}

/* Puts group `from` into group `into`; those behind it move up. */
static void join(struct cm_segment_groups *groups, size_t from, size_t into)
{
    for (size_t i = 0; i < groups->dimensions_count; i++) {
        groups->items[into].masks[i] |= groups->items[from].masks[i];
    }
    groups->items[into].rows_count += groups->items[from].rows_count;
    for (size_t cell = 0; cell < groups->cells_count; cell++) {
        int group = groups->group_of_cell[cell];
        group = group == (int)from ? (int)into : group;
        groups->group_of_cell[cell] = (int16_t)(group > (int)from ? group - 1 : group);
    }
    memmove(&groups->items[from], &groups->items[from + 1],
            (groups->count - from - 1) * sizeof *groups->items);
    groups->count--;
}

enum cm_status cm_segment_groups_form(struct cm_segment_groups *groups, uint32_t min_size,
                                      uint32_t max_groups, struct cm_error *error)
{
    enum cm_status status = count_cells(groups, error);
    if (status != CM_OK) {
        return status;
    }
    uint64_t rows = groups->customers->rows_count - groups->left_out_count;
    if (rows < min_size) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: %llu customers can be grouped, too few for a segment of at least "
                            "%u (--min-size)",
                            groups->customers->path, (unsigned long long)rows, min_size);
    }
    for (;;) {
        size_t smallest = smallest_of(groups);
        bool small = groups->items[smallest].rows_count < min_size;
        if (groups->count == 1 || (!small && groups->count <= max_groups)) {
            return CM_OK;
        }
        size_t neighbour = neighbour_of(groups, smallest);
        /* The one in front stays, so that the order is that of the lowest bands. */
        bool before = neighbour < smallest;
        join(groups, before ? smallest : neighbour, before ? neighbour : smallest);
    }
}

void cm_segment_groups_deinit(struct cm_segment_groups *groups)
{
    cm_free(groups->items);
    cm_free(groups->group_of_cell);
}
