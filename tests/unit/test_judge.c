#include "jobs/content/judge.h"

#include "base/memory.h"
#include "jobs/content/answer.h"
#include "jobs/content/lexicon.h"
#include "jobs/numbers.h"
#include "jobs/repetition.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct cm_attribute item_attributes[] = {
    { (char *)"Capacity", (char *)"1.5 l" },     { (char *)"Sizes", (char *)"38,40,42" },
    { (char *)"Recycled", (char *)"50%" },       { (char *)"容量", (char *)"５００毫升" },
    { (char *)"shipping_weight", (char *)"77" },
};
static struct cm_item item = {
    .fields = { (char *)"sku-7781", (char *)"Trail Bottle 24", (char *)"Peak", (char *)"Outdoor",
                (char *)"", (char *)"1,299.00", (char *)"USD", (char *)"" },
    .attributes = item_attributes,
    .attributes_count = sizeof item_attributes / sizeof item_attributes[0],
};
static struct cm_attribute segment_attributes[] = { { (char *)"age", (char *)"25-34" } };
static struct cm_segment segment = {
    .id = (char *)"s1",
    .language = (char *)"",
    .attributes = segment_attributes,
    .attributes_count = 1,
};

static const struct cm_question *question;

struct verdict {
    double score;
    char flags[CM_FLAGS_BYTES];
};

static struct cm_judge *the_judge;
static struct cm_judgement judgement; /* the last one */

static struct verdict judge(const char *text, const char *language, enum cm_text_end end)
{
    struct verdict verdict;
    struct cm_judge_input input = { .text = cm_span_of(text),
                                    .item = &item,
                                    .segment = &segment,
                                    .question = question,
                                    .language = language,
                                    .end = end,
                                    .mean_logprob = -0.4 };
    assert_int_equal(cm_judge_text(the_judge, &input, &judgement), CM_OK);
    verdict.score = judgement.score;
    cm_judgement_flags(&judgement, verdict.flags);
    return verdict;
}

#define GOOD "The Trail Bottle keeps your water cool on every path. "

struct flag_case {
    const char *text;
    const char *language;
    enum cm_text_end reason;
    const char *flags;
};

static void check_flags(const struct flag_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct verdict score = judge(cases[i].text, cases[i].language, cases[i].reason);
        if (strcmp(score.flags, cases[i].flags) != 0) {
            fail_msg("\"%s\": expected \"%s\", found \"%s\"", cases[i].text, cases[i].flags,
                     score.flags);
        }
        assert_true(cases[i].flags[0] == '\0' ? score.score > 0.8 : score.score < 0.75);
    }
}

/* Each flag where it belongs and not where it does not, in English and Chinese. */
static void flags_what_the_facts_do_not_hold(void **state)
{
    (void)state;
    static const struct flag_case CASES[] = {
        { GOOD, "en", CM_TEXT_END_STOP, "" },
        { "这款水壶轻便耐用，适合户外徒步和日常通勤。", "zh", CM_TEXT_END_STOP, "" },

        { GOOD "It costs $1,299 and holds 1.5 l.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It costs 1299.00 and is made for 25 to 34.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It is 50% recycled, in sizes 38, 40 and 42.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It costs only $19.99 and saves 20%.", "en", CM_TEXT_END_STOP,
          "unsupported-number: 19.99, 20" },
        { GOOD "Its weight is 77.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It weighs 77 ounces.", "en", CM_TEXT_END_STOP, "unsupported-unit: 77 ounces" },
        { GOOD "It is the 77 of bottles.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It is a 77-gallon bottle.", "en", CM_TEXT_END_STOP, "unsupported-unit: 77-gallon" },
        { GOOD "It is 24% lighter.", "en", CM_TEXT_END_STOP, "unsupported-number: 24" },
        { GOOD "Ask for number 7781.", "en", CM_TEXT_END_STOP, "unsupported-number: 7781" },
        { "这款水壶容量为500毫升，回收材料占５０％，轻便耐用。", "zh", CM_TEXT_END_STOP, "" },
        { "这款水壶容量为７５０毫升，轻便耐用，适合户外徒步。", "zh", CM_TEXT_END_STOP,
          "unsupported-number: ７５０" },
    };
    check_flags(CASES, sizeof CASES / sizeof CASES[0]);
}

