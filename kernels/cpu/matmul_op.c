/* y[n_rows, n_out] f32 = x[n_rows, n_in] f32 * W[n_out, n_in]^T + bias[n_out] f32
 *
 * Packs the rows of x in tiles, then multiplies every panel of W with every tile; threads share out
 * the tiles and then the panels. Layouts, accumulation and the batch-invariance of the kernels:
 * matmul_kernels.h. */
#include "kernels/cpu/matmul_op.h"

#include "base/memory.h"

#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

/* Tiles of nearly equal height: 64 rows in tiles of at most 7 make ten of 6 or 7, not nine of 7 and
 * one of 1. */
struct cm_pool_range cm_matmul_tile_rows(const struct cm_matmul *matmul, uint32_t tile)
{
    uint32_t higher = tile < matmul->higher_tiles ? tile : matmul->higher_tiles;
    uint32_t begin = tile * matmul->tile_height + higher;
    return (struct cm_pool_range){
        .begin = begin,
        .end = begin + matmul->tile_height + (tile < matmul->higher_tiles ? 1 : 0),
    };
}

uint8_t *cm_matmul_tile_packed(const struct cm_matmul *matmul, uint32_t tile)
{
    return matmul->packed + cm_matmul_tile_rows(matmul, tile).begin * matmul->matrix->row_bytes;
}

/* What was written past the caches is seen by others from here on. */
static void store_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* Copies whole cache lines to memory past the caches. All processors have read what stood there and
 * hold it still, and taking a line back from them costs some 30 ns. */
static void copy_past_caches(uint8_t *to, const uint8_t *from, size_t bytes)
{
#if defined(__x86_64__)
    for (size_t at = 0; at < bytes; at += CM_CACHE_LINE_BYTES) {
        for (size_t i = at; i < at + CM_CACHE_LINE_BYTES; i += sizeof(__m128i)) {
            _mm_stream_si128((__m128i *)(to + i), _mm_load_si128((const __m128i *)(from + i)));
        }
    }
#else
    memcpy(to, from, bytes);
#endif
    store_fence();
}

static void pack_tile(const struct cm_matmul *matmul, struct cm_pool_range rows, uint8_t *packed)
{
    uint32_t n_in = matmul->matrix->n_in;
    const float *x = matmul->x + (size_t)rows.begin * n_in;
    if (matmul->maker != NULL) {
        matmul->maker->function(matmul->maker->args, rows.begin, rows.end);
    }
    if (matmul->many) {
        matmul->kernels->pack_many(x, n_in, rows.end - rows.begin, packed);
    } else {
        matmul->kernels->pack(x, n_in, rows.end - rows.begin, packed);
    }
}

static void pack_tiles(void *context, uint32_t thread_index, uint32_t threads_count)
{
    struct cm_matmul *matmul = context;
    const struct cm_matrix *matrix = matmul->matrix;
    uint32_t rows_max = matmul->kernels->tile_rows_max;
    uint8_t *staging = matmul->staging + thread_index * rows_max * matrix->row_bytes;
    struct cm_pool_range range;
    while (cm_pool_work_take(&matmul->packing, thread_index, &range)) {
        struct cm_pool_range rows = cm_matmul_tile_rows(matmul, range.begin);
        uint8_t *packed = cm_matmul_tile_packed(matmul, range.begin);
        if (threads_count == 1) {
            pack_tile(matmul, rows, packed);
        } else {
            pack_tile(matmul, rows, staging);
            copy_past_caches(packed, staging, (rows.end - rows.begin) * matrix->row_bytes);
        }
    }
}

/* Cache lines per unit by which each tile fetches its share of the panel that follows. None for
 * very few rows: hardly anything else happens then, and the processor's own prefetcher does it
 * better. */
static uint32_t lines_to_fetch(const struct cm_matmul *matmul, uint32_t tiles_count)
{
    uint32_t lines =
        (uint32_t)(matmul->matrix->panel_bytes / matmul->matrix->units_count / CM_CACHE_LINE_BYTES);
    return matmul->n_rows < 4 ? 0 : (lines + tiles_count - 1) / tiles_count;
}

