#include "base/memory.h"
#include "loaders/segments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

static enum cm_status open_text(const char *text, struct cm_segments *segments,
                                struct cm_error *error)
{
    char path[TEMP_PATH_BYTES];
    temp_file_write_text(path, text);
    enum cm_status status = cm_segments_open(path, segments, error);
    temp_file_remove(path);
    return status;
}

static void segments_keep_their_columns(void **state)
{
    (void)state;
    struct cm_segments segments;
    struct cm_error error;
    assert_int_equal(open_text("tone,segment_id,Lang,note\nwarm,new-parents,ZH,\"a\nb\"\n"
                               "brief,students,,\n",
                               &segments, &error),
                     CM_OK);
    assert_int_equal(segments.count, 2);
    assert_string_equal(segments.items[0].id, "new-parents");
    assert_string_equal(segments.items[0].language, "zh");
    assert_int_equal(segments.items[0].attributes_count, 3);
    assert_string_equal(segments.items[0].attributes[0].name, "tone");
    assert_string_equal(cm_segment_find(&segments.items[0], "TONE"), "warm");
    assert_string_equal(cm_segment_find(&segments.items[0], "id"), "new-parents");
    assert_null(cm_segment_find(&segments.items[0], "age"));
    assert_string_equal(segments.items[1].language, "");
    assert_int_equal(segments.items[1].line, 4);
    cm_segments_deinit(&segments);
}

static void json_and_first_columns_serve_too(void **state)
{
    (void)state;
    struct cm_segments segments;
    struct cm_error error;
    assert_int_equal(
        open_text("[{\"name\": \"a\", \"tone\": \"warm\"}, {\"name\": \"b\"}]", &segments, &error),
        CM_OK);
    assert_int_equal(segments.count, 2);
    assert_string_equal(segments.items[1].id, "b");
    assert_string_equal(cm_segment_find(&segments.items[0], "tone"), "warm");
    cm_segments_deinit(&segments);
}

static void no_file_is_one_neutral_segment(void **state)
{
    (void)state;
    struct cm_segments segments;
    struct cm_error error;
    assert_int_equal(cm_segments_open(NULL, &segments, &error), CM_OK);
    assert_int_equal(segments.count, 1);
    assert_string_equal(segments.items[0].id, "all");
    assert_string_equal(segments.items[0].language, "");
    cm_segments_deinit(&segments);
}

static void bad_files_are_refused_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        { "", "is empty" },
        { "segment_id,tone\n", "holds no segment" },
        { "segment_id,tone\na,x\n,y\n", ":3: the segment has no id" },
        { "segment_id,tone\na,x\nb,y\na,z\n", ":4: the segment id a is already on line 2" },
        { "segment_id,who\na,write to jo.doe@example.com now\n", ":2: column who" },
        { "segment_id,who\na,+49 (170) 123-4567\n", "phone" },
        { "segment_id,who\na,4111 1111 1111 1111\n", "phone" },
        { "segment_id,who\na,１３８００１３８０００\n", "phone" },
        { "segment_id,tone\na,x,y\n", ":2: has more cells" },
        { "segment_id,tone\na,\"x\n", ":2: the quote" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_segments segments;
        struct cm_error error;
        assert_int_equal(open_text(cases[i].text, &segments, &error), CM_INVALID_DATA);
        assert_non_null(strstr(error.message, cases[i].message));
        assert_int_equal(segments.count, 0);
    }
}

static void plain_numbers_are_no_identifiers(void **state)
{
    (void)state;
    struct cm_segments segments;
    struct cm_error error;
    assert_int_equal(open_text("segment_id,a,b,c,d\ns,2024-01-31,\"25-34, 35-44, 45-54\",@home a@b,"
                               "income 1200000\n",
                               &segments, &error),
                     CM_OK);
    cm_segments_deinit(&segments);
}

static void every_failed_allocation_is_clean(void **state)
{
    (void)state;
    char path[TEMP_PATH_BYTES];
    temp_file_write_text(path, "segment_id,lang,tone\na,en,warm\nb,zh,brief\n");
    for (uint64_t nth = 1;; nth++) {
        struct cm_segments segments;
        struct cm_error error;
        uint64_t before = cm_memory_allocations();
        cm_memory_fail_at(nth);
        enum cm_status status = cm_segments_open(path, &segments, &error);
        cm_memory_fail_at(0);
        bool failed = cm_memory_allocations() - before >= nth;
        /* libcsv tries again with less, so a failure need not show. */
        if (status == CM_OK) {
            assert_int_equal(segments.count, 2);
            cm_segments_deinit(&segments);
        } else {
            assert_true(failed);
            assert_int_equal(status, CM_OUT_OF_MEMORY);
        }
        if (!failed) {
            break;
        }
    }
    temp_file_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_keep_their_columns),
        cmocka_unit_test(json_and_first_columns_serve_too),
        cmocka_unit_test(no_file_is_one_neutral_segment),
        cmocka_unit_test(bad_files_are_refused_by_line),
        cmocka_unit_test(plain_numbers_are_no_identifiers),
        cmocka_unit_test(every_failed_allocation_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
