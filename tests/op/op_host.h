/* The ops on host memory, on any back end: arguments are copied to memory of the back end, results
 * back. Same contracts as the functions of the same name in kernels/backend.h. */
#ifndef CM_TESTS_OP_OP_HOST_H
#define CM_TESTS_OP_OP_HOST_H

#include "kernels/cpu/cpu_backend.h"

/* The CUDA device, real or emulated; NULL, said once, where there is none. */
struct cm_backend *op_cuda_backend(enum cm_precision precision, uint32_t rows_max);

/* The back ends that compute differently: the CPU's instruction sets, then the CUDA device. NULL
 * where this machine lacks it. */
enum { OP_CUDA = CM_CPU_AVX512VNNI + 1, OP_BACKENDS_COUNT };
struct cm_backend *op_backend_at(int which, uint32_t threads, enum cm_precision precision);

/* Whether it is on that device. */
bool op_is_cuda(const struct cm_backend *backend);

void op_embed(struct cm_backend *backend, const struct cm_table *table, const int32_t *tokens,
              uint32_t n_rows, uint32_t dim, float scale, float *out);
void op_gather(struct cm_backend *backend, const float *x, uint32_t x_rows, uint32_t dim,
               const int32_t *rows, uint32_t n_rows, float *out);
void op_norm(struct cm_backend *backend, const struct cm_norm_args *args);
void op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim);
void op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
               uint32_t n_rows, float *y);
void op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
              uint32_t n_rows, uint32_t dim, float *out);
void op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                   uint32_t n_rows, uint32_t dim, float *out);
void op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args);
void op_attention(struct cm_backend *backend, const struct cm_attention_args *args);
void op_sample(struct cm_backend *backend, const struct cm_sample_args *args);
void op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                             float *probabilities);
void op_beam(struct cm_backend *backend, const struct cm_beam_args *args);

#endif