static uint32_t tile_lines(const struct cm_matmul *matmul, uint32_t tile)
{
    const uint8_t *begin = cm_matmul_tile_packed(matmul, tile);
    const uint8_t *end = cm_matmul_tile_packed(matmul, tile + 1);
    return (uint32_t)((end - begin) / CM_CACHE_LINE_BYTES);
}

void cm_matmul_panel(const struct cm_matmul *matmul, uint32_t thread_index, uint32_t panel,
                     uint32_t next_panel, struct cm_pool_range tiles, bool first, float *out,
                     size_t out_stride)
{
    void *table = matmul->tables + thread_index * cm_matrix_table_bytes(matmul->matrix);
    const struct cm_matrix *matrix = matmul->matrix;
    const struct cm_matmul_kernels *kernels = matmul->kernels;
    uint32_t column = panel * CM_PANEL;
    uint32_t columns = matrix->n_out - column;
    bool whole = columns >= CM_PANEL;
    float partial[CM_TILE_ROWS_MAX * CM_PANEL];
    uint32_t lines = lines_to_fetch(matmul, tiles.end - tiles.begin);
    const uint8_t *weights = matrix->panels + panel * matrix->panel_bytes;
    const uint8_t *next = matrix->panels + next_panel * matrix->panel_bytes;
    const uint8_t *next_end = next + matrix->panel_bytes;
    cm_matmul_fetch((const uint8_t *)(matrix->bias + (size_t)next_panel * CM_PANEL),
                    CM_PANEL * sizeof *matrix->bias / CM_CACHE_LINE_BYTES);
    if (first && matmul->many) {
        cm_matmul_fetch(cm_matmul_tile_packed(matmul, tiles.begin),
                        tile_lines(matmul, tiles.begin));
    }
    for (uint32_t i = tiles.begin; i < tiles.end; i++) {
        struct cm_pool_range rows = cm_matmul_tile_rows(matmul, i);
        float *y = out + (size_t)rows.begin * out_stride;
        struct cm_matmul_tile tile = {
            .weights = weights,
            .x = cm_matmul_tile_packed(matmul, i),
            .rows = rows.end - rows.begin,
            .units_count = matrix->units_count,
            .bias = matrix->bias + column,
            .out = whole ? y : partial,
            .out_stride = whole ? out_stride : CM_PANEL,
            .past_caches = whole && matmul->past_caches,
            .table = table,
            .fills_table = i == tiles.begin,
            .next = next,
            .next_lines = next < next_end ? lines : 0,
        };
        if (matmul->many) {
            if (!first) {
                tile.coming = cm_coming_pages_take(matmul->coming, thread_index, tile.units_count,
                                                   &tile.coming_lines);
            } else if (i + 1 < tiles.end) {
                tile.coming = cm_matmul_tile_packed(matmul, i + 1);
                tile.coming_lines =
                    (tile_lines(matmul, i + 1) + tile.units_count - 1) / tile.units_count;
            }
            kernels->multiply_many(&tile);
        } else {
            kernels->multiply(&tile);
        }
        next += (size_t)tile.next_lines * matrix->units_count * CM_CACHE_LINE_BYTES;
        for (uint32_t t = 0; !whole && t < tile.rows; t++) {
            memcpy(y + t * out_stride, partial + t * CM_PANEL, columns * sizeof *y);
        }
    }
}

static void multiply_panels(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct cm_matmul *matmul = context;
    struct cm_pool_range range;
    struct cm_pool_range tiles;
    bool first = true;
    while (cm_panel_work_take(&matmul->work, thread_index, &range, &tiles)) {
        for (uint32_t panel = range.begin; panel < range.end; panel++) {
            cm_matmul_panel(matmul, thread_index, panel, panel + 1, tiles, first,
                            matmul->y + (size_t)panel * CM_PANEL, matmul->matrix->n_out);
            first = false;
        }
    }
    if (matmul->past_caches) {
        store_fence();
    }
}

/* From here on a panel takes some microseconds, and the threads help themselves to one at a time;
 * below, to a quarter of their share. */
