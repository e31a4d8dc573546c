/* How threads are put into groups: by texts in flight, memory and nodes. */
#include "host/cpu_groups.h"
#include "host/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PLENTY = 1 << 20 };

static struct cm_cpu_groups plan(const struct cm_cpu_groups_options *options)
{
    struct cm_cpu_groups groups;
    cm_cpu_groups_plan(options, &groups);
    assert_in_range(groups.count, 1, CM_CPU_GROUPS_MAX);
    return groups;
}

static struct cm_cpu_groups plan_one_node(uint32_t threads, uint32_t batch, uint32_t texts_max,
                                          uint64_t texts_fit)
{
    return plan(&(struct cm_cpu_groups_options){
        .node_threads = &threads,
        .nodes_count = 1,
        .batch = batch,
        .texts_max = texts_max,
        .texts_fit = texts_fit,
    });
}

static uint32_t batch_of(const struct cm_cpu_groups *groups)
{
    uint32_t batch = 0;
    for (uint32_t i = 0; i < groups->count; i++) {
        batch += groups->groups[i].batch;
    }
    return batch;
}

static uint32_t threads_of(const struct cm_cpu_groups *groups)
{
    uint32_t threads = 0;
    for (uint32_t i = 0; i < groups->count; i++) {
        assert_in_range(groups->groups[i].threads, 1, UINT32_MAX);
        threads += groups->groups[i].threads;
    }
    return threads;
}

static void each_thread_is_a_group_by_default(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= CM_CPU_GROUPS_MAX; threads++) {
        struct cm_cpu_groups groups = plan_one_node(threads, 0, 0, PLENTY);
        assert_int_equal(groups.count, threads);
        for (uint32_t i = 0; i < threads; i++) {
            assert_int_equal(groups.groups[i].node, 0);
            assert_int_equal(groups.groups[i].share, i);
            assert_int_equal(groups.groups[i].shares, threads);
            assert_int_equal(groups.groups[i].threads, 1);
            assert_int_equal(groups.groups[i].batch, CM_GROUP_TEXTS);
        }
    }
}

static void a_batch_is_divided_and_not_below_the_least(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 80; threads++) {
        for (uint32_t batch = 1; batch <= CM_ENGINE_BATCH_MAX; batch += 1 + batch / 7) {
            struct cm_cpu_groups groups = plan_one_node(threads, batch, 0, PLENTY);
            assert_int_equal(batch_of(&groups), batch);
            assert_int_equal(threads_of(&groups), threads);
            for (uint32_t i = 0; i < groups.count && groups.count > 1; i++) {
                assert_in_range(groups.groups[i].batch, CM_GROUP_TEXTS_MIN, batch);
            }
        }
    }
    assert_int_equal(plan_one_node(2, 2 * CM_GROUP_TEXTS_MIN - 1, 0, PLENTY).count, 1);
    assert_int_equal(plan_one_node(2, 2 * CM_GROUP_TEXTS_MIN, 0, PLENTY).count, 2);
}

static void few_texts_are_computed_together(void **state)
{
    (void)state;
    struct cm_cpu_groups groups = plan_one_node(8, 0, 12, PLENTY);
    assert_int_equal(groups.count, 1);
    assert_int_equal(groups.groups[0].threads, 8);
    assert_int_equal(groups.groups[0].batch, 12);
    assert_int_equal(plan_one_node(8, 0, 3 * CM_GROUP_TEXTS_MIN, PLENTY).count, 3);
    assert_int_equal(plan_one_node(8, 0, 1 << 20, PLENTY).count, 8);
}

static void memory_bounds_the_batch_and_the_groups(void **state)
{
    (void)state;
    struct cm_cpu_groups groups = plan_one_node(16, 0, 0, 4 * CM_GROUP_TEXTS);
    assert_int_equal(batch_of(&groups), 4 * CM_GROUP_TEXTS);
    assert_int_equal(groups.count, 4 * CM_GROUP_TEXTS / CM_GROUP_TEXTS_MIN);
    groups = plan_one_node(16, 0, 0, 3); /* a batch waits for pages then */
    assert_int_equal(groups.count, 1);
    assert_int_equal(groups.groups[0].batch, CM_GROUP_TEXTS);
    groups = plan_one_node(16, 1024, 0, CM_GROUP_TEXTS);
    assert_int_equal(groups.count, 1);
    assert_int_equal(groups.groups[0].batch, 1024);
}

static void every_node_has_groups_of_its_own(void **state)
{
    (void)state;
    const uint32_t node_threads[] = { 3, 2 };
    struct cm_cpu_groups_options options = {
        .node_threads = node_threads,
        .nodes_count = 2,
        .texts_fit = PLENTY,
    };
    static const uint32_t nodes[] = { 1, 1, 1, 2, 2 };
    static const uint32_t shares[] = { 0, 1, 2, 0, 1 };
    struct cm_cpu_groups groups = plan(&options);
    assert_int_equal(groups.count, 5);
    assert_int_equal(batch_of(&groups), 5 * CM_GROUP_TEXTS);
    for (uint32_t i = 0; i < groups.count; i++) {
        assert_int_equal(groups.groups[i].node, nodes[i]);
        assert_int_equal(groups.groups[i].share, shares[i]);
    }
    options.batch = 2 * CM_BEAMS_MAX; /* small, but weights next to the cores are worth it */
    groups = plan(&options);
    assert_int_equal(groups.count, 2);
    assert_int_equal(groups.groups[0].threads, 3);
    assert_int_equal(groups.groups[1].threads, 2);
    options.batch = 2 * CM_BEAMS_MAX - 1; /* too small for all beams of a text on each */
    groups = plan(&options);
    assert_int_equal(groups.count, 1);
    assert_int_equal(groups.groups[0].node, 0);
    assert_int_equal(groups.groups[0].threads, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_thread_is_a_group_by_default),
        cmocka_unit_test(a_batch_is_divided_and_not_below_the_least),
        cmocka_unit_test(few_texts_are_computed_together),
        cmocka_unit_test(memory_bounds_the_batch_and_the_groups),
        cmocka_unit_test(every_node_has_groups_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
