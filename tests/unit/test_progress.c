#include "jobs/progress.h"

#include "base/log.h"
#include "jobs/display_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static double fake_now_s;

static double now_s(void)
{
    return fake_now_s;
}

static const struct cm_progress_numbers HALF = {
    .rows_total = 2000,
    .rows_reused = 500,
    .rows_ok = 980,
    .rows_flagged = 15,
    .rows_failed = 5,
    .engine = { .prompt_tokens = 100000,
                .prefill_tokens = 25000,
                .shared_tokens = 75000,
                .output_tokens = 25000 },
};

/* Shows HALF after 50 s and the end after 100 s; the caller frees the text. */
static char *show(enum cm_progress_mode mode, int columns, const char *preview)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    struct cm_progress *progress = NULL;
    struct cm_progress_options options = { mode, stream, columns, now_s };
    fake_now_s = 1000;
    assert_int_equal(cm_progress_open_with(&options, &progress), CM_OK);
    fake_now_s = 1050;
    cm_progress_update(progress, &HALF, preview);
    cm_progress_update(progress, &HALF, "too soon to be shown");
    struct cm_progress_numbers end = HALF;
    end.rows_ok = 1980;
    fake_now_s = 1100;
    cm_progress_finish(progress, &end);
    cm_progress_close(progress);
    fclose(stream);
    return text;
}

static void plain_mode_prints_one_line_per_update(void **state)
{
    (void)state;
    char *text = show(CM_PROGRESS_PLAIN, 0, "preview");
    assert_string_equal(
        text,
        "1,000 of 2,000 copies, 980 ok, 15 flagged, 5 failed; in 2,000 tok/s (75 % shared), "
        "out 500 tok/s; 0:50 elapsed, 1:40 remaining\n"
        "2,000 of 2,000 copies, 1,980 ok, 15 flagged, 5 failed (500 from an earlier run)\n"
        "100,000 prompt tokens, 75 % shared; 25,000 tokens written; 15.00 copies/s in 1:40\n");
    free(text); /* of open_memstream */
}

static void json_mode_prints_one_object_per_line(void **state)
{
    (void)state;
    char *text = show(CM_PROGRESS_JSON, 0, "a \"quoted\"\n\x1b[31mcopy");
    assert_string_equal(
        text, "{\"event\":\"progress\",\"rows_total\":2000,\"rows_done\":1000,\"rows_ok\":980,"
              "\"rows_flagged\":15,\"rows_failed\":5,\"rows_reused\":500,\"prompt_tokens\":100000,"
              "\"shared_tokens\":75000,\"output_tokens\":25000,\"prompt_tokens_per_s\":2000.0,"
              "\"output_tokens_per_s\":500.0,\"copies_per_s\":10.0,\"elapsed_s\":50.0,"
              "\"remaining_s\":100.0,\"preview\":\"a \\\"quoted\\\" [31mcopy\"}\n"
              "{\"event\":\"finished\",\"rows_total\":2000,\"rows_done\":2000,\"rows_ok\":1980,"
              "\"rows_flagged\":15,\"rows_failed\":5,\"rows_reused\":500,\"prompt_tokens\":100000,"
              "\"shared_tokens\":75000,\"output_tokens\":25000,\"prompt_tokens_per_s\":1000.0,"
              "\"output_tokens_per_s\":250.0,\"copies_per_s\":15.0,\"elapsed_s\":100.0,"
              "\"remaining_s\":0.0,\"preview\":\"a \\\"quoted\\\" [31mcopy\"}\n");
    free(text);
}

static void none_is_silent(void **state)
{
    (void)state;
    char *text = show(CM_PROGRESS_NONE, 0, "preview");
    assert_string_equal(text, "");
    free(text);
}

static void live_lines_fit_the_terminal_and_are_cleared(void **state)
{
    (void)state;
    char *text = show(CM_PROGRESS_TTY, 40, "轻便保暖的秋冬夹克，适合通勤和周末出游，百搭耐穿。");
    assert_string_equal(text, "[##########----------]  50 %  1,000 of \n"
                              "in 2,000 tok/s (75 % shared), out 500 t\n"
                              "> 轻便保暖的秋冬夹克，适合通勤和周末出\n"
                              "\x1b[3A\r\x1b[J"
                              "2,000 of 2,000 copies, 1,980 ok, 15 flagged, 5 failed "
                              "(500 from an earlier run)\n"
                              "100,000 prompt tokens, 75 % shared; 25,000 tokens written; "
                              "15.00 copies/s in 1:40\n");
    free(text);
}

static void the_log_writes_above_the_live_lines(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    struct cm_progress *progress = NULL;
    struct cm_progress_options options = { CM_PROGRESS_TTY, stream, 100, now_s };
    fake_now_s = 0;
    assert_int_equal(cm_progress_open_with(&options, &progress), CM_OK);
    fake_now_s = 50;
    cm_progress_update(progress, &HALF, NULL);
    fflush(stream);
    size_t drawn = bytes;
    cm_log_set_level(CM_LOG_ERROR);
    cm_log(CM_LOG_INFO, "not shown, so nothing is drawn again");
    fflush(stream);
    assert_int_equal(bytes, drawn);
    cm_log(CM_LOG_ERROR, "this line belongs to the test");
    fflush(stream);
    assert_memory_equal(text + drawn, "\x1b[3A\r\x1b[J[####", 12);
    cm_progress_close(progress);
    fflush(stream);
    assert_string_equal(text + bytes - 8, "\x1b[3A\r\x1b[J");
    fclose(stream);
    free(text);
    cm_log_set_level(CM_LOG_INFO);
}

static void nothing_is_known_at_the_start(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    struct cm_progress *progress = NULL;
    struct cm_progress_options options = { CM_PROGRESS_PLAIN, stream, 0, now_s };
    fake_now_s = 5;
    assert_int_equal(cm_progress_open_with(&options, &progress), CM_OK);
    fake_now_s = 15;
    cm_progress_update(progress, &(struct cm_progress_numbers){ 0 }, NULL);
    cm_progress_close(progress);
    fclose(stream);
    assert_string_equal(text, "0 copies, 0 ok, 0 flagged, 0 failed; in 0 tok/s (0 % shared), out 0 "
                              "tok/s; 0:10 elapsed, - remaining\n");
    free(text);
}

static void widths_are_those_of_a_terminal(void **state)
{
    (void)state;
    assert_int_equal(cm_display_width(cm_span_of("abc夹克é")), 8);
    assert_int_equal(cm_display_cut(cm_span_of("a夹克"), 4).length, 4);
    assert_int_equal(cm_display_cut(cm_span_of("abc"), 0).length, 0);
    char line[8];
    cm_display_one_line(cm_span_of("ab夹克"), line, sizeof line);
    assert_string_equal(line, "ab夹");
    char count[40];
    cm_display_count(0, count);
    assert_string_equal(count, "0");
    cm_display_count(UINT64_MAX, count);
    assert_string_equal(count, "18,446,744,073,709,551,615");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_mode_prints_one_line_per_update),
        cmocka_unit_test(json_mode_prints_one_object_per_line),
        cmocka_unit_test(none_is_silent),
        cmocka_unit_test(live_lines_fit_the_terminal_and_are_cleared),
        cmocka_unit_test(the_log_writes_above_the_live_lines),
        cmocka_unit_test(nothing_is_known_at_the_start),
        cmocka_unit_test(widths_are_those_of_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