static void flags_faulty_form(void **state)
{
    (void)state;
    static const struct flag_case CASES[] = {
        { GOOD, "zh", CM_TEXT_END_STOP, "wrong-language: en instead of zh" },
        { "这款水壶轻便耐用，适合户外徒步和日常通勤。", "en", CM_TEXT_END_STOP,
          "wrong-language: zh instead of en" },

        { GOOD "It is light and", "en", CM_TEXT_END_LENGTH,
          "cut-off: the length limit came before the end of a sentence" },
        { GOOD "It is light and", "en", CM_TEXT_END_STOP, "cut-off: no end of a sentence" },
        { GOOD "Light as air", "en", CM_TEXT_END_STOP, "" },
        { GOOD "It is \"light.\"", "en", CM_TEXT_END_LENGTH, "" },
        { "这款水壶轻便耐用，适合户外徒步。😀", "zh", CM_TEXT_END_LENGTH, "" },
        { "这款水壶轻便耐用，适合户外徒步，也", "zh", CM_TEXT_END_LENGTH,
          "cut-off: the length limit came before the end of a sentence" },

        { GOOD GOOD, "en", CM_TEXT_END_STOP, "repetition: 1 repeated sentence" },
        { "The Trail Bottle is very very very very light on the path.", "en", CM_TEXT_END_STOP,
          "repetition: a word 4 times in a row" },
        { "这款水壶轻便耐用。这款水壶轻便耐用。适合户外徒步和日常通勤。", "zh", CM_TEXT_END_STOP,
          "repetition: 1 repeated sentence" },

        { GOOD "It is light, useful, light, useful, light and useful.", "en", CM_TEXT_END_STOP,
          "" },
        { "这款水壶轻便耐用，实用，适合户外徒步，实用，美观，实用。", "zh", CM_TEXT_END_STOP,
          "repetition: the same part of a sentence 3 times" },
        { GOOD
          "It is made to last, easy to clean, easy to store, easy to clean, and easy to clean.",
          "en", CM_TEXT_END_STOP, "" },
        { GOOD
          "It is made to last, easy to clean, quick to fill, easy to clean, light, easy to clean.",
          "en", CM_TEXT_END_STOP, "repetition: the same part of a sentence 3 times" },
        { GOOD "It keeps \xef\xbf\xbd all day.", "en", CM_TEXT_END_STOP,
          "broken-character: U+FFFD at byte 63" },

        { "A good bottle.", "en", CM_TEXT_END_STOP, "too-short: 3 words, expected at least 6" },
        { "好水壶。", "zh", CM_TEXT_END_STOP, "too-short: 1 words, expected at least 6" },
        { " \n ", "en", CM_TEXT_END_STOP, "too-short: empty" },

        { "**Trail Bottle** keeps your water cool on every path.", "en", CM_TEXT_END_STOP,
          "markup: \"**\"" },
        { GOOD "\n- light\n- cool", "en", CM_TEXT_END_STOP, "markup: \"- \"" },
        { GOOD "<br>It is light.", "en", CM_TEXT_END_STOP, "markup: \"<b\"" },
        { GOOD "Light & cool - at 1 < 2 times.", "en", CM_TEXT_END_STOP,
          "unsupported-number: 1, 2" },
        { "# 水壶\n这款水壶轻便耐用，适合户外徒步和日常通勤。", "zh", CM_TEXT_END_STOP,
          "markup: \"# \"" },

        { "\"The Trail Bottle keeps your water cool on every path.\"", "en", CM_TEXT_END_STOP,
          "markup: all in quotation marks" },
        { "\"Trail Bottle\" keeps your water cool, and you call it \"cool.\"", "en",
          CM_TEXT_END_STOP, "" },
        { "\"The Trail Bottle keeps your water cool on every path.", "en", CM_TEXT_END_STOP,
          "markup: all in quotation marks" },
        { "“这款水壶轻便耐用，适合户外徒步和日常通勤。”", "zh", CM_TEXT_END_STOP,
          "markup: all in quotation marks" },

        { "Here is a description: the bottle keeps your water cool.", "en", CM_TEXT_END_STOP,
          "prompt-leak: \"Here is\"" },
        { GOOD "Here is to the next path.", "en", CM_TEXT_END_STOP, "" },
        { GOOD "<|im_end|>", "en", CM_TEXT_END_STOP, "prompt-leak: \"<|\"" },
        { "以下是商品描述，这款水壶轻便耐用，适合户外徒步。", "zh", CM_TEXT_END_STOP,
          "prompt-leak: \"以下是\"" },
    };
    check_flags(CASES, sizeof CASES / sizeof CASES[0]);
}

static void several_faults_multiply_and_an_empty_copy_is_worthless(void **state)
{
    (void)state;
    struct verdict both =
        judge("**Trail Bottle** for $5 on every path of yours.", "en", CM_TEXT_END_STOP);
    assert_string_equal(both.flags, "unsupported-number: 5; markup: \"**\"");
    assert_true(both.score < 0.3 && both.score > 0.2);
    assert_true(judge("", "en", CM_TEXT_END_STOP).score == 0);
}

