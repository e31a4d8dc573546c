#include "base/memory.h"
#include "loaders/questions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

static enum cm_status open_text(const char *text, struct cm_questions *questions,
                                struct cm_error *error)
{
    char path[TEMP_PATH_BYTES];
    temp_file_write_text(path, text);
    enum cm_status status = cm_questions_open(path, questions, error);
    temp_file_remove(path);
    return status;
}

/* The ids of an item's questions, joined. */
static void expect_for(const struct cm_questions *questions, const char *item_id,
                       const char *expected)
{
    char ids[128] = "";
    size_t index;
    struct cm_question_cursor cursor = cm_questions_seek(questions, item_id);
    size_t count = cm_question_cursor_count(&cursor);
    while (cm_questions_next(questions, &cursor, &index)) {
        strncat(ids, questions->items[index].id, sizeof ids - strlen(ids) - 1);
        count--;
    }
    assert_string_equal(ids, expected);
    assert_int_equal(count, 0);
}

static void an_item_gets_its_own_and_everybodys_in_order(void **state)
{
    (void)state;
    struct cm_questions questions;
    struct cm_error error;
    assert_int_equal(open_text("Question ID;item_id;question;policy;language\n"
                               "a;mug;Is it <b>safe</b>?;;EN\n"
                               "b;*;Returns?;30 days;\n"
                               "c;lamp;亮吗？;;zh\n"
                               "d;mug;\"How\nbig?\";;\n"
                               "e;;Gift wrap?;;\n",
                               &questions, &error),
                     CM_OK);
    assert_int_equal(questions.count, 5);
    assert_string_equal(questions.items[0].text, "Is it safe?");
    assert_string_equal(questions.items[0].language, "en");
    assert_string_equal(questions.items[1].item_id, "");
    assert_string_equal(questions.items[1].policy, "30 days");
    assert_int_equal(questions.items[4].line, 7);
    expect_for(&questions, "mug", "abde");
    expect_for(&questions, "lamp", "bce");
    expect_for(&questions, "sofa", "be");
    expect_for(&questions, "", "be");
    cm_questions_deinit(&questions);
}

static void json_serves_too(void **state)
{
    (void)state;
    struct cm_questions questions;
    struct cm_error error;
    assert_int_equal(
        open_text("[{\"question_id\": 7, \"question\": \"Why?\"}]", &questions, &error), CM_OK);
    assert_string_equal(questions.items[0].id, "7");
    assert_string_equal(questions.items[0].policy, "");
    expect_for(&questions, "mug", "7");
    cm_questions_deinit(&questions);
}

static void what_is_wrong_is_refused_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } CASES[] = {
        { "question_id,question\na,Why?\nb,How?\na,When?\n",
          ":4: the question id a is already on line 2; give each question its own" },
        { "question_id,question\n,Why?\n", ":2: the question has no id" },
        { "question_id,question\na,Why?\nb,\n", ":3: the question is empty" },
        { "question_id,item_id\na,mug\n", ":2: the question is empty" },
        { "question_id,question,polcy\na,Why?,x\n", ":2: the column \"polcy\" is not known" },
        { "question_id,question,Question\na,Why?,x\n", "two columns are named question" },
        { "question_id,question\na,Why,not?\n", ":2: has more cells than the header" },
        { "question_id,question\n", "holds no question" },
        { "", "" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct cm_questions questions;
        struct cm_error error;
        assert_int_equal(open_text(CASES[i].text, &questions, &error), CM_INVALID_DATA);
        if (strstr(error.message, CASES[i].message) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", error.message, CASES[i].message);
        }
        assert_int_equal(questions.count, 0);
        assert_null(questions.items);
    }
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    enum cm_status status = CM_OUT_OF_MEMORY;
    for (uint64_t nth = 1; status != CM_OK; nth++) {
        struct cm_questions questions;
        struct cm_error error;
        cm_memory_fail_at(nth);
        status = open_text("question_id,question\na,Why?\nb,How?\n", &questions, &error);
        cm_memory_fail_at(0);
        assert_true(status == CM_OK || status == CM_OUT_OF_MEMORY);
        cm_questions_deinit(&questions);
        assert_in_range(nth, 1, 1000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_gets_its_own_and_everybodys_in_order),
        cmocka_unit_test(json_serves_too),
        cmocka_unit_test(what_is_wrong_is_refused_with_its_line),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
