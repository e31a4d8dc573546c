#include "kernels/cpu/panel_work.h"
#include "kernels/cpu/thread_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { ITEMS = 1000 };

struct region {
    struct cm_pool_work work;
    unsigned touched[ITEMS]; /* plain on purpose: the pool must order these accesses */
    unsigned visits[8];
    uint32_t threads_count;
};

static void touch_items(void *context, uint32_t thread_index, uint32_t threads_count)
{
    struct region *region = context;
    region->visits[thread_index]++;
    if (thread_index == 0) {
        region->threads_count = threads_count;
    }
    struct cm_pool_range range;
    while (cm_pool_work_take(&region->work, thread_index, &range)) {
        for (uint32_t i = range.begin; i < range.end; i++) {
            region->touched[i]++;
        }
    }
}

static void check_pool(uint32_t threads, int regions)
{
    struct cm_pool *pool = NULL;
    struct cm_error error;
    assert_int_equal(cm_pool_open(threads, &pool, &error), CM_OK);
    assert_int_equal(cm_pool_threads(pool), threads);
    static struct region region;
    region = (struct region){ .threads_count = 0 };
    for (int i = 0; i < regions; i++) {
        cm_pool_work_init(&region.work, threads, ITEMS, 7);
        cm_pool_run(pool, touch_items, &region);
        /* Now and then long enough for the workers to fall asleep. */
        if (i % 50 == 49) {
            nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
        }
    }
    assert_int_equal(region.threads_count, threads);
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_int_equal(region.touched[i], regions);
    }
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(region.visits[i], i < threads ? regions : 0);
    }
    cm_pool_close(pool);
}

static void every_thread_runs_every_region_once(void **state)
{
    (void)state;
    check_pool(1, 200);
    check_pool(2, 200);
    check_pool(5, 200);
}

/* Regions for whoever comes, between regions for all. Returns how often one of the others came. */
static unsigned count_helpers(uint32_t threads, int regions)
{
    struct cm_pool *pool = NULL;
    struct cm_error error;
    assert_int_equal(cm_pool_open(threads, &pool, &error), CM_OK);
    static struct region region;
    region = (struct region){ .threads_count = 0 };
    unsigned helpers = 0;
    for (int i = 0; i < regions; i++) {
        bool everyone = i % 10 == 9;
        memset(region.visits, 0, sizeof region.visits);
        cm_pool_work_init(&region.work, threads, ITEMS, 7);
        (everyone ? cm_pool_run : cm_pool_run_work)(pool, touch_items, &region);
        assert_int_equal(region.visits[0], 1);
        for (uint32_t k = 1; k < threads; k++) {
            assert_in_range(region.visits[k], everyone ? 1 : 0, 1);
            helpers += everyone ? 0 : region.visits[k];
        }
    }
    for (uint32_t i = 0; i < ITEMS; i++) {
        assert_int_equal(region.touched[i], regions);
    }
    cm_pool_close(pool);
    return helpers;
}

static void the_caller_does_not_wait_for_helpers(void **state)
{
    (void)state;
    enum { REGIONS = 400 };
    count_helpers(1, REGIONS);
    count_helpers(2, REGIONS);
    /* To wake takes a thread longer than this work takes the caller. */
    assert_true(count_helpers(8, REGIONS) < 7 * (REGIONS - REGIONS / 10));
}

/* Threads that have not come to the last region are still on their way when the pool closes. */
static void a_pool_closes_under_late_threads(void **state)
{
    (void)state;
    static struct region region;
    region = (struct region){ .threads_count = 0 };
    for (unsigned i = 1; i <= 100; i++) {
        struct cm_pool *pool = NULL;
        struct cm_error error;
        assert_int_equal(cm_pool_open(4, &pool, &error), CM_OK);
        cm_pool_work_init(&region.work, 4, ITEMS, ITEMS);
        cm_pool_run_work(pool, touch_items, &region);
        cm_pool_close(pool);
        assert_int_equal(region.touched[0], i);
        assert_int_equal(region.touched[ITEMS - 1], i);
    }
}

