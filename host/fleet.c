#include "host/fleet.h"

#include "base/log.h"
#include "base/memory.h"
#include "host/sequence.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum {
    QUEUE_AHEAD_MIN = 64,            /* requests in the queue beyond one batch of each replica */
    STEP_WAIT_NS = 20 * 1000 * 1000, /* how long a step waits for something to be finished */
};

enum ticket_state {
    TICKET_QUEUED,
    TICKET_RUNNING,
    TICKET_DONE,
    TICKET_TAKEN,
    TICKET_STATES_COUNT,
};

/* A request and where it is. */
struct ticket {
    struct ticket *previous; /* in the list of its state */
    struct ticket *next;
    enum ticket_state state;
    struct worker *worker; /* whose replica knows it; NULL: none */
    struct cm_request request;
    int32_t *prompt; /* [prompt_tokens] the request's own */
    struct cm_result result;
    uint32_t losses; /* devices that failed while it ran */
};

struct ticket_list {
    struct ticket *first;
    struct ticket *last;
    uint32_t count;
};

struct worker {
    struct cm_fleet *fleet;
    struct cm_replica *replica;
    pthread_t thread;
    bool started;
    bool has_work; /* its replica has something to compute */
    bool lost;
    uint64_t unit; /* the one it took last: what follows of it is kept for this worker */
    bool has_unit;
    uint32_t running_count;
    uint32_t running_max; /* to begin another unit: a batch and what may wait in the replica */
    uint32_t devices;
};

struct cm_fleet {
    pthread_mutex_t lock;     /* guards all below; never held while a device computes */
    pthread_cond_t work_came; /* for the workers */
    pthread_cond_t news_came; /* for the caller */
    struct ticket_list lists[TICKET_STATES_COUNT];
    struct worker *workers; /* [workers_count] */
    uint32_t workers_count;
    uint32_t lost_count;         /* workers */
    uint32_t lost_devices_count; /* theirs */
    uint32_t requeued_count;     /* requests that a lost worker gave back */
    uint32_t queue_max;
    struct cm_error error; /* of the device lost last, or what ended a worker otherwise */
    bool broken;           /* the error ends the fleet */
    bool closing;
};

/* --- Tickets --- */

static void list_remove(struct cm_fleet *fleet, struct ticket *ticket)
{
    struct ticket_list *list = &fleet->lists[ticket->state];
    *(ticket->previous != NULL ? &ticket->previous->next : &list->first) = ticket->next;
    *(ticket->next != NULL ? &ticket->next->previous : &list->last) = ticket->previous;
    list->count--;
}

static void list_append(struct cm_fleet *fleet, struct ticket *ticket, enum ticket_state state)
{
    struct ticket_list *list = &fleet->lists[state];
    ticket->state = state;
    ticket->previous = list->last;
    ticket->next = NULL;
    *(list->last != NULL ? &list->last->next : &list->first) = ticket;
    list->last = ticket;
    list->count++;
}

static void list_prepend(struct cm_fleet *fleet, struct ticket *ticket, enum ticket_state state)
{
    struct ticket_list *list = &fleet->lists[state];
    ticket->state = state;
    ticket->previous = NULL;
    ticket->next = list->first;
    *(list->first != NULL ? &list->first->previous : &list->last) = ticket;
    list->first = ticket;
    list->count++;
}

static void move(struct cm_fleet *fleet, struct ticket *ticket, enum ticket_state state)
{
    list_remove(fleet, ticket);
    list_append(fleet, ticket, state);
}

static struct ticket *find(const struct cm_fleet *fleet, enum ticket_state state, uint64_t id)
{
    struct ticket *ticket = fleet->lists[state].first;
    while (ticket != NULL && ticket->request.id != id) {
        ticket = ticket->next;
    }
    return ticket;
}

static void ticket_free(struct ticket *ticket)
{
    for (size_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        cm_constraint_release(ticket->request.constraints[i]);
    }
    cm_free(ticket->prompt);
    cm_free(ticket);
}

static struct ticket *ticket_create(const struct cm_request *request)
{
    struct ticket *ticket = cm_alloc(1, sizeof *ticket);
    int32_t *prompt = cm_alloc(request->prompt_tokens, sizeof *prompt);
    if (ticket == NULL || prompt == NULL) {
        cm_free(ticket);
        cm_free(prompt);
        return NULL;
    }
    memcpy(prompt, request->prompt, request->prompt_tokens * sizeof *prompt);
    ticket->prompt = prompt;
    ticket->request = *request;
    ticket->request.prompt = prompt;
    for (size_t i = 0; i < CM_CONSTRAINTS_MAX; i++) {
        if (request->constraints[i] != NULL) {
            cm_constraint_share(request->constraints[i]);
        }
    }
    return ticket;
}

