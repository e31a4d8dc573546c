/* y[n_rows, n_out] f32 = x[n_rows, n_in] f32 * W[n_out, n_in]^T + bias[n_out] f32
 *
 * Packs the rows of x in tiles, then multiplies every panel of W with every tile; threads share out
 * the tiles and then the panels. Layouts, accumulation and the batch-invariance of the kernels:
 * matmul_kernels.h. Which kernels run is a fixed function of precision and instruction set.
 */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/quants.h"
#include "kernels/cpu/row_work.h"
#include "kernels/matrix_source.h"

#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

static uint32_t unit_inputs(enum cm_matrix_format format)
{
    return format == CM_FORMAT_F32 ? 1 : format == CM_FORMAT_BF16 ? 2 : CM_INT8_GROUP;
}

/* Bytes of a unit of a panel; see matmul_kernels.h. */
static size_t unit_bytes(enum cm_matrix_format format)
{
    return format >= CM_FORMAT_INT8 ? cm_format_unit_bytes(format) : CM_PANEL * sizeof(float);
}

static const struct cm_matmul_kernels *select_kernels(enum cm_cpu_isa isa,
                                                      enum cm_matrix_format format)
{
#if defined(__x86_64__)
    if (isa >= CM_CPU_AVX512BF16 && format == CM_FORMAT_BF16) {
        return &cm_matmul_avx512bf16;
    }
    if (isa >= CM_CPU_AVX512VNNI) {
        return &cm_matmul_avx512[format];
    }
    if (isa == CM_CPU_AVXVNNI) {
        return cm_cpu_isa_best() > CM_CPU_AVXVNNI ? &cm_matmul_avxvnni_evex[format]
                                                  : &cm_matmul_avxvnni[format];
    }
    if (isa >= CM_CPU_AVX2) {
        return &cm_matmul_avx2[format];
    }
#endif
    (void)isa;
    return &cm_matmul_portable[format];
}

/* Where scales come from tables, minima would be a tenth of the work. Not where inputs are skewed:
 * what the codes leave of an offset is multiplied by sums of x, and there these are large. */
static bool folds_minima(enum cm_cpu_isa isa, const struct cm_matrix_source *source)
{
    return isa >= CM_CPU_AVX512VNNI && !source->skewed_inputs;
}

static enum cm_matrix_format select_format(enum cm_precision precision, enum cm_cpu_isa isa,
                                           const struct cm_matrix_source *sources,
                                           size_t sources_count)
{
    if (precision == CM_PRECISION_EXACT) {
        return CM_FORMAT_F32;
    }
    if (precision == CM_PRECISION_BF16) {
        return CM_FORMAT_BF16;
    }
    size_t offsets_count = 0;
    size_t nibbles_count = 0;
    for (size_t i = 0; i < sources_count; i++) {
        enum cm_dtype dtype = sources[i].weight->dtype;
        offsets_count += cm_quants_has_offset(dtype);
        nibbles_count += dtype == CM_Q4_0 || dtype == CM_Q4_1 || dtype == CM_Q4_K;
    }
    enum cm_matrix_format format = offsets_count > 0 ? CM_FORMAT_INT8_MIN : CM_FORMAT_INT8;
    if (nibbles_count == sources_count && offsets_count == sources_count) {
        format = CM_FORMAT_INT4_MIN;
    } else if (nibbles_count == sources_count && offsets_count == 0) {
        format = CM_FORMAT_INT4;
    }
    if (offsets_count > 0 && folds_minima(isa, sources)) {
        return CM_FORMAT_INT8;
    }
    if (sources[0].skewed_inputs) {
        format = (enum cm_matrix_format)(format - CM_FORMAT_INT8 + CM_FORMAT_INT8_OFFSET);
    }
    return format;
}

/* --- Creation --- */

static void set_layout(struct cm_matrix *matrix, const struct cm_backend *backend,
                       enum cm_matrix_format format)
{
    uint32_t inputs = unit_inputs(format);
    matrix->format = format;
    matrix->kernels = select_kernels(backend->isa, format);
    matrix->units_count = (matrix->n_in + inputs - 1) / inputs;
    matrix->panel_bytes = matrix->units_count * unit_bytes(format);
    /* Tiles begin at whole cache lines. */
    size_t row_bytes = (size_t)matrix->units_count * matrix->kernels->row_unit_bytes;
    matrix->row_bytes =
        (row_bytes + CM_CACHE_LINE_BYTES - 1) / CM_CACHE_LINE_BYTES * CM_CACHE_LINE_BYTES;
}

static size_t table_bytes(const struct cm_matrix *matrix)
{
    return matrix->kernels->fill_table != NULL
               ? (size_t)matrix->units_count * CM_INT8_TABLE_UNIT_BYTES
               : 0;
}

/* For each thread a table and a tile of its own, then the packed rows. */
static bool scratch_bytes_of(const struct cm_backend *backend, const struct cm_matrix *matrix,
                             size_t *bytes)
{
    size_t threads = cm_pool_threads(backend->pool);
    size_t rows = threads * matrix->kernels->tile_rows_max + backend->rows_max;
    size_t tables;
    return cm_size_mul(rows, matrix->row_bytes, bytes) ||
           cm_size_mul(threads, table_bytes(matrix), &tables) || cm_size_add(*bytes, tables, bytes);
}

