/* Parts of the review: who is let in, flags as text, edit distances, and decisions in the ledger.
 */
#include "base/memory.h"
#include "jobs/export/exporter.h"
#include "jobs/flags.h"
#include "jobs/ledger_review.h"
#include "jobs/report/report_data.h"
#include "jobs/review/edit_distance.h"
#include "jobs/review/review_api.h"
#include "jobs/review/review_gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- Flags --- */

static void flags_are_told_apart(void **state)
{
    (void)state;
    static const char *const expected[][2] = {
        { "unsupported-number", "25; or 30" },
        { "cut-off", "" },
        { "low-score", "" },
    };
    const char *flags = "unsupported-number: 25; or 30; cut-off; low-score";
    struct cm_flag flag;
    size_t count = 0;
    for (; cm_flag_next(&flags, &flag); count++) {
        assert_true(cm_span_equal_text(flag.name, expected[count][0]));
        assert_true(cm_span_equal_text(flag.detail, expected[count][1]));
    }
    assert_int_equal(count, 3);
    flags = "";
    assert_false(cm_flag_next(&flags, &flag));
    flags = "No Flag: at all";
    assert_false(cm_flag_next(&flags, &flag));
}

/* --- Edit distance --- */

static uint32_t distance_of(const char *a, const char *b)
{
    uint32_t distance = 99999;
    assert_int_equal(cm_edit_distance(cm_span_of(a), cm_span_of(b), &distance), CM_OK);
    return distance;
}

static void an_edit_is_counted_in_characters(void **state)
{
    (void)state;
    assert_int_equal(distance_of("", ""), 0);
    assert_int_equal(distance_of("mug", "mug"), 0);
    assert_int_equal(distance_of("kitten", "sitting"), 3);
    assert_int_equal(distance_of("", "杯子"), 2);
    assert_int_equal(distance_of("一个杯子", "一个瓶子"), 1);
    assert_int_equal(distance_of("a red mug", "a mug"), 4);
    char *long_a = calloc(20001, 1);
    char *long_b = calloc(20001, 1);
    assert_non_null(long_a);
    assert_non_null(long_b);
    memset(long_a, 'a', 20000);
    memset(long_b, 'b', 20000);
    assert_int_equal(distance_of(long_a, long_b), 20000);
    long_b[0] = 'a';
    memset(long_b + 1, 'a', 19999);
    long_b[10000] = 'c';
    assert_int_equal(distance_of(long_a, long_b), 1);
    free(long_a);
    free(long_b);
}

/* --- The gate --- */

static void the_gate_lets_in_the_page_alone(void **state)
{
    (void)state;
    struct cm_review_gate gate;
    assert_int_equal(cm_review_gate_init(&gate, NULL), CM_OK);
    gate.port = 8377;
    assert_string_not_equal(gate.key, gate.session);
    assert_string_not_equal(gate.session, gate.csrf);
    const struct cm_review_headers page = {
        .host = "127.0.0.1:8377",
        .session = gate.session,
        .csrf = gate.csrf,
        .origin = "http://127.0.0.1:8377",
        .fetch_site = "same-origin",
        .changes = true,
    };
    struct cm_review_headers headers = page;
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_LET_IN);
    headers.host = "evil.example:8377";
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_WRONG_HOST);
    headers = page;
    headers.origin = "http://evil.example";
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_WRONG_ORIGIN);
    headers = page;
    headers.session = gate.key;
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_NO_SESSION);
    headers = page;
    headers.csrf = NULL;
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_WRONG_CSRF);
    headers.key = gate.key; /* the key opens the page; it decides nothing */
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_WRONG_CSRF);
    headers = (struct cm_review_headers){ .host = "localhost:8377", .key = gate.key };
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_NEW_SESSION);
    headers.key = gate.session;
    assert_int_equal(cm_review_gate_judge(&gate, &headers), CM_REVIEW_NO_SESSION);
}

/* --- Decisions --- */

static char path[64];

static int make_ledger(void **state)
{
    struct cm_ledger *ledger = NULL;
    struct cm_ledger_contents contents;
    struct cm_ledger_settings settings = { .digest = "aa" };
    snprintf(path, sizeof path, "/tmp/copymill-review-XXXXXX");
    int file = mkstemp(path);
    if (file < 0) {
        return -1;
    }
    close(file);
    if (cm_ledger_open(path, &ledger, NULL) != CM_OK ||
        cm_ledger_begin(ledger, &settings, &contents, NULL) != CM_OK) {
        return -1;
    }
    for (unsigned i = 0; i < 5; i++) {
        char key[CM_ROW_KEY_HEX_BYTES];
        snprintf(key, sizeof key, "%08x", i);
        struct cm_copy_row row = {
            .status = i == 4 ? CM_ROW_FAILED : CM_ROW_OK,
            .item_id = i < 2 ? "mug:blue" : "jug",
            .segment_id = i % 2 == 0 ? "a" : "b",
            .scenario = "ad",
            .channel = "generic",
            .language = "en",
            .text = i == 4 ? "" : "Text",
            .fields = i == 2 ? "{\"title\":\"Text\"}" : "",
            .score = 0.1 * i,
            .flags = i == 1 ? "cut-off; repetition: twice" : "",
            .finish_reason = "stop",
            .model = "m",
            .error = "",
            .judgement = i == 1 ? "{\"scores\":{\"safety\":1},\"flags\":[{\"rule\":\"x\"}]}" : "",
        };
        snprintf(row.key, sizeof row.key, "%s", key);
        struct cm_ledger_place place = { .position = i };
        if (cm_ledger_put(ledger, &place, &row, NULL) != CM_OK) {
            return -1;
        }
    }
    if (cm_ledger_commit(ledger, NULL) != CM_OK || cm_ledger_queue_open(ledger, NULL) != CM_OK) {
        return -1;
    }
    *state = ledger;
    return 0;
}

