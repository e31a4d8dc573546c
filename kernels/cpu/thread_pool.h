/* Threads that live as long as the back end and run one parallel region at a time.
 *
 * A region is a function that threads call with their number; the caller is thread 0. Between
 * regions the others watch for some microseconds, since the next op follows at once while a model
 * runs, and then sleep in the kernel. With more threads than processors nobody watches: a waiting
 * thread would only hold up the working ones. One region at a time, from one thread at a time;
 * regions do not nest.
 *
 * Where another program has one of the processors for its turn of some milliseconds, the threads
 * that are left do all the work (cm_pool_run_work), and a thread lets go of its processor between
 * regions from time to time, before it is taken away within one.
 */
#ifndef CM_KERNELS_CPU_THREAD_POOL_H
#define CM_KERNELS_CPU_THREAD_POOL_H

#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { CM_POOL_THREADS_MAX = 1024 };

struct cm_pool;

typedef void (*cm_pool_function)(void *context, uint32_t thread_index, uint32_t threads_count);

/* Processors this process may run on (sched_getaffinity); at least 1. */
uint32_t cm_pool_processors(void);

/* `threads_count` 0 means cm_pool_processors(); 1 starts no thread at all. CM_INVALID_ARGUMENT
 * above the maximum, CM_OUT_OF_MEMORY where a thread cannot be started. */
enum cm_status cm_pool_open(uint32_t threads_count, struct cm_pool **pool,
                            struct cm_error *error) CM_MUST_CHECK;
void cm_pool_close(struct cm_pool *pool);
uint32_t cm_pool_threads(const struct cm_pool *pool);

/* Every thread calls `function` once; returns when all have. */
void cm_pool_run(struct cm_pool *pool, cm_pool_function function, void *context);

/* The caller does, and those threads that come before it has finished; returns when they have. For
 * work that any of them can do alone: cm_pool_work, below. */
void cm_pool_run_work(struct cm_pool *pool, cm_pool_function function, void *context);

/* Items [begin, end) of thread `thread_index` where `items_count` items are cut evenly. */
struct cm_pool_range {
    uint32_t begin;
    uint32_t end;
};
struct cm_pool_range cm_pool_share(uint32_t items_count, uint32_t thread_index,
                                   uint32_t threads_count);

/* Dynamic work: each thread has an even share of the items, from whose front it takes chunks; where
 * its own has run dry it takes from the end of another's, so that a thread that is held up does
 * less. A thread's items thus follow one another as long as nobody is held up. The caller
 * initialises it before cm_pool_run. */
enum { CM_POOL_SHARES_MAX = 16 }; /* more threads than that share the shares */

struct cm_pool_work {
    uint32_t chunk_items;
    uint32_t shares_count;
    struct cm_pool_work_share {
        _Alignas(64) atomic_ullong range; /* begin in the low, end in the high half */
    } shares[CM_POOL_SHARES_MAX];
};
void cm_pool_work_init(struct cm_pool_work *work, uint32_t threads_count, uint32_t items_count,
                       uint32_t chunk_items);

/* False when nothing is left. */
bool cm_pool_work_take(struct cm_pool_work *work, uint32_t thread_index,
                       struct cm_pool_range *range);

#endif
