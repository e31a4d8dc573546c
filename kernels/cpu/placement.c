#include "kernels/cpu/placement.h"

#include "base/clock.h"
#include "base/memory.h"

#include <hwloc.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NODES_MAX = 64 };

/* --- The machine, looked at once --- */

struct machine {
    hwloc_topology_t topology; /* NULL: it could not be looked at */
    bool is_this_system;
    hwloc_obj_t nodes[NODES_MAX];
    uint32_t nodes_count;
    uint32_t quota_threads; /* UINT32_MAX: no quota */
};

static struct machine machine;
static pthread_once_t machine_once = PTHREAD_ONCE_INIT;

/* A node without cores is memory for others; two nodes with the same cores are one. */
static void find_nodes(void)
{
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(machine.topology, HWLOC_OBJ_NUMANODE, node)) !=
           NULL) {
        bool is_new = !hwloc_bitmap_iszero(node->cpuset) && machine.nodes_count < NODES_MAX;
        for (uint32_t i = 0; i < machine.nodes_count && is_new; i++) {
            is_new = !hwloc_bitmap_intersects(node->cpuset, machine.nodes[i]->cpuset);
        }
        if (is_new) {
            machine.nodes[machine.nodes_count++] = node;
        }
    }
}

/* Microseconds of processor time per period, of one control group; no quota: UINT32_MAX threads. */
static uint32_t quota_of_group(const char *path)
{
    unsigned long long quota_us;
    unsigned long long period_us;
    uint32_t threads = UINT32_MAX;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return threads;
    }
    if (fscanf(file, "%llu %llu", &quota_us, &period_us) == 2 && period_us > 0) {
        unsigned long long wanted = (quota_us + period_us - 1) / period_us;
        threads = wanted < 1 ? 1 : wanted < CM_POOL_THREADS_MAX ? (uint32_t)wanted : threads;
    }
    fclose(file);
    return threads;
}

/* The least of the process's control group and of those around it (version 2 of control groups). */
static uint32_t find_quota(void)
{
    static const char root[] = "/sys/fs/cgroup";
    char line[PATH_MAX] = "";
    char path[PATH_MAX + 64];
    uint32_t least = UINT32_MAX;
    FILE *file = fopen("/proc/self/cgroup", "r");
    bool found = false;
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, "0::/", 4) == 0;
    }
    if (file != NULL) {
        fclose(file);
    }
    char *group = line + 3; /* behind "0::" */
    for (group[found ? strcspn(group, "\n") : 0] = '\0'; found;) {
        snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        uint32_t threads = quota_of_group(path);
        least = threads < least ? threads : least;
        char *slash = strrchr(group, '/');
        if (slash == NULL) {
            break;
        }
        *slash = '\0';
    }
    return least;
}

static void look(void)
{
    machine.quota_threads = find_quota();
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) {
        return;
    }
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return;
    }
    machine.topology = topology;
    machine.is_this_system = hwloc_topology_is_thissystem(topology);
    hwloc_bitmap_t allowed = hwloc_bitmap_alloc();
    if (machine.is_this_system && allowed != NULL &&
        hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_THREAD) == 0) {
        (void)hwloc_topology_restrict(topology, allowed, HWLOC_RESTRICT_FLAG_REMOVE_CPULESS);
    }
    hwloc_bitmap_free(allowed);
    find_nodes();
}

static const struct machine *get_machine(void)
{
    pthread_once(&machine_once, look);
    return &machine;
}

static bool is_a_node(const struct machine *m, uint32_t node)
{
    return node > 0 && node <= m->nodes_count;
}

/* Of node 0 all; NULL where the machine could not be looked at. */
static hwloc_const_cpuset_t cpuset_of(uint32_t node)
{
    const struct machine *m = get_machine();
    if (m->topology == NULL) {
        return NULL;
    }
    return is_a_node(m, node) ? m->nodes[node - 1]->cpuset
                              : hwloc_topology_get_topology_cpuset(m->topology);
}

uint32_t cm_placement_nodes(void)
{
    uint32_t count = get_machine()->nodes_count;
    return count > 0 ? count : 1;
}

/* Virtual machines may show processors without cores. */
static hwloc_obj_type_t core_type(void)
{
    hwloc_topology_t topology = get_machine()->topology;
    return hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
}

/* Which of the node's cores are the place's. */
static struct cm_pool_range cores_of(struct cm_place place)
{
    hwloc_const_cpuset_t cpuset = cpuset_of(place.node);
    int count = cpuset != NULL ? hwloc_get_nbobjs_inside_cpuset_by_type(get_machine()->topology,
                                                                        cpuset, core_type())
                               : 0;
    uint32_t cores = count > 0 ? (uint32_t)count : cm_pool_processors();
    return place.shares > 1 ? cm_pool_share(cores, place.share, place.shares)
                            : (struct cm_pool_range){ 0, cores };
}

