/* What every back end does with the tensors that make up a matrix: checks their shapes and reads
 * rows as float32. Private to kernels/. */
#ifndef CM_KERNELS_MATRIX_SOURCE_H
#define CM_KERNELS_MATRIX_SOURCE_H

#include "kernels/backend.h"

/* CM_INVALID_DATA where the bytes do not fit shape and type. */
enum cm_status cm_tensor_check(const struct cm_tensor *tensor,
                               struct cm_error *error) CM_MUST_CHECK;

/* The same, and where it is no [rows, dim] that a table could have. */
enum cm_status cm_tensor_check_table(const struct cm_tensor *tensor,
                                     struct cm_error *error) CM_MUST_CHECK;

/* The shape [n_out, n_in] of the stacked sources, each of which is checked. CM_INVALID_DATA,
 * CM_UNSUPPORTED (a transposed block type), CM_LIMIT. */
enum cm_status cm_matrix_source_shape(const struct cm_matrix_source *sources, size_t sources_count,
                                      uint32_t *n_out, uint32_t *n_in,
                                      struct cm_error *error) CM_MUST_CHECK;

/* Row `row` of the stack, [n_in]. */
void cm_matrix_source_row(const struct cm_matrix_source *sources, uint64_t row, uint32_t n_in,
                          float *out);

/* The blocks of row *row of the stack, and which source and which of its rows that is; NULL where
 * the source's type is plain. */
const uint8_t *cm_matrix_source_blocks(const struct cm_matrix_source **sources, uint64_t *row,
                                       uint32_t n_in);

/* The stacked biases, [n_out]; sources without one leave theirs as it is. False: none has. */
bool cm_matrix_source_bias(const struct cm_matrix_source *sources, size_t sources_count,
                           float *bias);

#endif
