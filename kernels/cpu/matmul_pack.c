/* Weights from a model file into the panels of matmul_kernels.h. */
#include "base/memory.h"
#include "kernels/cpu/matmul_kernels.h"
#include "kernels/cpu/quants.h"

#include <string.h>

/* Where output row `row` of the matrix comes from. */
struct row_origin {
    const struct cm_matrix_source *source;
    uint64_t row;
};

struct packing {
    struct cm_matrix *matrix;
    const struct cm_matrix_source *sources;
    float *rows; /* one dequantised row per thread, [threads][n_in] */
    struct cm_pool_work work;
};

static uint64_t source_rows(const struct cm_matrix_source *source)
{
    return source->weight->dims[source->transposed ? 1 : 0];
}

static struct row_origin find_row(const struct cm_matrix_source *sources, uint64_t row)
{
    while (row >= source_rows(sources)) {
        row -= source_rows(sources);
        sources++;
    }
    return (struct row_origin){ sources, row };
}

static void read_row(struct row_origin origin, uint32_t n_in, float *out)
{
    const struct cm_tensor *weight = origin.source->weight;
    const struct cm_dtype_info *info = cm_dtype_info(weight->dtype);
    const uint8_t *data = weight->data;
    if (origin.source->transposed) {
        for (uint32_t k = 0; k < n_in; k++) {
            size_t element = (size_t)k * weight->dims[1] + origin.row;
            cm_quants_dequantise(weight->dtype, data + element * info->block_bytes, 1, out + k);
        }
    } else {
        size_t row_bytes = (size_t)(n_in / info->block_elements) * info->block_bytes;
        cm_quants_dequantise(weight->dtype, data + origin.row * row_bytes, n_in, out);
    }
}

static void pack_panel_f32(const struct packing *packing, uint32_t panel, float *row)
{
    struct cm_matrix *matrix = packing->matrix;
    float *out = (float *)(matrix->panels + panel * matrix->panel_bytes);
    for (uint32_t c = 0; c < CM_PANEL && panel * CM_PANEL + c < matrix->n_out; c++) {
        read_row(find_row(packing->sources, (uint64_t)panel * CM_PANEL + c), matrix->n_in, row);
        for (uint32_t k = 0; k < matrix->n_in; k++) {
            out[(size_t)k * CM_PANEL + c] = row[k];
        }
    }
}

static void pack_panels(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct packing *packing = context;
    float *row = packing->rows + (size_t)thread_index * packing->matrix->n_in;
    struct cm_pool_range range;
    while (cm_pool_work_take(&packing->work, &range)) {
        pack_panel_f32(packing, range.begin, row);
    }
}

static void pack_bias(struct cm_matrix *matrix, const struct cm_matrix_source *sources,
                      size_t sources_count)
{
    float *bias = matrix->bias;
    for (size_t i = 0; i < sources_count; i++) {
        uint64_t n = source_rows(&sources[i]);
        if (sources[i].bias != NULL) {
            cm_quants_dequantise(sources[i].bias->dtype, sources[i].bias->data, n, bias);
        }
        bias += n;
    }
}

enum cm_status cm_matrix_pack(struct cm_backend *backend, struct cm_matrix *matrix,
                              const struct cm_matrix_source *sources, size_t sources_count,
                              struct cm_error *error)
{
    struct packing packing = { .matrix = matrix, .sources = sources };
    packing.rows =
        cm_alloc((size_t)cm_pool_threads(backend->pool) * matrix->n_in, sizeof *packing.rows);
    if (packing.rows == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory to pack a matrix");
    }
    cm_pool_work_init(&packing.work, matrix->panels_count, 1);
    cm_pool_run(backend->pool, pack_panels, &packing);
    cm_free(packing.rows);
    pack_bias(matrix, sources, sources_count);
    return CM_OK;
}
