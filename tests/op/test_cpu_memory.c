/* What the CPU back end keeps between ops: tables of rotary positions, blocks for weights, and
 * which pages come next. */
#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/kv_pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PAIRS = 8 };

static struct cm_backend *open_backend(void)
{
    struct cm_backend_options options = { .threads = 1, .rows_max = 4 };
    struct cm_backend *backend = NULL;
    struct cm_error error;
    assert_int_equal(cm_backend_open_cpu(&options, &backend, &error), CM_OK);
    return backend;
}

static void check_table(struct cm_backend *backend, const float *frequencies, uint32_t positions)
{
    const struct cm_rotation_table *table =
        cm_rotation_table_find(backend, frequencies, PAIRS, positions);
    assert_non_null(table);
    assert_true(table->positions_count >= positions);
    for (uint32_t p = 0; p < positions; p += p < 3 ? 1 : positions / 7) {
        for (uint32_t i = 0; i < PAIRS; i++) {
            float angle = (float)p * frequencies[i];
            float sine;
            float cosine;
            sincosf(angle, &sine, &cosine);
            const float *values = table->values + (size_t)p * 2 * PAIRS;
            assert_true(values[i] == cosine && values[PAIRS + i] == sine);
        }
    }
}

static void tables_hold_all_positions_as_they_grow(void **state)
{
    (void)state;
    struct cm_backend *backend = open_backend();
    float first[PAIRS];
    float second[PAIRS];
    float third[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        first[i] = powf(10000.0f, (float)-i / PAIRS);
        second[i] = first[i] / 8;
        third[i] = first[i] / 3;
    }
    check_table(backend, first, 1);
    check_table(backend, second, 700);
    check_table(backend, first, 5000);
    check_table(backend, first, 40);
    /* A third list, and positions without end, have no table: the op computes them. */
    assert_null(cm_rotation_table_find(backend, third, PAIRS, 10));
    assert_null(cm_rotation_table_find(backend, first, PAIRS, 1u << 30));
    cm_backend_close(backend);
}

static void a_table_without_memory_is_none(void **state)
{
    (void)state;
    struct cm_backend *backend = open_backend();
    float frequencies[PAIRS] = { 1.0f };
    for (uint64_t nth = 1; nth <= 2; nth++) {
        cm_memory_fail_at(nth);
        assert_null(cm_rotation_table_find(backend, frequencies, PAIRS, 10));
    }
    cm_memory_fail_at(0);
    check_table(backend, frequencies, 10);
    cm_backend_close(backend);
}

static void weights_share_blocks(void **state)
{
    (void)state;
    struct cm_panel_block *current = NULL;
    struct cm_panel_block *blocks[4];
    size_t large = (size_t)40 << 20;
    uint8_t *first = cm_panel_memory_take(&current, 1000, &blocks[0]);
    uint8_t *second = cm_panel_memory_take(&current, 100, &blocks[1]);
    assert_ptr_equal(blocks[0], blocks[1]);
    assert_true((uintptr_t)first % CM_CACHE_LINE_BYTES == 0);
    assert_true(second >= first + 1000 && (uintptr_t)second % CM_CACHE_LINE_BYTES == 0);
    cm_memory_fail_at(1);
    assert_null(cm_panel_memory_take(&current, large, &blocks[2]));
    cm_memory_fail_at(2);
    assert_null(cm_panel_memory_take(&current, large, &blocks[2]));
    cm_memory_fail_at(0);
    uint8_t *third = cm_panel_memory_take(&current, large, &blocks[2]);
    assert_non_null(third);
    assert_ptr_not_equal(blocks[2], blocks[0]);
    third[large - 1] = 1;
    assert_null(cm_panel_memory_take(&current, SIZE_MAX, &blocks[3]));
    first[0] = second[99] = 1; /* the first block stays as long as it is held */
    cm_panel_block_release(blocks[0]);
    second[0] = 1;
    cm_panel_block_release(blocks[1]);
    cm_panel_block_release(current);
    third[0] = 1;
    cm_panel_block_release(blocks[2]);
}

/* Two threads together ask for every line of the layer in every page, and for no other layer. */
static void coming_pages_are_asked_for_line_by_line(void **state)
{
    (void)state;
    enum { PAGES = 5, PAGE_LINES = 40, LAYER_LINES = 20, STEPS = 3, THREADS = 2 };
    static unsigned char memory[PAGES * PAGE_LINES * CM_CACHE_LINE_BYTES];
    struct cm_kv_pool pool = {
        .layer_bytes = LAYER_LINES * CM_CACHE_LINE_BYTES,
        .page_bytes = PAGE_LINES * CM_CACHE_LINE_BYTES,
        .pages = memory,
    };
    const struct cm_visit visits[] = { { 4, 0, 0, 2 }, { 0, 16, 0, 1 }, { 2, 16, 1, 2 } };
    static struct cm_coming_pages coming;
    bool asked[PAGES][PAGE_LINES] = { 0 };
    cm_coming_pages_set(&coming, &pool, 1, visits, 3, THREADS);
    for (uint32_t thread = 0; thread < THREADS; thread++) {
        uint32_t lines;
        const uint8_t *from;
        while ((from = cm_coming_pages_take(&coming, thread, STEPS, &lines)) != NULL) {
            size_t first = (size_t)(from - memory) / CM_CACHE_LINE_BYTES;
            assert_in_range(lines, 1, 3);
            for (uint32_t i = 0; i < lines * STEPS && first % PAGE_LINES + i < PAGE_LINES; i++) {
                asked[first / PAGE_LINES][first % PAGE_LINES + i] = true;
            }
        }
        assert_int_equal(lines, 0);
    }
    for (int page = 0; page < PAGES; page++) {
        for (int line = 0; line < PAGE_LINES; line++) {
            assert_int_equal(asked[page][line], page % 2 == 0 && line >= LAYER_LINES);
        }
    }
    uint32_t lines;
    assert_null(cm_coming_pages_take(&coming, THREADS, STEPS, &lines));
    cm_coming_pages_set(&coming, &pool, 1, visits, 0, THREADS);
    assert_null(cm_coming_pages_take(&coming, 0, STEPS, &lines));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coming_pages_are_asked_for_line_by_line),
        cmocka_unit_test(tables_hold_all_positions_as_they_grow),
        cmocka_unit_test(a_table_without_memory_is_none),
        cmocka_unit_test(weights_share_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
