/* Once on a machine of hwloc's imagination (HWLOC_SYNTHETIC in the test's environment: two nodes of
 * three cores with two threads each), once on this one. */
#include "base/clock.h"
#include "kernels/backend.h"
#include "kernels/cpu/placement.h"

#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_imagined(void)
{
    return getenv("HWLOC_SYNTHETIC") != NULL;
}

static const struct cm_place whole_machine;

static struct cm_pool *open_pool(uint32_t threads)
{
    struct cm_pool *pool = NULL;
    struct cm_error error;
    assert_int_equal(cm_pool_open(threads, &pool, &error), CM_OK);
    return pool;
}

static void places_are_nodes(void **state)
{
    (void)state;
    if (!is_imagined()) {
        skip();
    }
    assert_int_equal(cm_placement_nodes(), 2);
    assert_int_equal(cm_placement_cores(whole_machine), 6);
    assert_int_equal(cm_placement_cores((struct cm_place){ .node = 1 }), 3);
    assert_int_equal(cm_placement_cores((struct cm_place){ .node = 2 }), 3);
    assert_true(cm_placement_memory_bytes((struct cm_place){ .node = 2 }) > 0);
    assert_true(cm_placement_threads(whole_machine) >= 1 &&
                cm_placement_threads(whole_machine) <= 6);
}

static void as_few_places_as_hold_the_threads(void **state)
{
    (void)state;
    if (!is_imagined()) {
        skip();
    }
    assert_int_equal(cm_cpu_nodes(1), 1);
    assert_int_equal(cm_cpu_nodes(3), 1);
    assert_int_equal(cm_cpu_nodes(4), 2);
    assert_int_equal(cm_cpu_nodes(100), 2);
    assert_int_equal(cm_cpu_nodes(0), 2);
}

static void nothing_is_bound_elsewhere(void **state)
{
    (void)state;
    if (!is_imagined()) {
        skip();
    }
    struct cm_pool *pool = open_pool(6);
    struct cm_placement *placement = NULL;
    assert_int_equal(cm_placement_open(whole_machine, pool, &placement), CM_OK);
    assert_false(cm_placement_is_bound(placement));
    cm_placement_enter(placement);
    cm_placement_leave(placement);
    cm_placement_close(placement);
    cm_pool_close(pool);
}

static int allowed_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return CPU_COUNT(&set);
}

/* Which processors each thread of a region may run on. */
struct seen {
    cpu_set_t sets[8];
};

static void look_where(void *context, uint32_t thread_index, uint32_t threads_count)
{
    (void)threads_count;
    struct seen *seen = context;
    (void)sched_getaffinity(0, sizeof seen->sets[0], &seen->sets[thread_index]);
}

static void each_thread_has_a_core(void **state)
{
    (void)state;
    uint32_t cores = cm_placement_cores(whole_machine);
    if (is_imagined() || cores < 2 || cores > 8) {
        skip();
    }
    struct cm_pool *pool = open_pool(cores);
    struct cm_placement *first = NULL;
    struct cm_placement *second = NULL;
    int before = allowed_count();
    assert_int_equal(cm_placement_open(whole_machine, pool, &first), CM_OK);
    if (!cm_placement_is_bound(first)) {
        print_message("another copymill holds the cores: not tested\n");
        cm_placement_close(first);
        cm_pool_close(pool);
        return;
    }
    assert_int_equal(allowed_count(), before); /* the caller is not bound yet */
    static struct seen seen;
    cm_placement_enter(first);
    cm_pool_run(pool, look_where, &seen);
    cm_placement_leave(first);
    assert_int_equal(allowed_count(), before);
    for (uint32_t i = 0; i < cores; i++) {
        for (uint32_t j = 0; j < i; j++) {
            cpu_set_t both;
            CPU_AND(&both, &seen.sets[i], &seen.sets[j]);
            assert_int_equal(CPU_COUNT(&both), 0);
        }
    }
    /* Who comes second leaves it to the system. */
    struct cm_pool *other_pool = open_pool(cores);
    assert_int_equal(cm_placement_open(whole_machine, other_pool, &second), CM_OK);
    assert_false(cm_placement_is_bound(second));
    cm_placement_enter(second);
    assert_int_equal(allowed_count(), before);
    cm_placement_leave(second);
    cm_placement_close(second);
    cm_pool_close(other_pool);
    cm_placement_close(first);
    cm_pool_close(pool);
}

