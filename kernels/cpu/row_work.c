#include "kernels/cpu/row_work.h"

/* Some microseconds of work. */
enum { ALONE_ELEMENTS_MAX = 8192 };

/* Chunks per thread: more let a thread that is held up do less, at the price of the counter. */
enum { THREAD_CHUNKS = 32 };

struct region {
    cm_rows_function function;
    const void *args;
    struct cm_pool_work work;
};

static void run_chunks(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct region *region = context;
    struct cm_pool_range rows;
    while (cm_pool_work_take(&region->work, thread_index, &rows)) {
        region->function(region->args, rows.begin, rows.end);
    }
}

void cm_rows_run(struct cm_backend *backend, cm_rows_function function, const void *args,
                 uint32_t n_rows, size_t row_elements)
{
    uint32_t threads = cm_pool_threads(backend->pool);
    if (n_rows <= 1 || threads == 1 || n_rows * row_elements <= ALONE_ELEMENTS_MAX) {
        function(args, 0, n_rows);
        return;
    }
    struct region region;
    region.function = function;
    region.args = args;
    uint32_t chunks = threads * THREAD_CHUNKS;
    cm_pool_work_init(&region.work, threads, n_rows, n_rows > chunks ? n_rows / chunks : 1);
    cm_pool_run_work(backend->pool, run_chunks, &region);
}