static void details_cannot_forge_flags(void **state)
{
    (void)state;
    struct verdict score = judge(GOOD "1;2;3;4;5;6;7;8;9;10;11;12", "en", CM_TEXT_END_STOP);
    assert_null(strstr(score.flags, ";"));
    char huge[20000];
    memset(huge, '9', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    score = judge(huge, "en", CM_TEXT_END_LENGTH);
    assert_true(strlen(score.flags) < CM_FLAGS_BYTES);
    assert_non_null(strstr(score.flags, "unsupported-number"));
}

static void survives_bytes_that_are_no_text(void **state)
{
    (void)state;
    struct verdict score = judge("\xFF\xFE 3\x80 \xC3", "en", CM_TEXT_END_LENGTH);
    assert_non_null(strstr(score.flags, "unsupported-number: 3"));
}

static bool supports(const char *fact, const char *copy)
{
    struct cm_numbers facts = { 0 };
    struct cm_span missing;
    size_t at = 0;
    assert_int_equal(cm_numbers_add(&facts, cm_span_of(fact)), CM_OK);
    bool all = !cm_numbers_next_missing(&facts, cm_span_of(copy), &at, &missing);
    cm_numbers_deinit(&facts);
    return all;
}

static void numbers_are_read_like_a_person_does(void **state)
{
    (void)state;
    assert_true(supports("1,299.00", "1299"));
    assert_true(supports("1299", "1.299,00 €"));
    assert_true(supports("1299", "1’299"));
    assert_true(supports("0.5", "0,50"));
    assert_true(supports("12．5", "12.5"));
    assert_true(supports("10,12,14", "sizes 10 and 14"));
    assert_true(supports("4K", "4 K"));
    assert_true(supports("50%", "50"));
    assert_true(supports("50 %", "50％"));
    assert_true(supports("3.5.1", "3.5.1"));
    assert_false(supports("50", "50%"));
    assert_false(supports("19.99", "99"));
    assert_false(supports("19.99", "19"));
    assert_false(supports("12.5", "125"));
    assert_false(supports("", "7"));
    assert_true(supports("007", "7"));
}

static void repetition_counts_phrases(void **state)
{
    (void)state;
    struct cm_repetition seen;
    const char *text = "a light bag for the city and a light bag for the beach and a light bag for "
                       "the train and a light bag for the sea";
    assert_int_equal(cm_repetition_measure(cm_span_of(text), &seen), CM_OK);
    assert_true(seen.phrases_repeated > 0.3);
    assert_int_equal(seen.sentences_repeated, 0);
    assert_int_equal(cm_words_count(cm_span_of("轻便 bag")), 2);
    cm_memory_fail_at(1);
    assert_int_equal(cm_repetition_measure(cm_span_of(text), &seen), CM_OUT_OF_MEMORY);
    cm_memory_fail_at(0);
}

static void numbers_of_question_and_policy_are_supported(void **state)
{
    (void)state;
    const char *text = "The bottle can be sent back within 30 days, also with a 64 engraved on it.";
    static const struct cm_question asked = { .text = (char *)"May I have a 64 on it?",
                                              .policy = (char *)"Returns within 30 days." };
    assert_non_null(
        strstr(judge(text, "en", CM_TEXT_END_STOP).flags, "unsupported-number: 30, 64"));
    question = &asked;
    assert_null(strstr(judge(text, "en", CM_TEXT_END_STOP).flags, "unsupported-number"));
    question = NULL;
}

static int open_judge(void **state)
{
    (void)state;
    struct cm_error error;
    struct cm_judge_options options = { .learns_catalog = true };
    if (cm_judge_open(&options, &the_judge, &error) != CM_OK) {
        print_error("%s\n", error.message);
        return -1;
    }
    struct cm_item other = item;
    other.fields[CM_ITEM_BRAND] = (char *)"Northwind";
    int status =
        cm_judge_learn(the_judge, &item) == CM_OK && cm_judge_learn(the_judge, &other) == CM_OK
            ? 0
            : -1;
    cm_judge_ready(the_judge);
    return status;
}

static int close_judge(void **state)
{
    (void)state;
    cm_judge_close(the_judge);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_question_and_policy_are_supported),
        cmocka_unit_test(flags_what_the_facts_do_not_hold),
        cmocka_unit_test(flags_faulty_form),
        cmocka_unit_test(several_faults_multiply_and_an_empty_copy_is_worthless),
        cmocka_unit_test(details_cannot_forge_flags),
        cmocka_unit_test(survives_bytes_that_are_no_text),
        cmocka_unit_test(numbers_are_read_like_a_person_does),
        cmocka_unit_test(repetition_counts_phrases),
    };
    return cmocka_run_group_tests(tests, open_judge, close_judge);
}
