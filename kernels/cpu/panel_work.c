#include "kernels/cpu/panel_work.h"

/* Enough to even out what the whole panels have left uneven. */
enum { PARTS_OF_PANEL = 4 };

void cm_panel_work_init(struct cm_panel_work *work, uint32_t threads_count, uint32_t panels_count,
                        uint32_t tiles_count, uint32_t chunk_panels)
{
    uint32_t cut = threads_count < panels_count ? threads_count : panels_count;
    uint32_t parts = cut > 0 ? (2 * threads_count + cut - 1) / cut : 1;
    parts = parts < PARTS_OF_PANEL ? PARTS_OF_PANEL : parts;
    parts = parts < tiles_count ? parts : tiles_count;
    if (threads_count == 1 || parts == 1) {
        cut = 0;
    }
    work->first_cut = panels_count - cut;
    work->parts_count = parts;
    work->tiles_count = tiles_count;
    cm_pool_work_init(&work->whole, threads_count, work->first_cut, chunk_panels);
    cm_pool_work_init(&work->parts, threads_count, cut * parts, 1);
}

bool cm_panel_work_take(struct cm_panel_work *work, uint32_t thread_index,
                        struct cm_pool_range *panels, struct cm_pool_range *tiles)
{
    struct cm_pool_range part;
    if (cm_pool_work_take(&work->whole, thread_index, panels)) {
        *tiles = (struct cm_pool_range){ 0, work->tiles_count };
        return true;
    }
    if (!cm_pool_work_take(&work->parts, thread_index, &part)) {
        return false;
    }
    panels->begin = work->first_cut + part.begin / work->parts_count;
    panels->end = panels->begin + 1;
    *tiles = cm_pool_share(work->tiles_count, part.begin % work->parts_count, work->parts_count);
    return true;
}
