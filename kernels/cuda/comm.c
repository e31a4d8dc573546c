/* Collectives between devices, by NCCL. Communicators are non-blocking: a call that NCCL goes on
 * with by itself is asked about until it is done, and a group that has failed is aborted rank by
 * rank, each by its own thread, which ends the collectives that its stream waits in. */
#include "kernels/comm.h"

#include "base/memory.h"
#include "kernels/cuda/cuda_backend.h"

#include <nccl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { GATHERED_FLOATS = 1 << 20 }; /* of each rank at a time: 256 rows of 4096 */

struct rank {
    struct cm_backend *backend;
    ncclComm_t handle; /* NULL: not open, or aborted */
    float *gathered;   /* [ranks_count, GATHERED_FLOATS] parts of all ranks */
    struct cm_cuda_split_buffers split;
};

struct cm_comm {
    const struct cm_backend_functions *functions;
    uint32_t ranks_count;
    struct rank ranks[CM_COMM_RANKS_MAX];
    pthread_mutex_t lock; /* guards the reason */
    atomic_bool failed;
    char reason[sizeof((struct cm_backend *)0)->failure];
};

static struct rank *rank_of(const struct cm_backend *backend)
{
    return &backend->comm->ranks[backend->rank];
}

/* --- Failures --- */

void cm_cuda_comm_fail(struct cm_comm *comm, const char *reason)
{
    pthread_mutex_lock(&comm->lock);
    if (comm->reason[0] == '\0') {
        snprintf(comm->reason, sizeof comm->reason, "%s", reason);
    }
    atomic_store(&comm->failed, true);
    pthread_mutex_unlock(&comm->lock);
}

/* Takes over the group's failure, and leaves it. */
static void give_up(struct cm_backend *backend)
{
    struct rank *rank = rank_of(backend);
    struct cm_comm *comm = backend->comm;
    if (backend->failure[0] == '\0') {
        pthread_mutex_lock(&comm->lock);
        snprintf(backend->failure, sizeof backend->failure, "%s", comm->reason);
        pthread_mutex_unlock(&comm->lock);
    }
    if (rank->handle != NULL) {
        ncclCommAbort(rank->handle);
        rank->handle = NULL;
    }
}

bool cm_cuda_comm_check(struct cm_backend *backend)
{
    struct cm_comm *comm = backend->comm;
    if (comm == NULL) {
        return backend->failure[0] == '\0';
    }
    ncclComm_t handle = rank_of(backend)->handle;
    ncclResult_t result = ncclSuccess;
    if (handle != NULL && ncclCommGetAsyncError(handle, &result) != ncclSuccess) {
        result = ncclInternalError;
    }
    if (result != ncclSuccess && result != ncclInProgress) {
        cm_cuda_fail(backend, "talking to the other devices", ncclGetErrorString(result));
    }
    if (backend->failure[0] == '\0' && !atomic_load(&comm->failed)) {
        return true;
    }
    give_up(backend);
    return false;
}

/* The call has been taken, or its failure kept. */
static void settle(struct cm_backend *backend, ncclResult_t result, const char *what)
{
    struct rank *rank = rank_of(backend);
    struct cm_cuda_patience patience = cm_cuda_patience(cm_cuda_timeout_s(backend));
    for (uint64_t polls = 0; result == ncclInProgress; polls++) {
        if (cm_cuda_patience_ends(&patience)) {
            cm_cuda_fail(backend, what, "the other devices do not answer");
        }
        if (!cm_cuda_comm_check(backend)) {
            return;
        }
        cm_cuda_pause(polls);
        ncclCommGetAsyncError(rank->handle, &result);
    }
    if (result != ncclSuccess) {
        cm_cuda_fail(backend, what, ncclGetErrorString(result));
        give_up(backend);
    }
}

/* --- Opening and closing --- */

static void *reserve(struct cm_backend *backend, size_t bytes, bool *failed)
{
    void *memory = cm_cuda_reserve(backend, bytes);
    *failed = *failed || memory == NULL;
    return memory;
}

