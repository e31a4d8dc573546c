#include "kernels/cpu/thread_pool.h"

#include "base/clock.h"
#include "base/memory.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 25 to 50 us on current processors: longer than the gap between two ops of a step, shorter than
 * anything a person or a meter of electricity would notice. */
enum { WATCH_PAUSES = 1000 };

/* How long a thread computes before it lets others have its processor, if there are any: less than
 * the time slice of current kernels, so that it is not interrupted within a region, when others
 * would have to wait for it. */
#define YIELD_AFTER_S 0.002

/* What a thread has to do with region r: nothing (2 r), or it works on it (2 r + 1). */
struct worker {
    _Alignas(CM_CACHE_LINE_BYTES) atomic_uint state;
    struct cm_pool *pool;
    pthread_t thread;
    uint32_t index;
    double yield_s; /* when it has yielded last */
};

struct cm_pool {
    /* Each on its own cache line: the watchers read the first, and the second when they join. */
    _Alignas(CM_CACHE_LINE_BYTES) atomic_uint region;   /* grows by one with every region */
    _Alignas(CM_CACHE_LINE_BYTES) atomic_uint closed;   /* the last region that none may join */
    _Alignas(CM_CACHE_LINE_BYTES) atomic_uint sleepers; /* threads asleep on `region` */
    atomic_bool caller_sleeps;                          /* on a worker's state */
    cm_pool_function function;
    void *context;
    atomic_bool closing; /* a thread late for the last region may see it before the next one */
    uint32_t threads_count;
    uint32_t watch_pauses;
    uint32_t started; /* workers that exist: threads_count - 1, fewer while opening fails */
    struct worker *workers;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(atomic_uint *word, unsigned expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(atomic_uint *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

uint32_t cm_pool_processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    /* More processors than the set has bits for. */
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (online < 1) {
        return 1;
    }
    return online > CM_POOL_THREADS_MAX ? CM_POOL_THREADS_MAX : (uint32_t)online;
}

/* Returns the number of the region that has begun after `seen`. */
static unsigned wait_for_region(struct cm_pool *pool, unsigned seen)
{
    unsigned region;
    for (uint32_t i = 0; i < pool->watch_pauses; i++) {
        region = atomic_load_explicit(&pool->region, memory_order_acquire);
        if (region != seen) {
            return region;
        }
        pause_briefly();
    }
    /* A sleeper is counted before the kernel compares the region once more, and the caller begins
     * the region before it reads the count (both sequentially consistent): no wake-up is lost. */
    atomic_fetch_add(&pool->sleepers, 1);
    while ((region = atomic_load(&pool->region)) == seen) {
        futex_wait(&pool->region, seen);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    return region;
}

/* False where the region is over. A worker says that it comes and then looks whether the region is
 * closed, the caller closes it and then looks who has come (all sequentially consistent): one of
 * them sees the other. */
static bool join_region(struct worker *worker, unsigned region)
{
    atomic_store(&worker->state, 2 * region + 1);
    return (int)(atomic_load(&worker->pool->closed) - region) < 0;
}

static void leave_region(struct worker *worker, unsigned region)
{
    atomic_store(&worker->state, 2 * region);
    if (atomic_load(&worker->pool->caller_sleeps)) {
        futex_wake(&worker->state, 1);
    }
}

/* Between regions a thread holds nothing that others wait for. */
static void yield_sometimes(struct worker *worker)
{
    double now_s = cm_clock_s();
    if (now_s - worker->yield_s > YIELD_AFTER_S) {
        sched_yield();
        worker->yield_s = cm_clock_s();
    }
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    struct cm_pool *pool = worker->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_region(pool, seen);
        if (pool->closing) {
            return NULL;
        }
        bool joined = join_region(worker, seen);
        if (joined) {
            pool->function(pool->context, worker->index, pool->threads_count);
        }
        leave_region(worker, seen);
        yield_sometimes(worker);
    }
}

static unsigned begin_region(struct cm_pool *pool)
{
    unsigned region = atomic_fetch_add(&pool->region, 1) + 1;
    if (atomic_load(&pool->sleepers) > 0) {
        futex_wake(&pool->region, CM_POOL_THREADS_MAX);
    }
    return region;
}

static bool is_busy(const struct worker *worker, unsigned region, bool everyone)
{
    unsigned state = atomic_load(&worker->state);
    return everyone ? state != 2 * region : state == 2 * region + 1;
}

/* Until the worker has left the region; where everyone has to come, until it has been there. */
static void wait_for_worker(struct cm_pool *pool, struct worker *worker, unsigned region,
                            bool everyone)
{
    for (uint32_t i = 0; i < pool->watch_pauses; i++) {
        if (!is_busy(worker, region, everyone)) {
            return;
        }
        pause_briefly();
    }
    atomic_store(&pool->caller_sleeps, true);
    while (is_busy(worker, region, everyone)) {
        unsigned state = atomic_load(&worker->state);
        if (state != 2 * region) {
            futex_wait(&worker->state, state);
        }
    }
    atomic_store(&pool->caller_sleeps, false);
}

static void run_region(struct cm_pool *pool, cm_pool_function function, void *context,
                       bool everyone)
{
    if (pool->threads_count == 1) {
        function(context, 0, 1);
        return;
    }
    pool->function = function;
    pool->context = context;
    unsigned region = begin_region(pool);
    function(context, 0, pool->threads_count);
    if (!everyone) {
        atomic_store(&pool->closed, region);
    }
    for (uint32_t i = 0; i < pool->started; i++) {
        wait_for_worker(pool, &pool->workers[i], region, everyone);
    }
}

void cm_pool_run(struct cm_pool *pool, cm_pool_function function, void *context)
{
    run_region(pool, function, context, true);
}

void cm_pool_run_work(struct cm_pool *pool, cm_pool_function function, void *context)
{
    run_region(pool, function, context, false);
}

enum cm_status cm_pool_open(uint32_t threads_count, struct cm_pool **pool, struct cm_error *error)
{
    uint32_t processors = cm_pool_processors();
    if (threads_count > CM_POOL_THREADS_MAX) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%u threads are more than the %d that are allowed", threads_count,
                            CM_POOL_THREADS_MAX);
    }
    if (threads_count == 0) {
        threads_count = processors < CM_POOL_THREADS_MAX ? processors : CM_POOL_THREADS_MAX;
    }
    struct cm_pool *opened = cm_alloc_aligned(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for the thread pool");
    }
    opened->threads_count = threads_count;
    opened->watch_pauses = threads_count <= processors ? WATCH_PAUSES : 0;
    opened->workers = cm_alloc_aligned(threads_count, sizeof *opened->workers);
    if (opened->workers == NULL) {
        cm_pool_close(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for the thread pool");
    }
    /* Signals stay with the threads of the program, which know what to do about them. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = 0;
    for (uint32_t i = 1; i < threads_count && failure == 0; i++) {
        struct worker *worker = &opened->workers[opened->started];
        worker->pool = opened;
        worker->index = i;
        failure = pthread_create(&worker->thread, NULL, worker_main, worker);
        opened->started += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        uint32_t started = opened->started;
        cm_pool_close(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY,
                            "cannot start thread %u of %u: %s; ask for fewer threads", started + 2,
                            threads_count, strerror(failure));
    }
    *pool = opened;
    return CM_OK;
}

void cm_pool_close(struct cm_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pool->closing = true;
    begin_region(pool);
    for (uint32_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    cm_free(pool->workers);
    cm_free(pool);
}

uint32_t cm_pool_threads(const struct cm_pool *pool)
{
    return pool->threads_count;
}

struct cm_pool_range cm_pool_share(uint32_t items_count, uint32_t thread_index,
                                   uint32_t threads_count)
{
    uint64_t items = items_count;
    return (struct cm_pool_range){
        .begin = (uint32_t)(items * thread_index / threads_count),
        .end = (uint32_t)(items * (thread_index + 1) / threads_count),
    };
}

static unsigned long long pack_range(struct cm_pool_range range)
{
    return range.begin | (unsigned long long)range.end << 32;
}

static struct cm_pool_range unpack_range(unsigned long long packed)
{
    return (struct cm_pool_range){ (uint32_t)packed, (uint32_t)(packed >> 32) };
}

void cm_pool_work_init(struct cm_pool_work *work, uint32_t threads_count, uint32_t items_count,
                       uint32_t chunk_items)
{
    CM_ASSERT(chunk_items > 0 && threads_count > 0);
    work->chunk_items = chunk_items;
    work->shares_count = threads_count < CM_POOL_SHARES_MAX ? threads_count : CM_POOL_SHARES_MAX;
    for (uint32_t i = 0; i < work->shares_count; i++) {
        atomic_init(&work->shares[i].range,
                    pack_range(cm_pool_share(items_count, i, work->shares_count)));
    }
}

static bool take_chunk(struct cm_pool_work_share *share, uint32_t chunk_items, bool from_front,
                       struct cm_pool_range *range)
{
    unsigned long long packed = atomic_load_explicit(&share->range, memory_order_relaxed);
    struct cm_pool_range left;
    do {
        left = unpack_range(packed);
        if (left.begin >= left.end) {
            return false;
        }
        uint32_t items = left.end - left.begin < chunk_items ? left.end - left.begin : chunk_items;
        *range = left;
        if (from_front) {
            range->end = left.begin += items;
        } else {
            range->begin = left.end -= items;
        }
    } while (!atomic_compare_exchange_weak_explicit(&share->range, &packed, pack_range(left),
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

bool cm_pool_work_take(struct cm_pool_work *work, uint32_t thread_index,
                       struct cm_pool_range *range)
{
    for (uint32_t i = 0; i < work->shares_count; i++) {
        struct cm_pool_work_share *share = &work->shares[(thread_index + i) % work->shares_count];
        if (take_chunk(share, work->chunk_items, i == 0, range)) {
            return true;
        }
    }
    return false;
}
