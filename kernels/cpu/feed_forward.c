/* y = (f(x G^T) * (x U^T)) D^T, x = norm(x += residual)
 *
 * A panel of the gate and its counterpart of up make 32 values of each row of what D multiplies;
 * one to four such pairs make a unit of its packed rows. So the thread that has multiplied them
 * gates the results and packs them at once, and the 2 * n_ff floats of each row never leave the
 * caches. Bits are those of cm_op_norm_matmul, cm_op_gated and cm_op_matmul. */
#include "kernels/cpu/feed_forward.h"

#include "base/memory.h"
#include "kernels/cpu/matmul_op.h"

struct block {
    struct cm_matmul gate_up;
    struct cm_matmul down;
    enum cm_activation_kind kind;
    cm_gate_function gate;
    uint32_t unit;   /* inputs of a unit of down */
    float *products; /* for each thread [n_rows][2][32], a panel of gate and one of up, and
                        [n_rows][unit], what they make */
    struct cm_panel_work work; /* of down's units */
};

/* Unit `index` of down's packed rows. */
static void pack_unit(const struct block *block, uint32_t index, struct cm_pool_range tiles,
                      const float *x)
{
    const struct cm_matmul *down = &block->down;
    for (uint32_t i = tiles.begin; i < tiles.end; i++) {
        struct cm_pool_range rows = cm_matmul_tile_rows(down, i);
        uint32_t count = rows.end - rows.begin;
        uint8_t *tile = cm_matmul_tile_packed(down, i);
        down->kernels->pack_many(x + (size_t)rows.begin * block->unit, block->unit, count,
                                 tile + (size_t)index * count * down->kernels->row_unit_bytes);
    }
}

static void multiply_units(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct block *block = context;
    uint32_t n_rows = block->gate_up.n_rows;
    uint32_t pairs = block->down.matrix->n_in / CM_PANEL;
    uint32_t unit_pairs = block->unit / CM_PANEL;
    float *both = block->products + (size_t)thread_index * n_rows * (2 * CM_PANEL + block->unit);
    float *gated = both + (size_t)n_rows * 2 * CM_PANEL;
    struct cm_pool_range units;
    struct cm_pool_range tiles;
    bool first = true;
    while (cm_panel_work_take(&block->work, thread_index, &units, &tiles)) {
        uint32_t begin = cm_matmul_tile_rows(&block->gate_up, tiles.begin).begin;
        uint32_t end = cm_matmul_tile_rows(&block->gate_up, tiles.end - 1).end;
        for (uint32_t i = units.begin * unit_pairs; i < units.end * unit_pairs; i++) {
            cm_matmul_panel(&block->gate_up, thread_index, i, pairs + i, tiles, first, both,
                            2 * CM_PANEL);
            cm_matmul_panel(&block->gate_up, thread_index, pairs + i, i + 1, tiles, false,
                            both + CM_PANEL, 2 * CM_PANEL);
            first = false;
            block->gate(block->kind, both + (size_t)begin * 2 * CM_PANEL, end - begin, CM_PANEL,
                        gated + (size_t)begin * block->unit + i % unit_pairs * CM_PANEL,
                        block->unit);
            if ((i + 1) % unit_pairs == 0) {
                pack_unit(block, i / unit_pairs, tiles, gated);
            }
        }
    }
}

bool cm_cpu_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args,
                         cm_rows_function norm_rows, cm_gate_function gate)
{
    uint32_t n_rows = args->norm->n_rows;
    uint32_t unit = cm_format_group(args->down->format);
    if (n_rows == 0 || args->down->n_in % unit != 0 ||
        args->gate_up->kernels->tile_rows_max != args->down->kernels->tile_rows_max) {
        return false;
    }
    struct block block = { .kind = args->kind, .gate = gate, .unit = unit };
    uint64_t counts[] = { args->gate_up->rows_count, args->down->rows_count };
    cm_matmul_init(&block.gate_up, backend, args->gate_up, backend->scratch, n_rows);
    cm_matmul_init(&block.down, backend, args->down, cm_matmul_end(&block.gate_up), n_rows);
    if (!block.gate_up.many || !block.down.many) {
        args->gate_up->rows_count = counts[0];
        args->down->rows_count = counts[1];
        return false;
    }
    block.products = (void *)cm_matmul_end(&block.down);
    cm_matmul_pack(backend, &block.gate_up, args->norm->out,
                   &(struct cm_rows_maker){ norm_rows, args->norm });
    cm_panel_work_init(&block.work, cm_pool_threads(backend->pool), args->down->units_count,
                       block.gate_up.tiles_count, 1);
    cm_pool_run_work(backend->pool, multiply_units, &block);
    cm_matmul_multiply(backend, &block.down, args->y);
    return true;
}
