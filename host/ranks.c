#include "host/ranks.h"

#include "base/memory.h"

#include <pthread.h>

struct follower {
    struct cm_ranks *ranks;
    struct cm_rank *rank;
    pthread_t thread;
    bool started;
    uint64_t tasks_count; /* that it has done */
    enum cm_status status;
    struct cm_error error;
};

struct cm_ranks {
    uint32_t count;
    struct cm_rank ranks[CM_COMM_RANKS_MAX];
    struct cm_comm *comm; /* NULL: one rank */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t task_came;
    pthread_cond_t task_done;
    cm_rank_task task;
    void *context;
    uint64_t tasks_count; /* begun */
    bool closing;
    struct follower followers[CM_COMM_RANKS_MAX]; /* the first is not used */
};

/* --- Tasks --- */

/* The others would wait for a rank that has given up. */
static enum cm_status run_task(struct cm_ranks *ranks, struct cm_rank *rank, cm_rank_task task,
                               void *context, struct cm_error *error)
{
    cm_backend_enter(rank->backend);
    enum cm_status status = task(rank, context, error);
    cm_backend_leave(rank->backend);
    if (status != CM_OK) {
        cm_comm_fail(ranks->comm, error->message);
    }
    return status;
}

static void *follow(void *context)
{
    struct follower *follower = context;
    struct cm_ranks *ranks = follower->ranks;
    pthread_mutex_lock(&ranks->lock);
    while (!ranks->closing) {
        if (follower->tasks_count == ranks->tasks_count) {
            pthread_cond_wait(&ranks->task_came, &ranks->lock);
            continue;
        }
        cm_rank_task task = ranks->task;
        void *task_context = ranks->context;
        pthread_mutex_unlock(&ranks->lock);
        struct cm_error error = { 0 };
        enum cm_status status = run_task(ranks, follower->rank, task, task_context, &error);
        pthread_mutex_lock(&ranks->lock);
        follower->status = status;
        follower->error = error;
        follower->tasks_count++;
        pthread_cond_signal(&ranks->task_done);
    }
    pthread_mutex_unlock(&ranks->lock);
    return NULL;
}

enum cm_status cm_ranks_run(struct cm_ranks *ranks, cm_rank_task task, void *context,
                            struct cm_error *error)
{
    if (ranks->count == 1) {
        return run_task(ranks, &ranks->ranks[0], task, context, error);
    }
    pthread_mutex_lock(&ranks->lock);
    ranks->task = task;
    ranks->context = context;
    ranks->tasks_count++;
    pthread_cond_broadcast(&ranks->task_came);
    pthread_mutex_unlock(&ranks->lock);
    enum cm_status status = run_task(ranks, &ranks->ranks[0], task, context, error);
    pthread_mutex_lock(&ranks->lock);
    for (uint32_t i = 1; i < ranks->count; i++) {
        const struct follower *follower = &ranks->followers[i];
        while (follower->tasks_count != ranks->tasks_count) {
            pthread_cond_wait(&ranks->task_done, &ranks->lock);
        }
        if (status == CM_OK && follower->status != CM_OK) {
            status = follower->status;
            *error = follower->error;
        }
    }
    pthread_mutex_unlock(&ranks->lock);
    return status;
}

/* --- Opening and closing --- */

static enum cm_status open_backends(struct cm_ranks *ranks, const struct cm_ranks_options *options,
                                    struct cm_error *error)
{
    struct cm_backend *backends[CM_COMM_RANKS_MAX] = { 0 };
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < ranks->count && status == CM_OK; i++) {
        uint32_t threads = options->threads / ranks->count;
        const struct cm_backend_options backend_options = {
            .precision = options->precision,
            .kv_int8 = options->kv_int8,
            .narrow_model = options->narrow_model,
            .threads = options->threads > 0 && threads == 0 ? 1 : threads,
            .rows_max = options->rows_max,
            .device = options->devices[i].kind,
            .device_index = options->devices[i].index,
            .cpu_share = options->devices[i].cpu_share,
            .cpu_shares = options->devices[i].cpu_shares,
            .timeout_s = options->timeout_s,
        };
        status = cm_backend_open(&backend_options, &ranks->ranks[i].backend, error);
        backends[i] = ranks->ranks[i].backend;
    }
    return status == CM_OK && ranks->count > 1
               ? cm_comm_open(backends, ranks->count, &ranks->comm, error)
               : status;
}

