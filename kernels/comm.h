/* What devices say to each other that compute one model together (tensor parallel): collectives
 * between the back ends of one process.
 *
 * Back ends of one kind are joined as ranks 0, 1, ... of a group. Each rank has a thread that calls
 * its ops; a collective is called by all ranks, in the same order and with the same sizes, and
 * takes its place among the other ops of a rank. For a back end that is in no group the collectives
 * do what one rank alone would see: nothing, or a copy.
 *
 * Sums are added in the order of the ranks, each element by itself: rows are independent here too,
 * and all ranks get the same bytes. The order in which NCCL adds depends on the size of a message,
 * so it adds for two ranks only, where there is but one order; for more the parts are gathered and
 * added by a kernel, which moves more bytes between the devices (ranks - 1 times the size instead
 * of at most twice).
 *
 * A group fails as a whole: when a rank's device fails, when its thread gives up (cm_comm_fail), or
 * when it does not come to a collective within the back ends' time (cm_backend_options.timeout_s).
 * Then no rank waits any more, results are undefined, and cm_backend_status tells every rank the
 * first reason. Only closing makes sense after it. */
#ifndef CM_KERNELS_COMM_H
#define CM_KERNELS_COMM_H

#include "kernels/backend.h"

struct cm_comm;

enum { CM_COMM_RANKS_MAX = 16 };

/* Joins `ranks` as ranks 0 to ranks_count - 1, at least two; from one thread, before any op. What
 * the group computes rounds differently, so its size becomes part of cm_backend_variant. On CUDA
 * each rank is a device of its own, and the communicators are NCCL's, non-blocking.
 * CM_INVALID_ARGUMENT, CM_OUT_OF_MEMORY, CM_DEVICE_FAILED. */
enum cm_status cm_comm_open(struct cm_backend *const *ranks, uint32_t ranks_count,
                            struct cm_comm **comm, struct cm_error *error) CM_MUST_CHECK;

/* When no rank computes any more, and before the back ends are closed. NULL is fine. */
void cm_comm_close(struct cm_comm *comm);

/* A rank's thread cannot go on, for a reason of its own. From any thread; NULL is fine. */
void cm_comm_fail(struct cm_comm *comm, const char *reason);

/* x[i] := the sum of all ranks' x[i]. */
void cm_op_all_reduce(struct cm_backend *backend, float *x, size_t count);

/* A matrix whose columns are split over the ranks: `n_part` columns to each but the last, which has
 * the rest, at least one. */
struct cm_split {
    uint32_t n_part;
    uint32_t n_columns; /* of the whole */
};

/* out[r, :] := row r of the whole. `part` is [n_rows, own columns], in memory for n_rows * n_part
 * elements. */
void cm_op_gather_columns(struct cm_backend *backend, const float *part, uint32_t n_rows,
                          const struct cm_split *split, float *out /* [n_rows, n_columns] */);

/* --- Sampling over a vocabulary that is split --- */

enum {
    CM_SPLIT_ROWS_MAX = 64,
    CM_SPLIT_CANDIDATES = 128, /* that a rank brings for a row */
};

/* What cm_op_sample does with the whole rows, from every rank's part of them: the ranks exchange
 * candidates and masses instead of logits, and all get the same tokens and log-probabilities, to
 * the bit those of cm_op_sample of that back end.
 *
 * args->logits is this rank's part [n_rows, own columns], which is not changed, and args->n_vocab
 * its columns; token ids in the history, the masks and the result are those of the whole. n_rows is
 * at most CM_SPLIT_ROWS_MAX.
 *
 *  1. Each rank applies penalty and masks to its part; the greatest logits are exchanged.
 *  2. Each rank weighs its part against the greatest of all, and brings the mass of its part and
 * its CM_SPLIT_CANDIDATES best tokens.
 *  3. Each rank merges the candidates. Those that come before the last candidate of any rank that
 *     has more tokens are surely the first of the whole order; where top-k, top-p, min-p and the
 *     draw are settled among them, the row is decided.
 *
 * A row that is not has the token -1 on all ranks: a top-k over the candidates, a top-p or min-p
 * that keeps more than they are, or a draw from the unbounded tail. Then gather the columns and
 * call cm_op_sample. A greedy row is always decided. Back ends whose masses depend on the order of
 * their sums (the CPU's) decide none. */
void cm_op_sample_split(struct cm_backend *backend, const struct cm_sample_args *args,
                        const struct cm_split *split, float *scratch /* [n_rows, n_part] */);

#endif
