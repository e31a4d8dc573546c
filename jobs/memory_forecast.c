#include "jobs/memory_forecast.h"

#include "base/memory.h"

/* So much of a file the system maps around the place that was read. */
enum { MAPPED_BYTES = 64 << 10 };

/* What a row takes, and which part of it is shared with no row before. */
struct row {
    uint64_t pages;
    uint64_t own_pages;
    uint64_t own_tokens; /* of the prompt */
    uint64_t output_tokens;
};

struct cm_memory_forecast {
    struct cm_engine_info model;
    uint32_t texts_per_row;
    struct row *rows; /* [rows_max] a ring: those in work when the newest is */
    uint32_t rows_max;
    uint32_t rows_count;
    uint32_t oldest;
    uint64_t own_pages; /* sums over the ring */
    uint64_t own_tokens;
    uint64_t pages_max;
    bool *mapped; /* [mapped_max] parts of the table of embeddings */
    uint64_t mapped_max;
    uint64_t mapped_count;
};

enum cm_status cm_memory_forecast_open(const struct cm_engine_info *model, uint32_t texts_per_row,
                                       struct cm_memory_forecast **forecast)
{
    struct cm_memory_forecast *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->model = *model;
    opened->texts_per_row = texts_per_row > 0 ? texts_per_row : 1;
    opened->rows_max = model->batch / opened->texts_per_row;
    opened->rows_max = opened->rows_max > 0 ? opened->rows_max : 1;
    opened->rows = cm_alloc(opened->rows_max, sizeof *opened->rows);
    opened->mapped_max = model->tables_bytes / MAPPED_BYTES + 1;
    opened->mapped = cm_alloc(opened->mapped_max, sizeof *opened->mapped);
    if (opened->rows == NULL || opened->mapped == NULL) {
        cm_memory_forecast_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    *forecast = opened;
    return CM_OK;
}

void cm_memory_forecast_close(struct cm_memory_forecast *forecast)
{
    if (forecast != NULL) {
        cm_free(forecast->rows);
        cm_free(forecast->mapped);
        cm_free(forecast);
    }
}

static struct row describe_row(const struct cm_memory_forecast *forecast, uint64_t prompt_tokens,
                               uint64_t shared_tokens, uint64_t output_tokens)
{
    uint64_t page_tokens = forecast->model.kv_page_tokens;
    uint64_t full_pages = prompt_tokens / page_tokens; /* the same for all beams */
    uint64_t tail_pages =
        (prompt_tokens + output_tokens + page_tokens - 1) / page_tokens - full_pages;
    uint64_t pages = full_pages + tail_pages * forecast->texts_per_row;
    return (struct row){
        .pages = pages,
        .own_pages = pages - shared_tokens / page_tokens,
        .own_tokens = prompt_tokens - shared_tokens,
        .output_tokens = output_tokens,
    };
}

static void drop_oldest(struct cm_memory_forecast *forecast)
{
    const struct row *row = &forecast->rows[forecast->oldest];
    forecast->own_pages -= row->own_pages;
    forecast->own_tokens -= row->own_tokens;
    forecast->oldest = (forecast->oldest + 1) % forecast->rows_max;
    forecast->rows_count--;
}

/* Whether the oldest row is done when the prompts of all that came after it are computed: a step
 * writes a token of it and takes a part of them. */
static bool oldest_is_done(const struct cm_memory_forecast *forecast)
{
    const struct row *row = &forecast->rows[forecast->oldest];
    uint64_t later_tokens = forecast->own_tokens - row->own_tokens;
    return later_tokens / forecast->model.prefill_rows > row->output_tokens;
}

static void add_embeddings(struct cm_memory_forecast *forecast, const int32_t *prompt,
                           size_t prompt_tokens)
{
    double parts_per_token = (double)forecast->mapped_max / forecast->model.n_vocab;
    for (size_t i = 0; i < prompt_tokens; i++) {
        bool *mapped = &forecast->mapped[(uint64_t)(parts_per_token * prompt[i])];
        forecast->mapped_count += !*mapped;
        *mapped = true;
    }
}

void cm_memory_forecast_add(struct cm_memory_forecast *forecast, const int32_t *prompt,
                            size_t prompt_tokens, uint64_t shared_tokens, uint64_t output_tokens)
{
    if (forecast->rows_count == forecast->rows_max) {
        drop_oldest(forecast);
    }
    uint32_t place = (forecast->oldest + forecast->rows_count++) % forecast->rows_max;
    struct row row = describe_row(forecast, prompt_tokens, shared_tokens, output_tokens);
    forecast->rows[place] = row;
    forecast->own_pages += row.own_pages;
    forecast->own_tokens += row.own_tokens;
    while (oldest_is_done(forecast)) {
        drop_oldest(forecast);
    }
    /* What the oldest shares with rows that are done, it now has alone. */
    const struct row *oldest = &forecast->rows[forecast->oldest];
    uint64_t pages = forecast->own_pages + oldest->pages - oldest->own_pages;
    forecast->pages_max = pages > forecast->pages_max ? pages : forecast->pages_max;
    add_embeddings(forecast, prompt, prompt_tokens);
}

uint64_t cm_memory_forecast_kv_bytes(const struct cm_memory_forecast *forecast)
{
    const struct cm_engine_info *model = &forecast->model;
    uint64_t pages_count = forecast->pages_max;
    if (pages_count > model->kv_pages_count) {
        pages_count = model->kv_pages_count;
    }
    return pages_count * model->kv_page_tokens * model->kv_token_bytes;
}

uint64_t cm_memory_forecast_tables_bytes(const struct cm_memory_forecast *forecast)
{
    uint64_t bytes = forecast->mapped_count * MAPPED_BYTES;
    return bytes < forecast->model.tables_bytes ? bytes : forecast->model.tables_bytes;
}