static enum cm_status start_followers(struct cm_ranks *ranks, struct cm_error *error)
{
    for (uint32_t i = 1; i < ranks->count; i++) {
        struct follower *follower = &ranks->followers[i];
        *follower = (struct follower){ .ranks = ranks, .rank = &ranks->ranks[i] };
        if (pthread_create(&follower->thread, NULL, follow, follower) != 0) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "no more threads for %u devices",
                                ranks->count);
        }
        follower->started = true;
    }
    return CM_OK;
}

struct weights_task {
    const struct cm_model_file *file;
    const char *model_path;
    const struct cm_weights *shared; /* NULL: none */
    uint32_t ranks_count;
};

static enum cm_status open_weights(struct cm_rank *rank, void *context, struct cm_error *error)
{
    const struct weights_task *task = context;
    if (task->shared != NULL) {
        return cm_weights_share(task->shared, rank->backend, &rank->weights, error);
    }
    enum cm_status status = cm_weights_open(rank->backend, task->file, task->ranks_count,
                                            rank->index, &rank->weights, error);
    return status == CM_OK ? CM_OK : cm_error_prefix(error, "%s", task->model_path);
}

enum cm_status cm_ranks_open(const struct cm_model_file *file,
                             const struct cm_ranks_options *options, struct cm_ranks **ranks,
                             struct cm_error *error)
{
    CM_ASSERT(options->count > 0 && options->count <= CM_COMM_RANKS_MAX);
    struct cm_ranks *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    pthread_mutex_init(&opened->lock, NULL);
    pthread_cond_init(&opened->task_came, NULL);
    pthread_cond_init(&opened->task_done, NULL);
    opened->count = options->count;
    for (uint32_t i = 0; i < opened->count; i++) {
        opened->ranks[i].index = i;
    }
    struct weights_task task = { file, options->model_path, options->weights, options->count };
    enum cm_status status = open_backends(opened, options, error);
    if (status == CM_OK) {
        status = start_followers(opened, error);
    }
    if (status == CM_OK) {
        status = cm_ranks_run(opened, open_weights, &task, error);
    }
    if (status != CM_OK) {
        cm_ranks_close(opened);
        return status;
    }
    *ranks = opened;
    return CM_OK;
}

void cm_ranks_close(struct cm_ranks *ranks)
{
    if (ranks == NULL) {
        return;
    }
    pthread_mutex_lock(&ranks->lock);
    ranks->closing = true;
    pthread_cond_broadcast(&ranks->task_came);
    pthread_mutex_unlock(&ranks->lock);
    for (uint32_t i = 1; i < ranks->count; i++) {
        if (ranks->followers[i].started) {
            pthread_join(ranks->followers[i].thread, NULL);
        }
    }
    for (uint32_t i = 0; i < ranks->count; i++) {
        struct cm_rank *rank = &ranks->ranks[i];
        for (uint32_t j = 0; j < CM_WAVES_MAX; j++) {
            cm_wave_close(rank->waves[j]);
        }
        cm_forward_close(rank->forward);
        cm_kv_pool_close(rank->pool);
        cm_weights_close(rank->weights);
    }
    cm_comm_close(ranks->comm);
    for (uint32_t i = 0; i < ranks->count; i++) {
        cm_backend_close(ranks->ranks[i].backend);
    }
    pthread_cond_destroy(&ranks->task_done);
    pthread_cond_destroy(&ranks->task_came);
    pthread_mutex_destroy(&ranks->lock);
    cm_free(ranks);
}

uint32_t cm_ranks_count(const struct cm_ranks *ranks)
{
    return ranks->count;
}

struct cm_rank *cm_ranks_at(struct cm_ranks *ranks, uint32_t index)
{
    CM_ASSERT(index < ranks->count);
    return &ranks->ranks[index];
}
