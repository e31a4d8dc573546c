/* A matmul's panels on their way to the threads: whole ones first, then the last ones in parts of
 * the tiles that they are multiplied with, so that no thread waits long for another one's last
 * panel, and that there is work for all where panels are few. */
#ifndef CM_KERNELS_CPU_PANEL_WORK_H
#define CM_KERNELS_CPU_PANEL_WORK_H

#include "kernels/cpu/thread_pool.h"

struct cm_panel_work {
    struct cm_pool_work whole;
    struct cm_pool_work parts;
    uint32_t first_cut; /* panels from here on are cut */
    uint32_t parts_count;
    uint32_t tiles_count;
};

/* `chunk_panels` whole panels are taken at a time. */
void cm_panel_work_init(struct cm_panel_work *work, uint32_t threads_count, uint32_t panels_count,
                        uint32_t tiles_count, uint32_t chunk_panels);

/* Panels, and the tiles that are to be multiplied with them; false when nothing is left. */
bool cm_panel_work_take(struct cm_panel_work *work, uint32_t thread_index,
                        struct cm_pool_range *panels, struct cm_pool_range *tiles);

#endif