static enum cm_status open_memory(struct cm_comm *comm, struct cm_error *error)
{
    bool failed = false;
    size_t ranks = comm->ranks_count;
    for (size_t i = 0; i < ranks; i++) {
        struct rank *rank = &comm->ranks[i];
        struct cm_backend *backend = rank->backend;
        struct cm_cuda_split_buffers *split = &rank->split;
        size_t rows = CM_SPLIT_ROWS_MAX;
        rank->gathered = reserve(backend, ranks * GATHERED_FLOATS * sizeof(float), &failed);
        split->own_maxima = reserve(backend, rows * sizeof *split->own_maxima, &failed);
        split->maxima = reserve(backend, ranks * rows * sizeof *split->maxima, &failed);
        split->own_bids = reserve(backend, rows * sizeof *split->own_bids, &failed);
        split->bids = reserve(backend, ranks * rows * sizeof *split->bids, &failed);
    }
    return failed ? cm_error_set(error, CM_OUT_OF_MEMORY,
                                 "no device memory for the exchange between devices")
                  : CM_OK;
}

/* All ranks begin together, each on its device; then each is asked until it has joined. */
static enum cm_status join(struct cm_comm *comm, struct cm_error *error)
{
    ncclUniqueId id;
    ncclResult_t result = ncclGetUniqueId(&id);
    if (result == ncclSuccess) {
        result = ncclGroupStart();
    }
    for (uint32_t i = 0; i < comm->ranks_count && result == ncclSuccess; i++) {
        struct rank *rank = &comm->ranks[i];
        ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
        config.blocking = 0;
        cm_cuda_check(rank->backend, cudaSetDevice(rank->backend->device), "choosing the device");
        result = ncclCommInitRankConfig(&rank->handle, (int)comm->ranks_count, id, (int)i, &config);
        result = result == ncclInProgress ? ncclSuccess : result;
    }
    if (result == ncclSuccess) {
        result = ncclGroupEnd();
    }
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < comm->ranks_count && status == CM_OK; i++) {
        settle(comm->ranks[i].backend, result, "joining the devices by NCCL");
        status = cm_cuda_backend_status(comm->ranks[i].backend, error);
    }
    return status;
}

enum cm_status cm_cuda_comm_open(struct cm_backend *const *ranks, uint32_t ranks_count,
                                 struct cm_comm **comm, struct cm_error *error)
{
    struct cm_comm *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for a group of devices");
    }
    opened->functions = ranks[0]->functions;
    opened->ranks_count = ranks_count;
    pthread_mutex_init(&opened->lock, NULL);
    for (uint32_t i = 0; i < ranks_count; i++) {
        size_t length = strlen(ranks[i]->variant);
        opened->ranks[i].backend = ranks[i];
        ranks[i]->comm = opened;
        ranks[i]->rank = i;
        snprintf(ranks[i]->variant + length, sizeof ranks[i]->variant - length, "-tp%u",
                 ranks_count);
    }
    enum cm_status status = open_memory(opened, error);
    if (status == CM_OK) {
        status = join(opened, error);
    }
    if (status != CM_OK) {
        cm_cuda_comm_close(opened);
        return status;
    }
    *comm = opened;
    return CM_OK;
}

/* Ends all communicators together, as they were begun; where a rank has failed they are aborted. */
static void leave(struct cm_comm *comm)
{
    for (uint32_t i = 0; i < comm->ranks_count; i++) {
        struct rank *rank = &comm->ranks[i];
        if (rank->handle != NULL && cm_cuda_comm_check(rank->backend)) {
            ncclCommFinalize(rank->handle);
        }
    }
    for (uint32_t i = 0; i < comm->ranks_count; i++) {
        struct rank *rank = &comm->ranks[i];
        if (rank->handle != NULL) {
            settle(rank->backend, ncclInProgress, "leaving the other devices");
        }
        if (rank->handle != NULL) {
            ncclCommDestroy(rank->handle);
        }
    }
}

void cm_cuda_comm_close(struct cm_comm *comm)
{
    leave(comm);
    for (uint32_t i = 0; i < comm->ranks_count; i++) {
        struct rank *rank = &comm->ranks[i];
        void *const memory[] = { rank->gathered, rank->split.own_maxima, rank->split.maxima,
                                 rank->split.own_bids, rank->split.bids };
        for (size_t j = 0; j < sizeof memory / sizeof memory[0]; j++) {
            cm_cuda_backend_free(rank->backend, memory[j]);
        }
        rank->backend->comm = NULL;
    }
    pthread_mutex_destroy(&comm->lock);
    cm_free(comm);
}

/* --- Collectives --- */

static void all_gather(struct cm_backend *backend, const void *own, void *all, size_t own_bytes)
{
    if (cm_cuda_begin(backend)) {
        ncclResult_t result = ncclAllGather(own, all, own_bytes, ncclUint8,
                                            rank_of(backend)->handle, backend->stream);
        settle(backend, result, "all-gather");
    }
}

