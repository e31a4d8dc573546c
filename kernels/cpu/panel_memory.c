#include "kernels/cpu/panel_memory.h"

#include "base/checked.h"
#include "base/memory.h"

/* Small beside a model, large beside a huge page. */
#define BLOCK_BYTES ((size_t)32 << 20)

struct cm_panel_block {
    uint8_t *memory;
    size_t bytes;
    size_t used;
    uint32_t holders;
};

static struct cm_panel_block *block_open(size_t bytes)
{
    struct cm_panel_block *block = cm_alloc(1, sizeof *block);
    if (block == NULL) {
        return NULL;
    }
    block->bytes = bytes < BLOCK_BYTES ? BLOCK_BYTES : bytes;
    block->memory = cm_map(block->bytes);
    block->holders = 1;
    if (block->memory == NULL) {
        cm_free(block);
        return NULL;
    }
    return block;
}

uint8_t *cm_panel_memory_take(struct cm_panel_block **current, size_t bytes,
                              struct cm_panel_block **block)
{
    size_t padded;
    if (cm_size_align(bytes > 0 ? bytes : 1, CM_CACHE_LINE_BYTES, &padded)) {
        return NULL;
    }
    if (*current == NULL || (*current)->bytes - (*current)->used < padded) {
        struct cm_panel_block *opened = block_open(padded);
        if (opened == NULL) {
            return NULL;
        }
        cm_panel_block_release(*current);
        *current = opened;
    }
    *block = *current;
    uint8_t *memory = (*block)->memory + (*block)->used;
    (*block)->used += padded;
    (*block)->holders++;
    return memory;
}

void cm_panel_block_release(struct cm_panel_block *block)
{
    if (block != NULL && --block->holders == 0) {
        cm_unmap(block->memory, block->bytes);
        cm_free(block);
    }
}
