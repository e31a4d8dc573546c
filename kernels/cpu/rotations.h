/* Cosines and sines of rotary positions, computed once for all layers and steps.
 *
 * A table belongs to one list of frequencies and grows with the positions that come up. Values are
 * those of sincosf(position * frequency), so a result does not depend on whether there was memory
 * for a table. Owned by the back end; one thread at a time. */
#ifndef CM_KERNELS_CPU_ROTATIONS_H
#define CM_KERNELS_CPU_ROTATIONS_H

#include <stdint.h>

struct cm_backend;

/* Models have one list, or two: for layers with a window and for those without. */
enum { CM_ROTATION_TABLES = 2 };

struct cm_rotation_table {
    float *frequencies;       /* [count] */
    uint32_t count;           /* head_dim / 2 */
    uint32_t positions_count; /* that are computed */
    float *values;            /* [positions_count][2][count]: cosines, sines */
};

/* cosines[count] and sines[count] of one position. */
void cm_rotation_of(const float *frequencies, uint32_t count, int32_t position, float *cosines,
                    float *sines);

/* The table of `frequencies` with all positions below `positions_count`; NULL where it has no
 * place or no memory. Valid until the next call. */
const struct cm_rotation_table *cm_rotation_table_find(struct cm_backend *backend,
                                                       const float *frequencies, uint32_t count,
                                                       uint32_t positions_count);

void cm_rotation_tables_close(struct cm_backend *backend);

#endif
