/* The devices that compute one model together (tensor parallel), and what each of them holds; one
 * device is a group of one.
 *
 * Every rank has a thread of its own, but the first: that is whoever calls cm_ranks_run. All ranks
 * run the same task on their own part, with the same steps in the same order, so that they meet in
 * the collectives of kernels/comm.h. The first rank's results are the ones that count.
 *
 * One thread uses a group. */
#ifndef CM_HOST_RANKS_H
#define CM_HOST_RANKS_H

#include "base/status.h"
#include "host/device.h"
#include "host/wave.h"
#include "host/weights.h"

struct cm_rank {
    uint32_t index;
    struct cm_backend *backend;
    struct cm_weights *weights;
    struct cm_kv_pool *pool;    /* this and what follows: NULL until the owner of the group has */
    struct cm_forward *forward; /* opened it; closed with the group */
    struct cm_wave *waves[CM_WAVES_MAX];
};

struct cm_ranks;

struct cm_ranks_options {
    const struct cm_device_choice *devices; /* [count] of one kind */
    uint32_t count;                         /* at most CM_COMM_RANKS_MAX */
    const struct cm_weights *weights; /* another's to share, see cm_weights_share; NULL: none */
    enum cm_precision precision;
    bool kv_int8;
    bool narrow_model;      /* cm_backend_options.narrow_model */
    uint32_t threads;       /* of the CPU, for all ranks together; 0: all */
    uint32_t rows_max;      /* of a step */
    double timeout_s;       /* cm_backend_options.timeout_s */
    const char *model_path; /* for messages about the file */
};

/* Opens the back ends, joins them and packs each its part of the weights. `file` is needed as long
 * as the group. Errors of cm_backend_open, cm_comm_open and cm_weights_open. */
enum cm_status cm_ranks_open(const struct cm_model_file *file,
                             const struct cm_ranks_options *options, struct cm_ranks **ranks,
                             struct cm_error *error) CM_MUST_CHECK;
void cm_ranks_close(struct cm_ranks *ranks); /* NULL is fine */

uint32_t cm_ranks_count(const struct cm_ranks *ranks);
struct cm_rank *cm_ranks_at(struct cm_ranks *ranks, uint32_t index);

/* What a rank does; `context` is shared by all, so only the first rank writes to it. */
typedef enum cm_status (*cm_rank_task)(struct cm_rank *rank, void *context, struct cm_error *error);

/* Runs the task on all ranks and waits for them. The error of the lowest rank that has one; a rank
 * that fails where others wait for it fails the group, which nothing but closing mends. */
enum cm_status cm_ranks_run(struct cm_ranks *ranks, cm_rank_task task, void *context,
                            struct cm_error *error) CM_MUST_CHECK;

#endif
