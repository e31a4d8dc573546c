/* Where the threads of a back end run: what hwloc tells of the machine, as far as this process may
 * use it (affinity, cpuset, and the processor quota of its control group).
 *
 * A place is a NUMA node, its cores and the memory next to them, or a share of it: back ends that
 * work side by side have each a part of its cores.
 *
 * Threads are bound to a core each where a back end has one for every core of its place and no
 * other program of this kind holds one of them (an abstract socket per core tells, in the same
 * network namespace); else to the cores of their node, where there are several nodes; else not at
 * all. The thread that calls the ops is bound between enter and leave only, since it has other
 * things to do and other threads to start. Where another program keeps taking its core away, it
 * trades cores with the caller of the next back end that shares the node, so that each has its part
 * of the trouble, or else with one of its own other threads, which can be done without for a while
 * (thread_pool.h).
 *
 * HWLOC_SYNTHETIC and HWLOC_XMLFILE (hwloc(7)) put another machine in the place of this one;
 * nothing is bound then. */
#ifndef CM_KERNELS_CPU_PLACEMENT_H
#define CM_KERNELS_CPU_PLACEMENT_H

#include "base/status.h"
#include "kernels/cpu/thread_pool.h"

struct cm_place {
    uint32_t node;   /* 1 to cm_placement_nodes(); 0: the whole machine */
    uint32_t share;  /* which one of so many equal shares of it */
    uint32_t shares; /* 0 and 1: all of it */
};

/* Nodes that have cores for this process, at least 1. Of any thread, as all that follow but for
 * enter and leave. */
uint32_t cm_placement_nodes(void);

/* Cores of a place, hyperthreads of one counted once. */
uint32_t cm_placement_cores(struct cm_place place);

/* How many threads are worth having there: its cores, or fewer where the process has a quota. */
uint32_t cm_placement_threads(struct cm_place place);

/* Of the place's node, all of it; 0 where it is not known. */
uint64_t cm_placement_memory_bytes(struct cm_place place);

struct cm_placement;

/* Binds the pool's threads but for the caller, as far as is said above. */
enum cm_status cm_placement_open(struct cm_place place, struct cm_pool *pool,
                                 struct cm_placement **placement) CM_MUST_CHECK;
void cm_placement_close(struct cm_placement *placement);          /* NULL is fine */
bool cm_placement_is_bound(const struct cm_placement *placement); /* a core for each thread */

/* The calling thread is one of the place until it leaves it. Not nested; one thread at a time. */
void cm_placement_enter(struct cm_placement *placement);
void cm_placement_leave(struct cm_placement *placement);

#endif