uint32_t cm_placement_cores(struct cm_place place)
{
    struct cm_pool_range cores = cores_of(place);
    return cores.end - cores.begin;
}

uint32_t cm_placement_threads(struct cm_place place)
{
    uint32_t cores = cm_placement_cores(place);
    uint32_t quota = get_machine()->quota_threads;
    if (quota != UINT32_MAX) {
        uint32_t places = place.node > 0 ? cm_placement_nodes() : 1;
        places *= place.shares > 1 ? place.shares : 1;
        quota = (quota + places - 1) / places;
    }
    return cores < quota ? cores : quota;
}

uint64_t cm_placement_memory_bytes(struct cm_place place)
{
    const struct machine *m = get_machine();
    return is_a_node(m, place.node) ? m->nodes[place.node - 1]->attr->numanode.local_memory : 0;
}

/* --- Binding --- */

struct cm_placement {
    struct cm_place place;
    bool is_bound;
    int *claims; /* [threads_count] sockets, one for each core */
    uint32_t threads_count;
    struct cm_pool *pool;
    hwloc_bitmap_t before; /* where the caller may run otherwise */
    double entered_s;
    long interruptions; /* of the caller, when it entered */
    uint32_t bad_stays; /* one after the other, see is_interrupted */
    uint32_t traded;    /* the thread with which the caller has traded its core last */

    struct cm_placement *next; /* this and what follows: guarded by bound.lock */
    uint32_t *cores;           /* [threads_count] which of the node's each thread has */
    pthread_t caller;
    bool is_entered;
};

/* Those of this process whose threads have a core each. */
static struct {
    pthread_mutex_t lock;
    struct cm_placement *first;
} bound = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* A program that computes on the caller's core takes it away more than a hundred times a second,
 * what a quiet system does in passing a few times. Short stays tell nothing. */
enum { INTERRUPTIONS_PER_S = 50, INTERRUPTIONS_MIN = 2, BAD_STAYS = 2 };
#define JUDGED_STAY_S 0.01

static hwloc_obj_t core_at(struct cm_place place, uint32_t core)
{
    return hwloc_get_obj_inside_cpuset_by_type(get_machine()->topology, cpuset_of(place.node),
                                               core_type(), core);
}

/* A socket that only one can have and that goes with the process; -1: another has it. */
static int claim_core(hwloc_obj_t core)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "copymill/core/%d",
                          hwloc_bitmap_first(core->cpuset));
    int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
    if (descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, bytes) != 0) {
        close(descriptor);
        descriptor = -1;
    }
    return descriptor;
}

static bool claim_cores(struct cm_placement *placement)
{
    for (uint32_t i = 0; i < placement->threads_count; i++) {
        placement->claims[i] = claim_core(core_at(placement->place, placement->cores[i]));
        if (placement->claims[i] < 0) {
            return false;
        }
    }
    return true;
}

static void drop_claims(struct cm_placement *placement)
{
    for (uint32_t i = 0; i < placement->threads_count; i++) {
        if (placement->claims[i] >= 0) {
            close(placement->claims[i]);
            placement->claims[i] = -1;
        }
    }
}

static void bind_thread(const struct cm_placement *placement, uint32_t thread_index)
{
    const struct machine *m = get_machine();
    if (placement->is_bound) {
        hwloc_obj_t core = core_at(placement->place, placement->cores[thread_index]);
        (void)hwloc_set_cpubind(m->topology, core->cpuset, HWLOC_CPUBIND_THREAD);
    } else if (placement->place.node > 0) {
        (void)hwloc_set_cpubind(m->topology, cpuset_of(placement->place.node),
                                HWLOC_CPUBIND_THREAD);
    }
}

static void bind_worker(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    if (thread_index > 0) {
        bind_thread(context, thread_index);
    }
}

static void enlist(struct cm_placement *placement)
{
    pthread_mutex_lock(&bound.lock);
    placement->is_bound = true;
    placement->next = bound.first;
    bound.first = placement;
    pthread_mutex_unlock(&bound.lock);
}

static void delist(struct cm_placement *placement)
{
    pthread_mutex_lock(&bound.lock);
    struct cm_placement **at = &bound.first;
    while (*at != placement) {
        at = &(*at)->next;
    }
    *at = placement->next;
    pthread_mutex_unlock(&bound.lock);
}