enum { HELPING_ROWS = 8 };

/* Packing fewer elements takes less time than waking the other threads. */
enum { PACK_ALONE_ELEMENTS = 16384 };

/* Logits: to bring their lines into the caches first only to push others out costs 2.5 % of a step
 * of 64 rows. */
enum { PAST_CACHES_BYTES = 8 << 20 };

/* Rows from which on a table pays; tiles then have CM_MANY_ROWS_MIN rows or more. */
enum { TABLE_ROWS_MIN = 15 };

void cm_matmul_init(struct cm_matmul *matmul, struct cm_backend *backend, struct cm_matrix *matrix,
                    uint8_t *scratch, uint32_t n_rows)
{
    CM_ASSERT(n_rows > 0 && n_rows <= backend->rows_max);
    const struct cm_matmul_kernels *kernels = matrix->kernels;
    uint32_t tiles_count = (n_rows + kernels->tile_rows_max - 1) / kernels->tile_rows_max;
    size_t threads = cm_pool_threads(backend->pool);
    *matmul = (struct cm_matmul){
        .kernels = kernels,
        .matrix = matrix,
        .coming = &backend->coming,
        .many = kernels->multiply_many != NULL && n_rows >= TABLE_ROWS_MIN,
        .n_rows = n_rows,
        .tiles_count = tiles_count,
        .tile_height = n_rows / tiles_count,
        .higher_tiles = n_rows % tiles_count,
        .tables = scratch,
    };
    matmul->staging = matmul->tables + threads * cm_matrix_table_bytes(matrix);
    matmul->packed = matmul->staging + threads * kernels->tile_rows_max * matrix->row_bytes;
    matrix->rows_count += n_rows;
}

uint8_t *cm_matmul_end(const struct cm_matmul *matmul)
{
    return matmul->packed + matmul->n_rows * matmul->matrix->row_bytes;
}

void cm_matmul_pack(struct cm_backend *backend, struct cm_matmul *matmul, const float *x,
                    const struct cm_rows_maker *maker)
{
    uint32_t threads = cm_pool_threads(backend->pool);
    matmul->x = x;
    matmul->maker = maker;
    cm_pool_work_init(&matmul->packing, threads, matmul->tiles_count, 1);
    if ((uint64_t)matmul->n_rows * matmul->matrix->n_in < PACK_ALONE_ELEMENTS) {
        pack_tiles(matmul, 0, threads);
    } else {
        cm_pool_run_work(backend->pool, pack_tiles, matmul);
    }
}

void cm_matmul_multiply(struct cm_backend *backend, struct cm_matmul *matmul, float *y)
{
    const struct cm_matrix *matrix = matmul->matrix;
    uint32_t threads = cm_pool_threads(backend->pool);
    uint32_t helping = (matrix->panels_count + 4 * threads - 1) / (4 * threads);
    if (matmul->n_rows >= HELPING_ROWS) {
        helping = 1;
    }
    matmul->y = y;
    matmul->past_caches = matmul->n_rows * (size_t)matrix->n_out * sizeof *y >= PAST_CACHES_BYTES &&
                          matrix->n_out % (CM_CACHE_LINE_BYTES / sizeof *y) == 0 &&
                          (uintptr_t)y % CM_CACHE_LINE_BYTES == 0;
    cm_panel_work_init(&matmul->work, threads, matrix->panels_count, matmul->tiles_count, helping);
    cm_pool_run_work(backend->pool, multiply_panels, matmul);
}

void cm_cpu_matmul_made(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                        const struct cm_rows_maker *maker, uint32_t n_rows, float *y)
{
    if (n_rows == 0) {
        return;
    }
    struct cm_matmul matmul;
    cm_matmul_init(&matmul, backend, matrix, backend->scratch, n_rows);
    cm_matmul_pack(backend, &matmul, x, maker);
    cm_matmul_multiply(backend, &matmul, y);
}

void cm_cpu_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                      uint32_t n_rows, float *y)
{
    cm_cpu_matmul_made(backend, matrix, x, NULL, n_rows, y);
}
