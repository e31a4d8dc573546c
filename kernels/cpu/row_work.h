/* Runs an op whose rows are independent over the threads of a back end. */
#ifndef CM_KERNELS_CPU_ROW_WORK_H
#define CM_KERNELS_CPU_ROW_WORK_H

#include "kernels/cpu/cpu_backend.h"

/* Handles rows [begin, end). */
typedef void (*cm_rows_function)(const void *args, uint32_t begin, uint32_t end);

/* `row_elements` is about how many values a row touches: where all rows together are too few to pay
 * for waking the threads, the caller does them itself. Returns when all rows are done. */
void cm_rows_run(struct cm_backend *backend, cm_rows_function function, const void *args,
                 uint32_t n_rows, size_t row_elements);

/* What makes the rows of a matmul's x: `function` with `args` writes rows [begin, end) of it. */
struct cm_rows_maker {
    cm_rows_function function;
    const void *args;
};

/* cm_op_matmul of rows that are made as they are needed, by the thread that packs them. */
void cm_cpu_matmul_made(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                        const struct cm_rows_maker *maker, uint32_t n_rows, float *y);

#if defined(CM_VARIANT)
/* Rows of a struct cm_norm_args; norm.c. */
void cm_norm_rows(const void *args, uint32_t begin, uint32_t end);
#endif

#endif