enum cm_status cm_placement_open(struct cm_place place, struct cm_pool *pool,
                                 struct cm_placement **placement)
{
    *placement = NULL;
    uint32_t threads_count = cm_pool_threads(pool);
    if (!get_machine()->is_this_system) {
        return CM_OK;
    }
    struct cm_placement *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->place = place;
    opened->pool = pool;
    opened->before = hwloc_bitmap_alloc();
    opened->claims = cm_alloc(threads_count, sizeof *opened->claims);
    opened->cores = cm_alloc(threads_count, sizeof *opened->cores);
    if (opened->before == NULL || opened->claims == NULL || opened->cores == NULL) {
        cm_placement_close(opened);
        return CM_OUT_OF_MEMORY;
    }
    opened->threads_count = threads_count;
    for (uint32_t i = 0; i < threads_count; i++) {
        opened->cores[i] = cores_of(place).begin + i;
    }
    memset(opened->claims, 0xff, threads_count * sizeof *opened->claims); /* -1 */
    /* Fewer threads than cores are better placed by the system, which sees who else is there. */
    bool fits = place.shares <= cm_placement_cores((struct cm_place){ .node = place.node });
    if (fits && threads_count == cm_placement_cores(place) && claim_cores(opened)) {
        enlist(opened);
    } else {
        drop_claims(opened);
    }
    cm_pool_run(pool, bind_worker, opened);
    *placement = opened;
    return CM_OK;
}

void cm_placement_close(struct cm_placement *placement)
{
    if (placement != NULL) {
        if (placement->is_bound) {
            delist(placement);
        }
        drop_claims(placement);
        hwloc_bitmap_free(placement->before);
        cm_free(placement->claims);
        cm_free(placement->cores);
        cm_free(placement);
    }
}

bool cm_placement_is_bound(const struct cm_placement *placement)
{
    return placement != NULL && placement->is_bound;
}

static long interruptions_of_caller(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nivcsw : 0;
}

static void judge_stay(struct cm_placement *placement)
{
    long count = interruptions_of_caller() - placement->interruptions;
    double stay_s = cm_clock_s() - placement->entered_s;
    if (stay_s >= JUDGED_STAY_S) {
        bool is_bad = count >= INTERRUPTIONS_MIN && (double)count > INTERRUPTIONS_PER_S * stay_s;
        placement->bad_stays = is_bad ? placement->bad_stays + 1 : 0;
    }
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t kept = *a;
    *a = *b;
    *b = kept;
}

/* The next of those that share the node with it, or NULL. With the lock held. */
static struct cm_placement *find_neighbour(const struct cm_placement *placement)
{
    const struct cm_placement *from = placement;
    for (;;) {
        struct cm_placement *at = from->next != NULL ? from->next : bound.first;
        if (at == placement) {
            return NULL;
        }
        if (at->place.node == placement->place.node && at->place.shares > 1) {
            return at;
        }
        from = at;
    }
}

/* Whoever shares the node gets its part of the bad core. A placement alone on it has other threads,
 * which can do without one of them for a while, but not without the caller. */
static void trade_core(struct cm_placement *placement)
{
    pthread_mutex_lock(&bound.lock);
    struct cm_placement *other = find_neighbour(placement);
    if (other != NULL) {
        swap(&placement->cores[0], &other->cores[0]);
        if (other->is_entered) {
            hwloc_obj_t core = core_at(other->place, other->cores[0]);
            (void)hwloc_set_thread_cpubind(get_machine()->topology, other->caller, core->cpuset, 0);
        }
    } else if (placement->threads_count > 1) {
        placement->traded = placement->traded % (placement->threads_count - 1) + 1;
        swap(&placement->cores[0], &placement->cores[placement->traded]);
    }
    pthread_mutex_unlock(&bound.lock);
    if (other == NULL) {
        cm_pool_run(placement->pool, bind_worker, placement);
    }
}

void cm_placement_enter(struct cm_placement *placement)
{
    if (placement == NULL || (!placement->is_bound && placement->place.node == 0)) {
        return;
    }
    if (placement->bad_stays == BAD_STAYS) {
        placement->bad_stays = 0;
        trade_core(placement);
    }
    hwloc_topology_t topology = get_machine()->topology;
    if (hwloc_get_cpubind(topology, placement->before, HWLOC_CPUBIND_THREAD) == 0) {
        pthread_mutex_lock(&bound.lock);
        placement->caller = pthread_self();
        placement->is_entered = true;
        bind_thread(placement, 0);
        pthread_mutex_unlock(&bound.lock);
    } else {
        hwloc_bitmap_zero(placement->before);
    }
    placement->entered_s = cm_clock_s();
    placement->interruptions = interruptions_of_caller();
}

void cm_placement_leave(struct cm_placement *placement)
{
    if (placement != NULL && !hwloc_bitmap_iszero(placement->before)) {
        if (placement->is_bound) {
            judge_stay(placement);
        }
        pthread_mutex_lock(&bound.lock);
        placement->is_entered = false;
        pthread_mutex_unlock(&bound.lock);
        (void)hwloc_set_cpubind(get_machine()->topology, placement->before, HWLOC_CPUBIND_THREAD);
        hwloc_bitmap_zero(placement->before);
    }
}