/* --- Workers; all with the fleet's lock held but where it says otherwise --- */

/* Whether another worker has begun with the ticket's unit. */
static bool is_anothers(const struct cm_fleet *fleet, const struct worker *worker, uint64_t unit)
{
    for (uint32_t i = 0; i < fleet->workers_count; i++) {
        const struct worker *other = &fleet->workers[i];
        if (other != worker && !other->lost && other->has_unit && other->unit == unit) {
            return true;
        }
    }
    return false;
}

/* Whether the worker may begin a unit: its batch is not full, and it has not yet its part of what
 * there is. What it takes beyond that waits here when others have run dry. */
static bool may_begin(const struct cm_fleet *fleet, const struct worker *worker)
{
    uint32_t workers_count = fleet->workers_count - fleet->lost_count;
    uint32_t count = fleet->lists[TICKET_QUEUED].count + fleet->lists[TICKET_RUNNING].count;
    return worker->running_count <= worker->running_max &&
           worker->running_count < (count + workers_count - 1) / workers_count;
}

/* Takes what it has room for from the queue: the rest of its unit always, and new units. */
static void pull(struct cm_fleet *fleet, struct worker *worker)
{
    bool begins = may_begin(fleet, worker);
    struct ticket *next;
    for (struct ticket *ticket = fleet->lists[TICKET_QUEUED].first; ticket != NULL; ticket = next) {
        next = ticket->next;
        uint64_t unit = ticket->request.unit;
        bool is_own = worker->has_unit && worker->unit == unit;
        if (!is_own && (!begins || is_anothers(fleet, worker, unit))) {
            continue;
        }
        struct cm_error error;
        enum cm_status status = cm_replica_submit(worker->replica, &ticket->request, &error);
        if (status == CM_FULL) {
            return;
        }
        if (status != CM_OK) {
            fleet->error = error;
            fleet->broken = true;
            pthread_cond_signal(&fleet->news_came);
            return;
        }
        ticket->worker = worker;
        worker->unit = unit;
        worker->has_unit = true;
        worker->running_count++;
        worker->has_work = true;
        move(fleet, ticket, TICKET_RUNNING);
        begins = may_begin(fleet, worker);
    }
}

static void collect(struct cm_fleet *fleet, struct worker *worker)
{
    struct cm_result result;
    while (cm_replica_finished(worker->replica, &result) == CM_OK) {
        struct ticket *ticket = find(fleet, TICKET_RUNNING, result.id);
        CM_ASSERT(ticket != NULL && ticket->worker == worker);
        ticket->result = result;
        worker->running_count--;
        move(fleet, ticket, TICKET_DONE);
        pthread_cond_signal(&fleet->news_came);
    }
}

/* Puts the worker aside and its unfinished requests back into the queue, in their order. */
static void lose(struct cm_fleet *fleet, struct worker *worker, const struct cm_error *error)
{
    static const int32_t nothing[1];
    struct ticket *previous;
    worker->lost = true;
    worker->has_work = false;
    worker->has_unit = false;
    fleet->lost_count++;
    fleet->lost_devices_count += worker->devices;
    fleet->error = *error;
    fleet->broken = fleet->broken || fleet->lost_count == fleet->workers_count;
    for (struct ticket *i = fleet->lists[TICKET_RUNNING].last; i != NULL; i = previous) {
        previous = i->previous;
        if (i->worker != worker) {
            continue;
        }
        i->worker = NULL;
        list_remove(fleet, i);
        if (++i->losses < CM_FLEET_LOSSES_MAX || fleet->broken) {
            list_prepend(fleet, i, TICKET_QUEUED);
            fleet->requeued_count += !fleet->broken;
            continue;
        }
        i->result = (struct cm_result){ .id = i->request.id,
                                        .output = nothing,
                                        .prompt_tokens = i->request.prompt_tokens,
                                        .finish_reason = CM_FINISH_LOST };
        list_append(fleet, i, TICKET_DONE);
    }
    if (!fleet->broken) {
        cm_log(CM_LOG_WARNING, "%s; put aside, its rows go to the others", error->message);
    }
    pthread_cond_signal(&fleet->news_came);
    pthread_cond_broadcast(&fleet->work_came);
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct cm_fleet *fleet = worker->fleet;
    pthread_mutex_lock(&fleet->lock);
    while (!fleet->closing && !worker->lost) {
        pull(fleet, worker);
        if (!worker->has_work) {
            pthread_cond_wait(&fleet->work_came, &fleet->lock);
            continue;
        }
        pthread_mutex_unlock(&fleet->lock);
        struct cm_error error;
        enum cm_status status = cm_replica_step(worker->replica, &error);
        pthread_mutex_lock(&fleet->lock);
        if (status == CM_OK) {
            collect(fleet, worker);
        } else if (status == CM_END) {
            worker->has_work = worker->running_count > 0; /* a retry that came just now */
        } else {
            lose(fleet, worker, &error);
        }
    }
    pthread_mutex_unlock(&fleet->lock);
    return NULL;
}

