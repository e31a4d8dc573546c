/* Memory for the panels of weights: large blocks that matrices share, so that the system can back
 * them with huge pages. A matrix of a small model is smaller than one such page, and a step reads
 * all of them from end to end: with small pages every second cache line comes with a page walk. */
#ifndef CM_KERNELS_CPU_PANEL_MEMORY_H
#define CM_KERNELS_CPU_PANEL_MEMORY_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct cm_panel_block;

/* Zeroed memory, aligned to a cache line, and in `*block` what holds it; NULL when there is none.
 * `*current` is the block that is being filled, NULL at first; the caller releases it at the end.
 * One thread at a time. */
uint8_t *cm_panel_memory_take(struct cm_panel_block **current, size_t bytes,
                              struct cm_panel_block **block) CM_MUST_CHECK;

/* The memory of a block goes when everything in it is released, and it is `current` no more. */
void cm_panel_block_release(struct cm_panel_block *block);

#endif
