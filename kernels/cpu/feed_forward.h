/* A gated feed-forward block whose middle stays in the caches. */
#ifndef CM_KERNELS_CPU_FEED_FORWARD_H
#define CM_KERNELS_CPU_FEED_FORWARD_H

#include "kernels/cpu/row_work.h"

/* out[r, i] = f(x[r, i]) * x[r, dim + i] for all rows, as cm_op_gated, by the calling thread; rows
 * of `out` are `out_stride` floats apart. */
typedef void (*cm_gate_function)(enum cm_activation_kind kind, const float *x, uint32_t n_rows,
                                 uint32_t dim, float *out, size_t out_stride);

/* True: done. False, with nothing done, for few rows, for weights that are no integers and for
 * widths that panels or units of packed rows do not divide. `norm_rows` makes the rows of
 * args->norm. */
bool cm_cpu_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args,
                         cm_rows_function norm_rows, cm_gate_function gate);

#endif