enum cm_status cm_cpu_matrix_create(struct cm_backend *backend,
                                    const struct cm_matrix_source *sources, size_t sources_count,
                                    struct cm_matrix **matrix, struct cm_error *error)
{
    CM_ASSERT(sources_count > 0);
    struct cm_matrix *created = cm_alloc(1, sizeof *created);
    if (created == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for a matrix");
    }
    created->functions = backend->functions;
    enum cm_status status =
        cm_matrix_source_shape(sources, sources_count, &created->n_out, &created->n_in, error);
    if (status != CM_OK) {
        goto done;
    }
    created->panels_count = (created->n_out + CM_PANEL - 1) / CM_PANEL;
    set_layout(created, backend,
               select_format(backend->precision, backend->isa, sources, sources_count));
    size_t columns = (size_t)created->panels_count * CM_PANEL;
    size_t scratch_bytes;
    size_t panels_bytes;
    if (!cm_size_mul(created->panels_count, created->panel_bytes, &panels_bytes)) {
        created->panels =
            cm_panel_memory_take(&backend->panels, panels_bytes, &created->panels_block);
    }
    created->bias = cm_alloc_aligned(columns, sizeof *created->bias);
    created->bytes = created->panels_count * created->panel_bytes + columns * sizeof *created->bias;
    if (created->panels == NULL || created->bias == NULL ||
        scratch_bytes_of(backend, created, &scratch_bytes) ||
        cm_cpu_scratch_reserve(backend, scratch_bytes) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for matrix %s [%u, %u]",
                              sources[0].weight->name, created->n_out, created->n_in);
        goto done;
    }
    status = cm_matrix_pack(backend, created, sources, sources_count, error);
done:
    if (status != CM_OK) {
        cm_cpu_matrix_close(created);
        return status;
    }
    *matrix = created;
    return CM_OK;
}

void cm_cpu_matrix_close(struct cm_matrix *matrix)
{
    if (matrix == NULL) {
        return;
    }
    cm_panel_block_release(matrix->panels_block);
    cm_free(matrix->bias);
    cm_free(matrix);
}

uint32_t cm_cpu_matrix_n_in(const struct cm_matrix *matrix)
{
    return matrix->n_in;
}

uint32_t cm_cpu_matrix_n_out(const struct cm_matrix *matrix)
{
    return matrix->n_out;
}

size_t cm_cpu_matrix_bytes(const struct cm_matrix *matrix)
{
    return matrix->bytes;
}

uint64_t cm_cpu_matrix_rows_count(const struct cm_matrix *matrix)
{
    return matrix->rows_count;
}

/* --- The op --- */

/* What is packed may first be made: a norm, or an activation. */
struct matmul {
    const struct cm_matmul_kernels *kernels;
    const struct cm_matrix *matrix;
    struct cm_coming_pages *coming;
    const struct cm_rows_maker *maker; /* of x; NULL: x is there */
    const float *x;
    bool past_caches; /* y is too large for them */
    bool many;        /* rows, so that a table of a panel's scales pays */
    uint32_t n_rows;
    uint32_t tiles_count;
    uint32_t tile_height; /* rows of a tile; the first `higher_tiles` have one more */
    uint32_t higher_tiles;
    uint8_t *tables;  /* [threads][table_bytes] */
    uint8_t *staging; /* [threads][tile_rows_max][row_bytes] */
    uint8_t *packed;  /* [n_rows][row_bytes], tile by tile */
    float *y;
    struct cm_pool_work work;
};

/* Tiles of nearly equal height: 64 rows in tiles of at most 7 make ten of 6 or 7, not nine of 7 and
 * one of 1. */