/* A program that computes on the caller's core, from now until it is killed. */
static pid_t occupy(const cpu_set_t *core)
{
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)sched_setaffinity(0, sizeof *core, core);
        for (;;) {
        }
    }
    return child;
}

static void compute_s(double seconds)
{
    double begin_s = cm_clock_s();
    while (cm_clock_s() - begin_s < seconds) {
    }
}

/* Stays until the caller has another core than at first, where another program computes. */
static void stay_until_moved(struct cm_placement *placement, struct cm_pool *pool,
                             struct seen *first, struct seen *last)
{
    cm_placement_enter(placement);
    cm_pool_run(pool, look_where, first);
    cm_placement_leave(placement);
    pid_t other = occupy(&first->sets[0]);
    assert_true(other > 0);
    bool moved = false;
    for (int i = 0; i < 50 && !moved; i++) {
        cm_placement_enter(placement);
        cm_pool_run(pool, look_where, last);
        compute_s(0.1);
        cm_placement_leave(placement);
        moved = !CPU_EQUAL(&first->sets[0], &last->sets[0]);
    }
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    assert_true(moved);
}

static void the_caller_leaves_a_busy_core(void **state)
{
    (void)state;
    uint32_t cores = cm_placement_cores(whole_machine);
    if (is_imagined() || cores < 2 || cores > 8) {
        skip();
    }
    struct cm_pool *pool = open_pool(cores);
    struct cm_placement *placement = NULL;
    assert_int_equal(cm_placement_open(whole_machine, pool, &placement), CM_OK);
    if (cm_placement_is_bound(placement)) {
        struct seen first;
        struct seen last;
        stay_until_moved(placement, pool, &first, &last);
        assert_true(CPU_EQUAL(&first.sets[0], &last.sets[1])); /* they have traded */
        assert_true(CPU_EQUAL(&first.sets[1], &last.sets[0]));
    } else {
        print_message("another copymill holds the cores: not tested\n");
    }
    cm_placement_close(placement);
    cm_pool_close(pool);
}

static void neighbours_take_turns_on_a_busy_core(void **state)
{
    (void)state;
    if (is_imagined() || cm_placement_cores(whole_machine) != 2) {
        skip();
    }
    struct cm_pool *pools[2] = { open_pool(1), open_pool(1) };
    struct cm_placement *placements[2] = { NULL, NULL };
    for (uint32_t i = 0; i < 2; i++) {
        struct cm_place place = { .share = i, .shares = 2 };
        assert_int_equal(cm_placement_cores(place), 1);
        assert_int_equal(cm_placement_open(place, pools[i], &placements[i]), CM_OK);
    }
    if (cm_placement_is_bound(placements[0]) && cm_placement_is_bound(placements[1])) {
        struct seen first;
        struct seen last;
        struct seen seen;
        stay_until_moved(placements[0], pools[0], &first, &last);
        cm_placement_enter(placements[1]);
        cm_pool_run(pools[1], look_where, &seen);
        cm_placement_leave(placements[1]);
        assert_true(CPU_EQUAL(&seen.sets[0], &first.sets[0])); /* they have traded */
    } else {
        print_message("another copymill holds the cores: not tested\n");
    }
    for (uint32_t i = 0; i < 2; i++) {
        cm_placement_close(placements[i]);
        cm_pool_close(pools[i]);
    }
}

static void fewer_threads_than_cores_are_free(void **state)
{
    (void)state;
    if (is_imagined() || cm_placement_cores(whole_machine) < 2) {
        skip();
    }
    struct cm_pool *pool = open_pool(cm_placement_cores(whole_machine) - 1);
    struct cm_placement *placement = NULL;
    assert_int_equal(cm_placement_open(whole_machine, pool, &placement), CM_OK);
    assert_false(cm_placement_is_bound(placement));
    cm_placement_close(placement);
    cm_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_nodes),
        cmocka_unit_test(as_few_places_as_hold_the_threads),
        cmocka_unit_test(nothing_is_bound_elsewhere),
        cmocka_unit_test(each_thread_has_a_core),
        cmocka_unit_test(the_caller_leaves_a_busy_core),
        cmocka_unit_test(neighbours_take_turns_on_a_busy_core),
        cmocka_unit_test(fewer_threads_than_cores_are_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