/* --- Opening and closing --- */

static enum cm_status start(struct cm_fleet *fleet, struct cm_replica *const *replicas)
{
    for (uint32_t i = 0; i < fleet->workers_count; i++) {
        struct worker *worker = &fleet->workers[i];
        struct cm_engine_info info;
        cm_replica_info(replicas[i], &info);
        worker->fleet = fleet;
        /* A CUDA device plans the next step of one wave before it hears of the other's. */
        worker->running_max = info.batch + info.batch / (info.in_host_memory ? 8 : 2);
        worker->devices = info.devices;
        fleet->queue_max += info.batch;
    }
    fleet->queue_max += QUEUE_AHEAD_MIN;
    for (uint32_t i = 0; i < fleet->workers_count; i++) {
        struct worker *worker = &fleet->workers[i];
        if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
            return CM_OUT_OF_MEMORY;
        }
        worker->started = true;
    }
    return CM_OK;
}

enum cm_status cm_fleet_open(struct cm_replica *const *replicas, uint32_t replicas_count,
                             struct cm_fleet **fleet, struct cm_error *error)
{
    struct cm_fleet *opened = cm_alloc(1, sizeof *opened);
    struct worker *workers = cm_alloc(replicas_count, sizeof *workers);
    if (opened == NULL || workers == NULL) {
        for (uint32_t i = replicas_count; i > 0; i--) {
            cm_replica_close(replicas[i - 1]);
        }
        cm_free(opened);
        cm_free(workers);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    pthread_mutex_init(&opened->lock, NULL);
    pthread_cond_init(&opened->work_came, NULL);
    pthread_cond_init(&opened->news_came, NULL);
    opened->workers = workers;
    opened->workers_count = replicas_count;
    for (uint32_t i = 0; i < replicas_count; i++) {
        workers[i].replica = replicas[i];
    }
    if (start(opened, replicas) != CM_OK) {
        cm_fleet_close(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no more threads for %u devices",
                            replicas_count);
    }
    *fleet = opened;
    return CM_OK;
}

void cm_fleet_close(struct cm_fleet *fleet)
{
    if (fleet == NULL) {
        return;
    }
    pthread_mutex_lock(&fleet->lock);
    fleet->closing = true;
    pthread_cond_broadcast(&fleet->work_came);
    pthread_mutex_unlock(&fleet->lock);
    for (uint32_t i = 0; i < fleet->workers_count; i++) {
        if (fleet->workers[i].started) {
            pthread_join(fleet->workers[i].thread, NULL);
        }
    }
    for (uint32_t i = fleet->workers_count; i > 0; i--) { /* the first may own others' weights */
        cm_replica_close(fleet->workers[i - 1].replica);
    }
    for (size_t state = 0; state < TICKET_STATES_COUNT; state++) {
        while (fleet->lists[state].first != NULL) {
            struct ticket *ticket = fleet->lists[state].first;
            list_remove(fleet, ticket);
            ticket_free(ticket);
        }
    }
    pthread_cond_destroy(&fleet->news_came);
    pthread_cond_destroy(&fleet->work_came);
    pthread_mutex_destroy(&fleet->lock);
    cm_free(fleet->workers);
    cm_free(fleet);
}

/* --- The caller's side --- */

enum cm_status cm_fleet_submit(struct cm_fleet *fleet, const struct cm_request *request,
                               struct cm_error *error)
{
    /* What one replica cannot take, none can: they have the same sizes. */
    enum cm_status status = cm_replica_check(fleet->workers[0].replica, request, error);
    if (status != CM_OK) {
        return status;
    }
    pthread_mutex_lock(&fleet->lock);
    status = fleet->lists[TICKET_QUEUED].count < fleet->queue_max ? CM_OK : CM_FULL;
    if (status == CM_OK) {
        struct ticket *ticket = ticket_create(request);
        if (ticket != NULL) {
            list_append(fleet, ticket, TICKET_QUEUED);
            pthread_cond_broadcast(&fleet->work_came);
        } else {
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory for a request");
        }
    }
    pthread_mutex_unlock(&fleet->lock);
    return status;
}

enum cm_status cm_fleet_step(struct cm_fleet *fleet, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += STEP_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&fleet->lock);
    while (status == CM_OK && fleet->lists[TICKET_DONE].count == 0) {
        if (fleet->broken) {
            *error = fleet->error;
            status = error->status;
        } else if (fleet->lists[TICKET_QUEUED].count + fleet->lists[TICKET_RUNNING].count == 0) {
            status = CM_END;
        } else if (pthread_cond_timedwait(&fleet->news_came, &fleet->lock, &until) == ETIMEDOUT) {
            break;
        }
    }
    pthread_mutex_unlock(&fleet->lock);
    return status;
}

