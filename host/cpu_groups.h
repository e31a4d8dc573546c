/* How the threads of the CPU are put into groups, each of which is a replica of the model with
 * texts of its own.
 *
 * Threads that compute one step together wait for each other at every op and read what the others
 * have written, which costs them up to a fifth where their cores share no cache; groups never wait.
 * But a step of few texts is dear, since each weight is then used a few times only. So there are as
 * many groups as have CM_GROUP_TEXTS_MIN texts in flight each, and at most one for each thread.
 */
#ifndef CM_HOST_CPU_GROUPS_H
#define CM_HOST_CPU_GROUPS_H

#include <stdint.h>

enum {
    CM_CPU_GROUPS_MAX = 64,
    CM_GROUP_TEXTS = 64, /* in flight by default */
    CM_GROUP_TEXTS_MIN = 48,
};

struct cm_cpu_group {
    uint32_t node;   /* NUMA node from 1 on, in whose memory the weights are; 0: anywhere */
    uint32_t share;  /* the group's part of the node's cores: one of so many */
    uint32_t shares; /* at least 1 */
    uint32_t threads;
    uint32_t batch;
};

struct cm_cpu_groups {
    struct cm_cpu_group groups[CM_CPU_GROUPS_MAX];
    uint32_t count; /* at least 1 */
};

struct cm_cpu_groups_options {
    const uint32_t *node_threads; /* [nodes_count] at least 1 each */
    uint32_t nodes_count;         /* 1 to CM_CPU_GROUPS_MAX */
    uint32_t batch;               /* texts in flight of all groups; 0: as many as pay */
    uint32_t texts_max;           /* there will never be more at a time; 0: not known */
    uint64_t texts_fit;           /* for so many there is memory */
};

void cm_cpu_groups_plan(const struct cm_cpu_groups_options *options, struct cm_cpu_groups *groups);

#endif