static void shares_cover_all_items(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads < 9; threads++) {
        uint32_t end = 0;
        for (uint32_t i = 0; i < threads; i++) {
            struct cm_pool_range range = cm_pool_share(13, i, threads);
            assert_int_equal(range.begin, end);
            end = range.end;
        }
        assert_int_equal(end, 13);
    }
}

/* Every panel meets every tile once, whoever takes how much. */
static void check_panels(uint32_t threads, uint32_t panels_count, uint32_t tiles_count)
{
    enum { PANELS_MAX = 48, TILES_MAX = 24 };
    static uint8_t met[PANELS_MAX][TILES_MAX];
    memset(met, 0, sizeof met);
    static struct cm_panel_work work;
    cm_panel_work_init(&work, threads, panels_count, tiles_count, 1);
    struct cm_pool_range panels;
    struct cm_pool_range tiles;
    for (uint32_t i = 0; cm_panel_work_take(&work, i * i % threads, &panels, &tiles); i++) {
        assert_true(panels.begin < panels.end && panels.end <= panels_count);
        assert_true(tiles.begin < tiles.end && tiles.end <= tiles_count);
        for (uint32_t panel = panels.begin; panel < panels.end; panel++) {
            for (uint32_t tile = tiles.begin; tile < tiles.end; tile++) {
                met[panel][tile]++;
            }
        }
    }
    for (uint32_t panel = 0; panel < panels_count; panel++) {
        for (uint32_t tile = 0; tile < tiles_count; tile++) {
            assert_int_equal(met[panel][tile], 1);
        }
    }
}

static void panels_meet_all_tiles_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 20; threads += 3) {
        for (uint32_t panels = 1; panels <= 48; panels += 5) {
            for (uint32_t tiles = 1; tiles <= 24; tiles++) {
                check_panels(threads, panels, tiles);
            }
        }
    }
}

/* Own items in rising order, then those of the others from their ends. */
static void an_idle_thread_helps_the_others(void **state)
{
    (void)state;
    static struct cm_pool_work work;
    struct cm_pool_range range;
    cm_pool_work_init(&work, 2, 10, 2);
    const uint32_t begins[] = { 5, 7, 9, 3, 1, 0 };
    const uint32_t ends[] = { 7, 9, 10, 5, 3, 1 };
    for (int i = 0; i < 6; i++) {
        assert_true(cm_pool_work_take(&work, 1, &range));
        assert_int_equal(range.begin, begins[i]);
        assert_int_equal(range.end, ends[i]);
    }
    assert_false(cm_pool_work_take(&work, 1, &range));
    assert_false(cm_pool_work_take(&work, 0, &range));
}

static void an_idle_pool_uses_no_processor_time(void **state)
{
    (void)state;
    struct cm_pool *pool = NULL;
    struct cm_error error;
    struct timespec before;
    struct timespec after;
    assert_int_equal(cm_pool_open(4, &pool, &error), CM_OK);
    static struct region region;
    cm_pool_work_init(&region.work, 4, ITEMS, 1);
    cm_pool_run(pool, touch_items, &region);
    nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    long used_us =
        (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    assert_true(used_us < 20000);
    cm_pool_close(pool);
}

static void too_many_threads_are_refused(void **state)
{
    (void)state;
    struct cm_pool *pool = NULL;
    struct cm_error error;
    assert_int_equal(cm_pool_open(CM_POOL_THREADS_MAX + 1, &pool, &error), CM_INVALID_ARGUMENT);
    cm_pool_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_every_region_once),
        cmocka_unit_test(the_caller_does_not_wait_for_helpers),
        cmocka_unit_test(a_pool_closes_under_late_threads),
        cmocka_unit_test(shares_cover_all_items),
        cmocka_unit_test(panels_meet_all_tiles_once),
        cmocka_unit_test(an_idle_thread_helps_the_others),
        cmocka_unit_test(an_idle_pool_uses_no_processor_time),
        cmocka_unit_test(too_many_threads_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