enum cm_status cm_fleet_finished(struct cm_fleet *fleet, struct cm_result *result)
{
    pthread_mutex_lock(&fleet->lock);
    struct ticket *ticket = fleet->lists[TICKET_DONE].first;
    if (ticket != NULL) {
        *result = ticket->result;
        move(fleet, ticket, TICKET_TAKEN);
    }
    pthread_mutex_unlock(&fleet->lock);
    return ticket != NULL ? CM_OK : CM_END;
}

enum cm_status cm_fleet_beam(struct cm_fleet *fleet, uint64_t id, uint32_t index,
                             struct cm_beam *beam)
{
    pthread_mutex_lock(&fleet->lock);
    const struct ticket *ticket = find(fleet, TICKET_TAKEN, id);
    struct worker *worker = ticket != NULL ? ticket->worker : NULL;
    pthread_mutex_unlock(&fleet->lock);
    return worker != NULL ? cm_replica_beam(worker->replica, id, index, beam) : CM_END;
}

void cm_fleet_release(struct cm_fleet *fleet, uint64_t id)
{
    pthread_mutex_lock(&fleet->lock);
    struct ticket *ticket = find(fleet, TICKET_TAKEN, id);
    CM_ASSERT(ticket != NULL);
    list_remove(fleet, ticket);
    if (ticket->worker != NULL) {
        cm_replica_release(ticket->worker->replica, id);
    }
    pthread_mutex_unlock(&fleet->lock);
    ticket_free(ticket);
}

enum cm_status cm_fleet_retry(struct cm_fleet *fleet, uint64_t id, const struct cm_retry *retry,
                              struct cm_error *error)
{
    pthread_mutex_lock(&fleet->lock);
    enum cm_status status = CM_OK;
    struct ticket *ticket = find(fleet, TICKET_TAKEN, id);
    if (ticket == NULL) {
        status = cm_error_set(error, CM_INVALID_ARGUMENT,
                              "request %" PRIu64 " is not there to be retried", id);
        goto unlock;
    }
    struct worker *worker = ticket->worker;
    cm_request_retry(&ticket->request, retry);
    if (worker == NULL || worker->lost) {
        ticket->worker = NULL;
        list_remove(fleet, ticket);
        list_prepend(fleet, ticket, TICKET_QUEUED);
    } else {
        status = cm_replica_retry(worker->replica, id, retry, error);
        if (status != CM_OK) {
            goto unlock;
        }
        worker->running_count++;
        worker->has_work = true;
        move(fleet, ticket, TICKET_RUNNING);
    }
    pthread_cond_broadcast(&fleet->work_came);
unlock:
    pthread_mutex_unlock(&fleet->lock);
    return status;
}

void cm_fleet_counters(struct cm_fleet *fleet, struct cm_engine_counters *counters)
{
    *counters = (struct cm_engine_counters){ 0 };
    for (uint32_t i = 0; i < fleet->workers_count; i++) {
        struct cm_engine_counters one;
        cm_replica_counters(fleet->workers[i].replica, &one);
        counters->steps += one.steps;
        counters->computed_tokens += one.computed_tokens;
        counters->prefill_tokens += one.prefill_tokens;
        counters->decode_tokens += one.decode_tokens;
        counters->shared_tokens += one.shared_tokens;
        counters->copied_tokens += one.copied_tokens;
        counters->prompt_tokens += one.prompt_tokens;
        counters->output_tokens += one.output_tokens;
        counters->prefill_s += one.prefill_s;
        counters->decode_s += one.decode_s;
        counters->active += one.active;
        counters->waiting += one.waiting;
        counters->pages_used += one.pages_used;
        counters->pages_used_max += one.pages_used_max;
    }
    counters->prefill_s /= fleet->workers_count;
    counters->decode_s /= fleet->workers_count;
    pthread_mutex_lock(&fleet->lock);
    counters->waiting += fleet->lists[TICKET_QUEUED].count;
    counters->devices_lost = fleet->lost_devices_count;
    counters->requeued = fleet->requeued_count;
    pthread_mutex_unlock(&fleet->lock);
}
