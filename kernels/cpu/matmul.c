/* Matrices for matmul_op.c. Which kernels run, and which format a matrix has, is a fixed function
 * of precision, types of weights and instruction set; layouts: matmul_kernels.h. */
#include "base/checked.h"
#include "base/memory.h"
#include "kernels/cpu/matmul_op.h"
#include "kernels/cpu/quants.h"
#include "kernels/matrix_source.h"

static uint32_t unit_inputs(enum cm_matrix_format format)
{
    return format == CM_FORMAT_F32 ? 1 : format == CM_FORMAT_BF16 ? 2 : cm_format_group(format);
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

static enum cm_matrix_format select_format(const struct cm_backend *backend,
                                           const struct cm_matrix_source *sources,
                                           size_t sources_count, uint32_t n_in)
{
    if (backend->precision == CM_PRECISION_EXACT) {
        return CM_FORMAT_F32;
    }
    if (backend->precision == CM_PRECISION_BF16) {
        return CM_FORMAT_BF16;
    }
    if (backend->isa >= CM_CPU_AVX512VNNI) {
        bool largest = n_in % CM_ROTATED_MAX == 0 && !backend->narrow_model;
        return largest ? CM_FORMAT_ROTATED_128 : CM_FORMAT_ROTATED_64;
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

/* For each thread a table, a tile and what it multiplies of a gated block, then the packed rows;
 * all but the third twice, for the two matrices of such a block. */
static bool scratch_bytes_of(const struct cm_backend *backend, const struct cm_matrix *matrix,
                             size_t *bytes)
{
    size_t threads = cm_pool_threads(backend->pool);
    size_t rows = threads * matrix->kernels->tile_rows_max + backend->rows_max;
    size_t gated;
    return cm_size_mul(rows, matrix->row_bytes, bytes) ||
           cm_size_add(*bytes, threads * cm_matrix_table_bytes(matrix), bytes) ||
           cm_size_mul(*bytes, 2, bytes) ||
           cm_size_mul(threads * backend->rows_max, CM_GATED_ROW_BYTES, &gated) ||
           cm_size_add(*bytes, gated, bytes);
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
    set_layout(created, backend, select_format(backend, sources, sources_count, created->n_in));
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

enum cm_status cm_cpu_matrix_share(struct cm_backend *backend, const struct cm_matrix *matrix,
                                   struct cm_matrix **shared, struct cm_error *error)
{
    CM_ASSERT(matrix->functions == backend->functions);
    size_t scratch_bytes;
    struct cm_matrix *created = cm_alloc(1, sizeof *created);
    if (created == NULL || scratch_bytes_of(backend, matrix, &scratch_bytes) ||
        cm_cpu_scratch_reserve(backend, scratch_bytes) != CM_OK) {
        cm_free(created);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for a matrix [%u, %u]",
                            matrix->n_out, matrix->n_in);
    }
    *created = *matrix;
    created->rows_count = 0;
    created->is_shared = true;
    *shared = created;
    return CM_OK;
}

void cm_cpu_matrix_close(struct cm_matrix *matrix)
{
    if (matrix == NULL) {
        return;
    }
    if (!matrix->is_shared) {
        cm_panel_block_release(matrix->panels_block);
        cm_free(matrix->bias);
    }
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
