/* Collectives between back ends of the CPU: the ranks' threads meet and read each other's memory.
 * Slow and simple; the oracle of kernels/cuda/comm.c. */
#include "kernels/comm.h"

#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CHUNK_FLOATS = 8192 };

struct cm_comm {
    const struct cm_backend_functions *functions;
    uint32_t ranks_count;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t arrived_count; /* ranks at the place where they meet next */
    uint64_t meetings_count;
    bool failed;
    char reason[256];
    const float *parts[CM_COMM_RANKS_MAX]; /* what each rank shows to the others */
};

/* --- The group --- */

enum cm_status cm_cpu_comm_open(struct cm_backend *const *ranks, uint32_t ranks_count,
                                struct cm_comm **comm, struct cm_error *error)
{
    struct cm_comm *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for a group of devices");
    }
    opened->functions = ranks[0]->functions;
    opened->ranks_count = ranks_count;
    pthread_mutex_init(&opened->lock, NULL);
    pthread_cond_init(&opened->changed, NULL);
    for (uint32_t i = 0; i < ranks_count; i++) {
        size_t length = strlen(ranks[i]->variant);
        ranks[i]->comm = opened;
        ranks[i]->rank = i;
        snprintf(ranks[i]->variant + length, sizeof ranks[i]->variant - length, "-tp%u",
                 ranks_count);
    }
    *comm = opened;
    return CM_OK;
}

void cm_cpu_comm_close(struct cm_comm *comm)
{
    pthread_cond_destroy(&comm->changed);
    pthread_mutex_destroy(&comm->lock);
    cm_free(comm);
}

void cm_cpu_comm_fail(struct cm_comm *comm, const char *reason)
{
    pthread_mutex_lock(&comm->lock);
    if (!comm->failed) {
        comm->failed = true;
        snprintf(comm->reason, sizeof comm->reason, "%s", reason);
    }
    pthread_cond_broadcast(&comm->changed);
    pthread_mutex_unlock(&comm->lock);
}

enum cm_status cm_cpu_comm_status(struct cm_comm *comm, struct cm_error *error)
{
    pthread_mutex_lock(&comm->lock);
    bool failed = comm->failed;
    pthread_mutex_unlock(&comm->lock);
    return failed ? cm_error_set(error, CM_DEVICE_FAILED, "%s", comm->reason) : CM_OK;
}

/* Until all ranks are here; false: the group has failed. */
static bool meet(struct cm_comm *comm)
{
    pthread_mutex_lock(&comm->lock);
    uint64_t meeting = comm->meetings_count;
    if (++comm->arrived_count == comm->ranks_count) {
        comm->arrived_count = 0;
        comm->meetings_count++;
        pthread_cond_broadcast(&comm->changed);
    }
    while (meeting == comm->meetings_count && !comm->failed) {
        pthread_cond_wait(&comm->changed, &comm->lock);
    }
    bool met = !comm->failed;
    pthread_mutex_unlock(&comm->lock);
    return met;
}

/* --- Collectives --- */

void cm_cpu_op_all_reduce(struct cm_backend *backend, float *x, size_t count)
{
    struct cm_comm *comm = backend->comm;
    float sums[CHUNK_FLOATS];
    for (size_t begin = 0; comm != NULL && begin < count; begin += CHUNK_FLOATS) {
        size_t n = count - begin < CHUNK_FLOATS ? count - begin : CHUNK_FLOATS;
        comm->parts[backend->rank] = x + begin;
        if (!meet(comm)) {
            return;
        }
        memcpy(sums, comm->parts[0], n * sizeof *sums);
        for (uint32_t rank = 1; rank < comm->ranks_count; rank++) {
            for (size_t i = 0; i < n; i++) {
                sums[i] += comm->parts[rank][i];
            }
        }
        if (!meet(comm)) {
            return;
        }
        memcpy(x + begin, sums, n * sizeof *sums);
    }
}

void cm_cpu_op_gather_columns(struct cm_backend *backend, const float *part, uint32_t n_rows,
                              const struct cm_split *split, float *out)
{
    struct cm_comm *comm = backend->comm;
    if (comm == NULL) {
        memcpy(out, part, (size_t)n_rows * split->n_columns * sizeof *out);
        return;
    }
    comm->parts[backend->rank] = part;
    if (!meet(comm)) {
        return;
    }
    for (uint32_t rank = 0; rank < comm->ranks_count; rank++) {
        uint32_t first = rank * split->n_part;
        uint32_t left = split->n_columns - first;
        uint32_t own = left < split->n_part ? left : split->n_part;
        for (size_t r = 0; r < n_rows; r++) {
            memcpy(out + r * split->n_columns + first, comm->parts[rank] + r * own,
                   own * sizeof *out);
        }
    }
    meet(comm);
}

void cm_cpu_op_sample_split(struct cm_backend *backend, const struct cm_sample_args *args,
                            const struct cm_split *split, float *scratch)
{
    (void)backend;
    (void)split;
    (void)scratch;
    for (uint32_t i = 0; i < args->n_rows; i++) {
        args->tokens[i] = -1;
    }
}
