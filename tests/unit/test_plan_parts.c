/* What a plan is made of: counting duplicates, choosing rows, and how much prompts share. */

#include "base/digest_count.h"
#include "jobs/prompt_set.h"
#include "jobs/row_key.h"
#include "jobs/selection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct cm_content_digest digest_of(uint64_t number)
{
    struct cm_content_digest digest = { 0 };
    uint64_t spread = number * UINT64_C(0x9E3779B97F4A7C15);
    memcpy(digest.bytes, &spread, sizeof spread);
    memcpy(digest.bytes + 8, &number, 4);
    return digest;
}

static void duplicates_are_counted_across_growth(void **state)
{
    (void)state;
    struct cm_digest_count *duplicates = NULL;
    assert_int_equal(cm_digest_count_open(&duplicates), CM_OK);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 5000; i++) {
            struct cm_content_digest digest = digest_of(i);
            uint32_t nth = 99;
            assert_int_equal(cm_digest_count_add(duplicates, digest.bytes, &nth), CM_OK);
            assert_int_equal(nth, round);
        }
    }
    cm_digest_count_close(duplicates);
}

/* Digests that start in one slot must still be told apart. */
static void duplicates_survive_collisions(void **state)
{
    (void)state;
    struct cm_digest_count *duplicates = NULL;
    assert_int_equal(cm_digest_count_open(&duplicates), CM_OK);
    for (uint8_t i = 0; i < 200; i++) {
        struct cm_content_digest digest = { .bytes[11] = i };
        uint32_t nth = 99;
        assert_int_equal(cm_digest_count_add(duplicates, digest.bytes, &nth), CM_OK);
        assert_int_equal(nth, 0);
    }
    cm_digest_count_close(duplicates);
}

static char id_a[] = "a";
static char id_b[] = "b";
static struct cm_segment two_segments[] = { { .id = id_a }, { .id = id_b } };
static const struct cm_segments segments = { .items = two_segments, .count = 2 };

static void selection_names_items_and_segments(void **state)
{
    (void)state;
    struct cm_selection *selection = NULL;
    struct cm_error error = { 0 };
    assert_int_equal(cm_selection_open("mug:b, lamp,urn:x:1,gone", &segments, &selection, &error),
                     CM_OK);
    assert_false(cm_selection_wants(selection, "mug", 0));
    assert_true(cm_selection_wants(selection, "mug", 1));
    assert_true(cm_selection_wants(selection, "lamp", 0));
    assert_true(cm_selection_wants(selection, "urn:x:1", 1));
    assert_false(cm_selection_wants(selection, "mu", 1));
    assert_int_equal(cm_selection_check(selection, &error), CM_NOT_FOUND);
    assert_non_null(strstr(error.message, "\"gone\""));
    assert_false(cm_selection_wants(selection, "other", 0));
    assert_true(cm_selection_wants(selection, "gone", 0));
    assert_int_equal(cm_selection_check(selection, &error), CM_OK);
    cm_selection_close(selection);
}

static void selection_refuses_nonsense(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", ",", "mug,", ":b", "mug,,lamp" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct cm_selection *selection = NULL;
        struct cm_error error = { 0 };
        assert_int_equal(cm_selection_open(wrong[i], &segments, &selection, &error),
                         CM_INVALID_ARGUMENT);
        assert_non_null(strstr(error.message, "--only"));
    }
}

static void no_selection_is_everything(void **state)
{
    (void)state;
    struct cm_selection *selection = NULL;
    assert_int_equal(cm_selection_open(NULL, &segments, &selection, NULL), CM_OK);
    assert_true(cm_selection_wants(selection, "anything", 1));
    assert_int_equal(cm_selection_check(selection, NULL), CM_OK);
    cm_selection_close(selection);
}

/* Against the plain comparison with every earlier prompt. */
static void shared_tokens_are_the_most_of_all_pairs(void **state)
{
    (void)state;
    enum { PROMPTS_COUNT = 60, TOKENS_MAX = 9 };
    static int32_t prompts[PROMPTS_COUNT][TOKENS_MAX];
    static size_t counts[PROMPTS_COUNT];
    struct cm_prompt_set set = { 0 };
    uint32_t random = 1;
    for (size_t i = 0; i < PROMPTS_COUNT; i++) {
        random = random * 1664525 + 1013904223;
        counts[i] = (random >> 16) % (TOKENS_MAX + 1);
        size_t expected = 0;
        for (size_t t = 0; t < counts[i]; t++) {
            random = random * 1664525 + 1013904223;
            prompts[i][t] = (int32_t)(random >> 31);
        }
        for (size_t j = 0; j < i; j++) {
            size_t shared = 0;
            while (shared < counts[i] && shared < counts[j] &&
                   prompts[i][shared] == prompts[j][shared]) {
                shared++;
            }
            expected = shared > expected ? shared : expected;
        }
        assert_int_equal(cm_prompt_set_shared(&set, prompts[i], counts[i]), expected);
        assert_int_equal(cm_prompt_set_add(&set, prompts[i], counts[i]), CM_OK);
    }
    cm_prompt_set_deinit(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicates_are_counted_across_growth),
        cmocka_unit_test(duplicates_survive_collisions),
        cmocka_unit_test(selection_names_items_and_segments),
        cmocka_unit_test(selection_refuses_nonsense),
        cmocka_unit_test(no_selection_is_everything),
        cmocka_unit_test(shared_tokens_are_the_most_of_all_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
