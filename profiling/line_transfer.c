/* line_transfer: what a cache line takes from one processor to another and back, in ns.
 *
 * The first two processors that this program may run on write one line in turn. On a virtual
 * machine the figure tells whether the host has put both where they share a cache; what two threads
 * make depends on it more than on most changes to a program, and it changes from minute to minute.
 */
#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRANSFERS = 100000, PROCESSORS = 2 };

static _Alignas(64) atomic_int line; /* even: it is the first processor's turn */

static void stay_on(int processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
        perror("line_transfer");
        exit(1);
    }
}

/* Hands the line over TRANSFERS times. */
static void take_turns(int turn)
{
    for (int i = 0; i < TRANSFERS; i++) {
        while (atomic_load_explicit(&line, memory_order_acquire) != 2 * i + turn) {
        }
        atomic_store_explicit(&line, 2 * i + turn + 1, memory_order_release);
    }
}

static void *run_second(void *processor)
{
    stay_on(*(int *)processor);
    take_turns(1);
    return NULL;
}

int main(void)
{
    int processors[PROCESSORS];
    int count = 0;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        perror("line_transfer");
        return 1;
    }
    for (int i = 0; i < CPU_SETSIZE && count < PROCESSORS; i++) {
        if (CPU_ISSET(i, &allowed)) {
            processors[count++] = i;
        }
    }
    pthread_t second;
    if (count < PROCESSORS || pthread_create(&second, NULL, run_second, &processors[1]) != 0) {
        fprintf(stderr, "line_transfer: wants two processors and a thread for each.\n");
        return 1;
    }
    stay_on(processors[0]);
    double began = cm_clock_s();
    take_turns(0);
    pthread_join(second, NULL);
    printf("%.0f\n", (cm_clock_s() - began) / TRANSFERS * 1e9);
    return 0;
}
