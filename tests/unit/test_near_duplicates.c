/* jobs/content/near_duplicates.h: edits are found, other texts are not, in any order of work. */
#include "jobs/content/near_duplicates.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct cm_near_match add(struct cm_near_duplicates *set, const char *text)
{
    struct cm_near_match match;
    struct cm_error error;
    assert_int_equal(cm_near_duplicates_add(set, cm_span_of(text), &match, &error), CM_OK);
    return match;
}

static struct cm_near_duplicates *open_set(double threshold)
{
    struct cm_near_duplicates *set = NULL;
    struct cm_error error;
    assert_int_equal(cm_near_duplicates_open(threshold, &set, &error), CM_OK);
    return set;
}

static const char BAG[] =
    "A light canvas bag with two long handles and an inner pocket for keys, woven from organic "
    "cotton and made to carry the shopping of a whole week without a creak.";

static void finds_texts_that_differ_in_form_only(void **state)
{
    (void)state;
    struct cm_near_duplicates *set = open_set(0.8);
    assert_false(add(set, "").found);
    assert_false(add(set, "Waterproof boots for long walks in the hills").found);
    assert_false(add(set, BAG).found);
    struct cm_near_match match = add(
        set, "A LIGHT canvas bag, with two long handles, and an inner pocket for keys; woven from "
             "organic cotton - and made to carry the shopping of a whole week without a creak!");
    assert_true(match.found);
    assert_int_equal(match.index, 2);
    assert_true(match.similarity == 1.0);
    assert_false(add(set, "").found);
    assert_false(add(set, " -- ").found);
    assert_true(add(set, "Ｗaterproof ｂｏｏｔｓ for long walks, in the hills.").found);
    assert_int_equal(cm_near_duplicates_count(set), 7);
    assert_int_equal(cm_near_duplicates_group(set, 3), 2);
    assert_int_equal(cm_near_duplicates_group(set, 4), 4);
    assert_int_equal(cm_near_duplicates_group(set, 6), 1);
    cm_near_duplicates_close(set);
}

static void finds_small_edits_but_not_other_texts(void **state)
{
    (void)state;
    struct cm_near_duplicates *set = open_set(0.7);
    add(set, BAG);
    assert_true(add(set, "A light canvas bag with two long handles and an inner pocket for keys, "
                         "woven from organic linen and made to carry the shopping of a whole week "
                         "without a creak.")
                    .found);
    assert_false(add(set, "A light canvas bag with short handles and a zip, printed in blue, for "
                          "a day at the beach or the market with friends and family.")
                     .found);
    add(set, "这款无线蓝牙耳机采用主动降噪技术，续航时间长达三十小时，佩戴舒适，适合通勤和运动。");
    assert_true(
        add(set,
            "这款无线蓝牙耳机采用主动降噪技术，续航时间长达三十小时，佩戴舒适，适合通勤和旅行。")
            .found);
    assert_false(add(set, "这双登山鞋采用防水面料，鞋底防滑耐磨，适合周末去山里徒步的人。").found);
    cm_near_duplicates_close(set);
}

/* Numbered texts of one pattern: exact copies are found among thousands, whatever lies between. */
static void keeps_its_promise_among_many(void **state)
{
    (void)state;
    enum { TEXTS = 5000 };
    struct cm_near_duplicates *set = open_set(0.9);
    char text[256];
    size_t missed = 0;
    size_t wrong = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < TEXTS; i++) {
            snprintf(text, sizeof text,
                     "item %d of shelf %d with colour %d and size %d by maker %d at price %d in "
                     "box %d for age %d from town %d",
                     i, i * 7, i * 13, i * 17, i * 19, i * 23, i * 29, i * 31, i * 37);
            struct cm_near_match match = add(set, text);
            missed += round == 1 && !(match.found && match.index == (size_t)i);
            wrong += round == 0 && match.found;
        }
    }
    assert_int_equal(wrong, 0);
    assert_int_equal(missed, 0);
    cm_near_duplicates_close(set);
}

/* The estimate lies near the index it estimates: 40 words of which a share is replaced. */
static void estimates_the_jaccard_index(void **state)
{
    (void)state;
    double error_sum = 0.0;
    enum { TRIALS = 50, WORDS = 40, REPLACED = 3 };
    for (int trial = 0; trial < TRIALS; trial++) {
        char first[1024] = "";
        char second[1024] = "";
        size_t length = 0;
        for (int word = 0; word < WORDS; word++) {
            int number = trial * 1000 + word;
            length = strlen(first);
            snprintf(first + length, sizeof first - length, "w%d ", number);
            length = strlen(second);
            snprintf(second + length, sizeof second - length, "w%d ",
                     word % 15 == 7 ? number + 500 : number);
        }
        /* Three words replaced, far apart: 9 of the 38 shingles differ. */
        const double expected = (38.0 - 3 * REPLACED) / (38.0 + 3 * REPLACED);
        struct cm_near_duplicates *set = open_set(0.3);
        add(set, first);
        struct cm_near_match match = add(set, second);
        assert_true(match.found);
        error_sum += match.similarity - expected;
        assert_true(match.similarity > expected - 0.2 && match.similarity < expected + 0.2);
        cm_near_duplicates_close(set);
    }
    assert_true(error_sum / TRIALS < 0.02 && error_sum / TRIALS > -0.02);
}

static void survives_each_failing_allocation(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 200; nth++) {
        struct cm_near_duplicates *set = NULL;
        struct cm_error error;
        enum cm_status status = CM_OK;
        cm_memory_fail_at(nth);
        status = cm_near_duplicates_open(0.8, &set, &error);
        for (int i = 0; status == CM_OK && i < 40; i++) {
            char text[64];
            struct cm_near_match match;
            snprintf(text, sizeof text, "one text %d of many others %d", i, i * i);
            status = cm_near_duplicates_add(set, cm_span_of(text), &match, &error);
        }
        cm_memory_fail_at(0);
        cm_near_duplicates_close(set);
        if (status == CM_OK) {
            return;
        }
        assert_int_equal(status, CM_OUT_OF_MEMORY);
    }
    fail_msg("allocations never ended");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_texts_that_differ_in_form_only),
        cmocka_unit_test(finds_small_edits_but_not_other_texts),
        cmocka_unit_test(keeps_its_promise_among_many),
        cmocka_unit_test(estimates_the_jaccard_index),
        cmocka_unit_test(survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