static int remove_ledger(void **state)
{
    cm_ledger_close(*state);
    return unlink(path);
}

static enum cm_status count_entry(const struct cm_ledger_entry *entry, void *context,
                                  struct cm_error *error)
{
    (void)entry;
    (void)error;
    *(int *)context += 1;
    return CM_OK;
}

static void rows_are_found_as_people_name_them(void **state)
{
    struct cm_ledger *ledger = *state;
    const struct {
        const char *name;
        int count;
    } cases[] = { { "jug", 3 },      { "jug:a", 2 }, { "mug:blue", 2 }, { "mug:blue:b", 1 },
                  { "00000003", 1 }, { "#1", 1 },    { "#5", 1 },       { "#6", 0 },
                  { "none", 0 },     { "", 0 },      { "0000", 0 },     { "#x", 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int count = 0;
        struct cm_error error = { 0 };
        enum cm_status status =
            cm_ledger_visit_named(ledger, cases[i].name, count_entry, &count, &error);
        assert_int_equal(status, cases[i].count > 0 ? CM_OK : CM_NOT_FOUND);
        assert_int_equal(count, cases[i].count);
        assert_true((error.message[0] != '\0') == (cases[i].count == 0));
    }
}

static void only_the_version_that_was_seen_is_decided_upon(void **state)
{
    struct cm_ledger *ledger = *state;
    struct cm_decision_now now;
    struct cm_decide decide = {
        .row_id = 1,
        .state = CM_DECISION_APPROVED,
        .text = "",
        .reason = "",
        .reviewer = "ann",
    };
    assert_int_equal(cm_ledger_decide(ledger, &decide, &now, NULL), CM_OK);
    assert_int_equal(now.version, 1);
    decide.state = CM_DECISION_REJECTED;
    assert_int_equal(cm_ledger_decide(ledger, &decide, &now, NULL), CM_ALREADY_EXISTS);
    assert_int_equal(now.state, CM_DECISION_APPROVED);
    decide.version = 1;
    assert_int_equal(cm_ledger_decide(ledger, &decide, &now, NULL), CM_OK);
    decide.version = 2;
    assert_int_equal(cm_ledger_decide_back(ledger, &decide, 1, &now, NULL), CM_OK);
    assert_int_equal(now.state, CM_DECISION_APPROVED);
    assert_int_equal(now.version, 3);
    decide.row_id = 99;
    assert_int_equal(cm_ledger_decide(ledger, &decide, &now, NULL), CM_NOT_FOUND);
    decide = (struct cm_decide){
        .row_id = 5, .state = CM_DECISION_APPROVED, .text = "", .reason = "", .reviewer = "ann"
    };
    assert_int_equal(cm_ledger_decide(ledger, &decide, &now, NULL), CM_INVALID_ARGUMENT);
}

static void many_rows_are_approved_and_opened_again(void **state)
{
    struct cm_ledger *ledger = *state;
    struct cm_queue_filter filter = { .status = -1, .decision = -1, .score_min = 0.15 };
    struct cm_progress_counts counts;
    int64_t batch = 0;
    uint64_t count = 0;
    assert_int_equal(cm_ledger_decide_many(ledger, &filter, "ann", &batch, &count, NULL), CM_OK);
    assert_int_equal(count, 2); /* the fifth has no text */
    assert_int_equal(cm_ledger_review_progress(ledger, "ann", &counts, NULL), CM_OK);
    assert_int_equal(counts.rows[CM_DECISION_APPROVED], 2);
    assert_int_equal(counts.rows[CM_DECISION_OPEN], 3);
    assert_int_equal(counts.own, 2);
    assert_int_equal(cm_ledger_decide_many_back(ledger, batch, "ann", &count, NULL), CM_OK);
    assert_int_equal(count, 2);
    assert_int_equal(cm_ledger_review_progress(ledger, "ann", &counts, NULL), CM_OK);
    assert_int_equal(counts.rows[CM_DECISION_OPEN], 5);
    assert_int_equal(counts.own, 0);
    filter = (struct cm_queue_filter){ .flag = "cut-off", .status = -1, .decision = -1 };
    assert_int_equal(cm_ledger_queue_count(ledger, &filter, &count, NULL), CM_OK);
    assert_int_equal(count, 1);
}

/* One question, with the nth allocation failing. */
static enum cm_status ask(const struct cm_review *review, int question, uint64_t nth)
{
    static enum cm_status (*const questions[])(
        const struct cm_review *, const struct cm_review_query *, json_t **, struct cm_error *) = {
        cm_review_job, cm_review_rows, cm_review_count, cm_review_row, cm_review_news,
    };
    static const char edit[] =
        "{\"action\":\"edit\",\"id\":2,\"version\":0,\"text\":\"new\",\"reviewer\":\"ann\"}";
    struct cm_review_query query;
    struct cm_review_body body = { 0 };
    struct cm_error error = { 0 };
    json_t *answer = NULL;
    cm_review_query_init(&query);
    assert_int_equal(cm_review_query_set(&query, "search", "TEXT", NULL), CM_OK);
    query.id = 1;
    cm_memory_fail_at(nth);
    enum cm_status status;
    if (question < 5) {
        status = questions[question](review, &query, &answer, &error);
    } else {
        status = cm_review_body_parse(cm_span_of(edit), &body, &error);
        if (status == CM_OK) {
            status = cm_review_decide(review, &body, &answer, &error);
        }
    }
    cm_memory_fail_at(0);
    /* Memory may end after the decision is stored; the next try then meets it. */
    bool answered = status == CM_OK || (question == 5 && status == CM_ALREADY_EXISTS);
    assert_true(answered == (answer != NULL));
    assert_true(answered || (status == CM_OUT_OF_MEMORY && error.message[0] != '\0'));
    json_decref(answer);
    cm_review_body_deinit(&body);
    return answered ? CM_OK : status;
}

/* An answer is whole or an error, whichever allocation fails, and the next one is right again. */
static void questions_survive_failing_allocations(void **state)
{
    enum { ALLOCATIONS_MAX = 3000 };
    const struct cm_review review = { .ledger = *state, .name = "job", .reviewer = "ann" };
    for (int question = 0; question < 6; question++) {
        uint64_t nth = 1;
        while (ask(&review, question, nth) != CM_OK) {
            assert_true(++nth < ALLOCATIONS_MAX);
        }
        assert_true(question == 5 || ask(&review, question, 0) == CM_OK);
    }
}

static enum cm_status export_once(struct cm_ledger *ledger, enum cm_export_format format,
                                  uint64_t nth)
{
    const struct cm_export_options options = {
        .format = format,
        .origin = CM_EXPORT_ORIGIN_BOTH,
        .segment = "a",
        .everything = true,
    };
    struct cm_export_counts counts;
    struct cm_error error = { 0 };
    FILE *file = tmpfile();
    assert_non_null(file);
    cm_memory_fail_at(nth);
    enum cm_status status = cm_export_write(ledger, &options, file, "file", &counts, &error);
    cm_memory_fail_at(0);
    fclose(file);
    assert_true(status == CM_OK || (status == CM_OUT_OF_MEMORY && error.message[0] != '\0'));
    return status;
}

static enum cm_status gather_once(struct cm_ledger *ledger, uint64_t nth)
{
    static struct cm_report_data data;
    struct cm_error error = { 0 };
    cm_memory_fail_at(nth);
    enum cm_status status = cm_report_data_gather(ledger, &data, &error);
    cm_memory_fail_at(0);
    cm_report_data_deinit(&data);
    assert_true(status == CM_OK || status == CM_OUT_OF_MEMORY);
    return status;
}

static void exports_and_reports_survive_failing_allocations(void **state)
{
    enum { ALLOCATIONS_MAX = 3000 };
    uint64_t nth = 1;
    for (int format = 0; format < CM_EXPORT_FORMAT_COUNT; format++) {
        nth = 1;
        while (export_once(*state, (enum cm_export_format)format, nth) != CM_OK) {
            assert_true(++nth < ALLOCATIONS_MAX);
        }
    }
    nth = 1;
    while (gather_once(*state, nth) != CM_OK) {
        assert_true(++nth < ALLOCATIONS_MAX);
    }
}

#define WITH_LEDGER(test) cmocka_unit_test_setup_teardown(test, make_ledger, remove_ledger)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_told_apart),
        cmocka_unit_test(an_edit_is_counted_in_characters),
        cmocka_unit_test(the_gate_lets_in_the_page_alone),
        WITH_LEDGER(rows_are_found_as_people_name_them),
        WITH_LEDGER(only_the_version_that_was_seen_is_decided_upon),
        WITH_LEDGER(questions_survive_failing_allocations),
        WITH_LEDGER(exports_and_reports_survive_failing_allocations),
        WITH_LEDGER(many_rows_are_approved_and_opened_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