static struct cm_pool_range tile_rows(const struct matmul *matmul, uint32_t tile)
{
    uint32_t higher = tile < matmul->higher_tiles ? tile : matmul->higher_tiles;
    uint32_t begin = tile * matmul->tile_height + higher;
    return (struct cm_pool_range){
        .begin = begin,
        .end = begin + matmul->tile_height + (tile < matmul->higher_tiles ? 1 : 0),
    };
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

static void pack_tile(const struct matmul *matmul, struct cm_pool_range rows, uint8_t *packed)
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
    struct matmul *matmul = context;
    const struct cm_matrix *matrix = matmul->matrix;
    uint32_t rows_max = matmul->kernels->tile_rows_max;
    uint8_t *staging = matmul->staging + thread_index * rows_max * matrix->row_bytes;
    struct cm_pool_range range;
    while (cm_pool_work_take(&matmul->work, thread_index, &range)) {
        struct cm_pool_range rows = tile_rows(matmul, range.begin);
        uint8_t *packed = matmul->packed + rows.begin * matrix->row_bytes;
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
static uint32_t lines_to_fetch(const struct matmul *matmul)
{
    uint32_t lines = (uint32_t)(unit_bytes(matmul->matrix->format) / CM_CACHE_LINE_BYTES);
    return matmul->n_rows < 4 ? 0 : (lines + matmul->tiles_count - 1) / matmul->tiles_count;
}

static void multiply_panel(const struct matmul *matmul, uint32_t panel, uint32_t thread_index,
                           void *table)
{
    const struct cm_matrix *matrix = matmul->matrix;
    const struct cm_matmul_kernels *kernels = matmul->kernels;
    uint32_t column = panel * CM_PANEL;
    uint32_t columns = matrix->n_out - column;
    bool whole = columns >= CM_PANEL;
    float partial[CM_TILE_ROWS_MAX * CM_PANEL];
    uint32_t lines = lines_to_fetch(matmul);
    const uint8_t *weights = matrix->panels + panel * matrix->panel_bytes;
    const uint8_t *next = weights + matrix->panel_bytes;
    const uint8_t *next_end = next + matrix->panel_bytes;
    if (matmul->many) {
        kernels->fill_table(weights, matrix->units_count, table);
    }
    for (uint32_t i = 0; i < matmul->tiles_count; i++) {
        struct cm_pool_range rows = tile_rows(matmul, i);
        float *y = matmul->y + (size_t)rows.begin * matrix->n_out + column;
        struct cm_matmul_tile tile = {
            .weights = weights,
            .x = matmul->packed + rows.begin * matrix->row_bytes,
            .rows = rows.end - rows.begin,
            .units_count = matrix->units_count,
            .bias = matrix->bias + column,
            .out = whole ? y : partial,
            .out_stride = whole ? matrix->n_out : CM_PANEL,
            .past_caches = whole && matmul->past_caches,
            .table = table,
            .next = next,
            .next_lines = next < next_end ? lines : 0,
        };
        if (matmul->many) {
            tile.coming = cm_coming_pages_take(matmul->coming, thread_index, tile.units_count,
                                               &tile.coming_lines);
            kernels->multiply_many(&tile);
        } else {
            kernels->multiply(&tile);
        }
        next += (size_t)tile.next_lines * matrix->units_count * CM_CACHE_LINE_BYTES;
        for (uint32_t t = 0; !whole && t < tile.rows; t++) {
            memcpy(y + (size_t)t * matrix->n_out, partial + t * CM_PANEL, columns * sizeof *y);
        }
    }
}

static void multiply_panels(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct matmul *matmul = context;
    uint8_t *table = matmul->tables + thread_index * table_bytes(matmul->matrix);
    struct cm_pool_range range;
    while (cm_pool_work_take(&matmul->work, thread_index, &range)) {
        for (uint32_t panel = range.begin; panel < range.end; panel++) {
            multiply_panel(matmul, panel, thread_index, table);
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

void cm_cpu_matmul_made(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                        const struct cm_rows_maker *maker, uint32_t n_rows, float *y)
{
    CM_ASSERT(n_rows <= backend->rows_max);
    if (n_rows == 0) {
        return;
    }
    const struct cm_matmul_kernels *kernels = matrix->kernels;
    uint32_t tiles_count = (n_rows + kernels->tile_rows_max - 1) / kernels->tile_rows_max;
    uint32_t threads = cm_pool_threads(backend->pool);
    struct matmul matmul = {
        .kernels = kernels,
        .matrix = matrix,
        .coming = &backend->coming,
        .maker = maker,
        .x = x,
        .past_caches = n_rows * (size_t)matrix->n_out * sizeof *y >= PAST_CACHES_BYTES &&
                       matrix->n_out % (CM_CACHE_LINE_BYTES / sizeof *y) == 0 &&
                       (uintptr_t)y % CM_CACHE_LINE_BYTES == 0,
        .many = kernels->multiply_many != NULL && n_rows >= TABLE_ROWS_MIN,
        .n_rows = n_rows,
        .tiles_count = tiles_count,
        .tile_height = n_rows / tiles_count,
        .higher_tiles = n_rows % tiles_count,
        .tables = backend->scratch,
        .y = y,
    };
    matmul.staging = matmul.tables + threads * table_bytes(matrix);
    matmul.packed = matmul.staging + (size_t)threads * kernels->tile_rows_max * matrix->row_bytes;
    cm_pool_work_init(&matmul.work, threads, matmul.tiles_count, 1);
    if ((uint64_t)n_rows * matrix->n_in < PACK_ALONE_ELEMENTS) {
        pack_tiles(&matmul, 0, threads);
    } else {
        cm_pool_run(backend->pool, pack_tiles, &matmul);
    }
    uint32_t helping = (matrix->panels_count + 4 * threads - 1) / (4 * threads);
    if (n_rows >= HELPING_ROWS) {
        helping = 1;
    }
    cm_pool_work_init(&matmul.work, threads, matrix->panels_count, helping);
    cm_pool_run(backend->pool, multiply_panels, &matmul);
    matrix->rows_count += n_rows;
}

void cm_cpu_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                      uint32_t n_rows, float *y)
{
    cm_cpu_matmul_made(backend, matrix, x, NULL, n_rows, y);
}