void cm_cuda_op_all_reduce(struct cm_backend *backend, float *x, size_t count)
{
    struct cm_comm *comm = backend->comm;
    if (comm == NULL || count == 0 || !cm_cuda_begin(backend)) {
        return;
    }
    struct rank *rank = rank_of(backend);
    if (comm->ranks_count == 2) {
        settle(backend,
               ncclAllReduce(x, x, count, ncclFloat32, ncclSum, rank->handle, backend->stream),
               "all-reduce");
        return;
    }
    for (size_t begin = 0; begin < count && cm_cuda_begin(backend); begin += GATHERED_FLOATS) {
        size_t n = count - begin < GATHERED_FLOATS ? count - begin : GATHERED_FLOATS;
        all_gather(backend, x + begin, rank->gathered, n * sizeof *x);
        cm_cuda_check(
            backend,
            cm_cuda_sum_parts(rank->gathered, comm->ranks_count, n, x + begin, backend->stream),
            "adding the parts of all devices");
    }
}

/* One rank's columns, of some rows, to their place in the whole. */
static void place_columns(struct cm_backend *backend, const float *from, uint32_t rank,
                          uint32_t n_rows, const struct cm_split *split, float *out)
{
    uint32_t first = rank * split->n_part;
    uint32_t left = split->n_columns - first;
    size_t own_bytes = (left < split->n_part ? left : split->n_part) * sizeof *out;
    cm_cuda_check(backend,
                  cudaMemcpy2DAsync(out + first, split->n_columns * sizeof *out, from, own_bytes,
                                    own_bytes, n_rows, cudaMemcpyDeviceToDevice, backend->stream),
                  "putting columns together");
}

void cm_cuda_op_gather_columns(struct cm_backend *backend, const float *part, uint32_t n_rows,
                               const struct cm_split *split, float *out)
{
    struct cm_comm *comm = backend->comm;
    if (comm == NULL) {
        place_columns(backend, part, 0, n_rows, split, out);
        return;
    }
    struct rank *rank = rank_of(backend);
    uint32_t rows_max = GATHERED_FLOATS / split->n_part;
    uint32_t own = split->n_columns - backend->rank * split->n_part;
    own = own < split->n_part ? own : split->n_part;
    CM_ASSERT(rows_max > 0);
    for (uint32_t begin = 0; begin < n_rows && cm_cuda_begin(backend); begin += rows_max) {
        uint32_t count = n_rows - begin < rows_max ? n_rows - begin : rows_max;
        size_t floats = (size_t)count * split->n_part;
        all_gather(backend, part + (size_t)begin * own, rank->gathered, floats * sizeof *part);
        for (uint32_t i = 0; i < comm->ranks_count && cm_cuda_begin(backend); i++) {
            place_columns(backend, rank->gathered + i * floats, i, count, split,
                          out + (size_t)begin * split->n_columns);
        }
    }
}

void cm_cuda_op_sample_split(struct cm_backend *backend, const struct cm_sample_args *args,
                             const struct cm_split *split, float *scratch)
{
    CM_ASSERT(args->n_rows <= CM_SPLIT_ROWS_MAX && backend->comm != NULL);
    if (args->n_rows == 0 || !cm_cuda_begin(backend)) {
        return;
    }
    const struct cm_cuda_split_buffers *buffers = &rank_of(backend)->split;
    const struct cm_cuda_split_args split_args = {
        .sample = *args,
        .first_token = backend->rank * split->n_part,
        .n_part = split->n_part,
        .n_whole = split->n_columns,
        .ranks_count = backend->comm->ranks_count,
        .values = scratch,
        .buffers = *buffers,
    };
    cm_cuda_check(backend, cm_cuda_split_maxima(&split_args, backend->stream), "sample, maxima");
    all_gather(backend, buffers->own_maxima, buffers->maxima,
               args->n_rows * sizeof *buffers->maxima);
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_split_bids(&split_args, backend->stream),
                      "sample, candidates");
    }
    all_gather(backend, buffers->own_bids, buffers->bids, args->n_rows * sizeof *buffers->bids);
    if (cm_cuda_begin(backend)) {
        cm_cuda_check(backend, cm_cuda_split_decide(&split_args, backend->stream),
                      "sample, decision");
    }
}
