/* Customers in groups: one for every combination of bands that occurs, then the small ones joined
 * to their nearest neighbours until none has fewer customers than asked for. So a segment never
 * stands for a person. */
#ifndef CM_JOBS_PREPARE_SEGMENT_GROUPS_H
#define CM_JOBS_PREPARE_SEGMENT_GROUPS_H

#include "jobs/prepare/bands.h"

enum { CM_DIMENSIONS_MAX = 3, CM_GROUPS_MAX = 2000 };

struct cm_segment_group {
    uint32_t masks[CM_DIMENSIONS_MAX]; /* the bands in it */
    uint64_t rows_count;
};

struct cm_segment_groups {
    const struct cm_customers *customers;
    struct cm_bands dimensions[CM_DIMENSIONS_MAX];
    size_t dimensions_count;
    struct cm_segment_group *items; /* in the order of their lowest bands */
    size_t count;
    uint64_t left_out_count; /* rows without a band, by the dimension that lacks it first */
    uint64_t lacking[CM_DIMENSIONS_MAX];
    int16_t *group_of_cell; /* combination of bands -> group, -1: none */
    size_t cells_count;
};

/* `dimensions` is filled by the caller. CM_LIMIT: too many combinations; CM_INVALID_DATA: fewer
 * than `min_size` customers in all; CM_OUT_OF_MEMORY. */
enum cm_status cm_segment_groups_form(struct cm_segment_groups *groups, uint32_t min_size,
                                      uint32_t max_groups, struct cm_error *error) CM_MUST_CHECK;
void cm_segment_groups_deinit(struct cm_segment_groups *groups);

/* The group of a row, or -1. */
int cm_segment_group_of_row(const struct cm_segment_groups *groups, size_t row);

#endif
