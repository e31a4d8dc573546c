/* The fact lock and the ban list as automata over bytes, and the token masks made from them. Random
 * texts are held against a plain search for what must not be there. */
#include "base/memory.h"
#include "host/constraint.h"
#include "host/philox.h"
#include "jobs/ban_list.h"
#include "jobs/fact_lock.h"
#include "jobs/fact_numbers.h"
#include "jobs/number_words.h"
#include "jobs/numbers.h"
#include "jobs/units.h"
#include "loaders/model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bool accepts(const struct cm_automaton *automaton, const char *text)
{
    uint32_t state = automaton->start;
    for (const char *c = text; *c != '\0'; c++) {
        state = automaton->next(automaton->context, state, (uint8_t)*c);
        if (state == CM_AUTOMATON_DEAD) {
            return false;
        }
    }
    return automaton->may_end(automaton->context, state);
}

/* --- Fact lock --- */

static const char *const facts[] = { "Steel Mug 350 ml", "1,299.00 USD", "12.5 cm, 62% wool",
                                     "USB 3.2",          "5 or 50",      "0.32 oz" };
enum { FACTS_COUNT = sizeof facts / sizeof facts[0] };

static void check_texts(const char *const *given, size_t given_count, bool with_words,
                        const char *const *good, size_t good_count, const char *const *bad,
                        size_t bad_count)
{
    struct cm_automaton lock;
    assert_int_equal(cm_fact_lock_compile(given, given_count, with_words, &lock), CM_OK);
    for (size_t i = 0; i < good_count; i++) {
        if (!accepts(&lock, good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < bad_count; i++) {
        if (accepts(&lock, bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    cm_fact_lock_free((void *)(uintptr_t)lock.context);
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define CHECK_TEXTS(given, with_words, good, bad) \
    check_texts(given, COUNT(given), with_words, good, COUNT(good), bad, COUNT(bad))

static void numbers_of_the_facts_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",      "no number",  "350 ml",   "350ml.",     "1,299.00",     "1299",
        "1,299", "1299.00",    "12.5 cm",  "12.50",      "12,5 cm",      "62% wool",
        "62",    "3.2, or 5.", "5, 50, 5", "３５０毫升", "６２％羊毛，", "１２．５厘米",
        "50!",   "0.32oz",     "5-50",
    };
    static const char *const bad[] = {
        "35",         "3500",         "351",    "1,29",   "1.299,0", "12.6",
        "12.55",      "12 cm",        "62.5%",  "50%",    "5%",      "%",
        "505",        "0.3",          "0",      "３５１", "３5",     "350.5",
        "３５０．５", "5,50,5 5,501", "1,2999", "50 %",   "6",       "2",
    };
    CHECK_TEXTS(facts, false, good, bad);
}

static void a_number_keeps_its_unit(void **state)
{
    (void)state;
    static const char *const given[] = { "12 cm",    "350ml",   "2 or 3 lbs",
                                         "50% wool", "重5公斤", "a six-inch blade",
                                         "5G" };
    static const char *const good[] = {
        "12 cm",
        "12cm wide",
        "12 centimetres",
        "12-cm",
        "12 CM.",
        "12厘米",
        "12",
        "12 mugs",
        "12 more",
        "12, and it cools",
        "350 ml mug",
        "350 millilitres",
        "3 pounds",
        "2 kg", /* stands bare in the facts */
        "50%",
        "50 percent",
        "50 in all",
        "5 kg",
        "5千克",
        "5g",
        "6 inches",
        "6-inch",
        "12\xc2\xa0"
        "cm",
    };
    static const char *const bad[] = {
        "12 oz",
        "12oz",
        "12 m",
        "12 m wide",
        "12-inch",
        "12 inches",
        "12 ounces",
        "12毫米",
        "12 米",
        "350 l",
        "350 g.",
        "3 kg",
        "50 ml",
        "50 kg",
        "2 percent",
        "6 cm",
        "5 pounds",
        "5斤",
        "12\xc2\xa0"
        "oz",
        "１２ oz",
    };
    CHECK_TEXTS(given, false, good, bad);
}

static size_t missing_count(const struct cm_item *item, const char *text)
{
    struct cm_segment segment = { .id = (char *)"" };
    const struct cm_fact_sources sources = { .item = item, .segment = &segment };
    struct cm_numbers numbers = { 0 };
    struct cm_span missing;
    size_t count = 0;
    assert_int_equal(cm_fact_numbers_add(&numbers, &sources), CM_OK);
    for (size_t at = 0; cm_numbers_next_missing(&numbers, cm_span_of(text), &at, &missing);) {
        count++;
    }
    cm_numbers_deinit(&numbers);
    return count;
}

static void a_measure_without_a_unit_goes_with_none(void **state)
{
    (void)state;
    struct cm_attribute attributes[] = { { (char *)"shipping weight", (char *)"5" },
                                         { (char *)"height", (char *)"12 cm" },
                                         { (char *)"number of keys", (char *)"88" } };
    const struct cm_item item = {
        .fields = { (char *)"1", (char *)"Mug", (char *)"", (char *)"", (char *)"", (char *)"9.50",
                    (char *)"USD", (char *)"" },
        .attributes = attributes,
        .attributes_count = 3,
    };
    assert_int_equal(missing_count(&item, "5, 12 cm, 9.50, $9.50, 88 keys, 88 kg"), 0);
    assert_int_equal(missing_count(&item, "5 pounds"), 1);
    assert_int_equal(missing_count(&item, "a 5-gallon mug"), 1);
    assert_int_equal(missing_count(&item, "重5公斤"), 1);
    assert_int_equal(missing_count(&item, "12 inches"), 1);
    assert_int_equal(missing_count(&item, "9.50 kg"), 1);
    attributes[1].value = (char *)"5 lb"; /* another fact tells it */
    assert_int_equal(missing_count(&item, "5 pounds"), 0);
    assert_int_equal(missing_count(&item, "5 kg"), 1);
}

static void digits_of_every_script_are_digits(void **state)
{
    (void)state;
    static const char *const given[] = { "350 ml", "12.5 cm", "50%", "½ price" };
    static const char *const good[] = {
        "３５０", "٣٥٠", "۳۵۰", "३५०", "๓๕๐", "১২.৫", "١٢٫٥", "٥٠٪", "½", "m²", "🦙", "𝟑𝟓𝟎",
    };
    static const char *const bad[] = {
        "３５", "٣٥١", "३५", "๓", "१२", "٥٪", "¾", "①", "Ⅷ", "3½", "𝟑𝟓", "㉑",
    };
    CHECK_TEXTS(given, false, good, bad);
}

static void words_are_numbers_where_they_are_asked_for(void **state)
{
    (void)state;
    static const char *const given[] = { "6 pieces, 25 cm", "250 g", "2 years", "twelve months",
                                         "三件套" };
    static const char *const good[] = {
        "six",
        "Six mugs",
        "six-piece",
        "sixth sense",
        "twenty-five",
        "two hundred and fifty",
        "one",
        "twelve",
        "often",
        "tendered",
        "12",
        "3",
        "a weighty height",
        "六件",
        "两年",
        "二年",
        "三件套",
        "一件",
        "二十五厘米",
        "十二个月",
        "百搭",
        "十分舒适",
        "四季皆宜",
        "二百五十克",
        "两百五十克",
        "千变万化",
        "两侧",
        "第四",
    };
    static const char *const bad[] = {
        "seven",  "SEVEN mugs", "ten",        "a ten-year guarantee",
        "thirty", "eighty",     "a thousand", "十件",
        "四件套", "五米",       "五年",       "百年",
        "两百克", "百分之五十", "三分之一",   "十二件套装和十三件",
    };
    CHECK_TEXTS(given, true, good, bad);
    static const char *const free_texts[] = { "seven", "ten mugs", "十件", "百分之五十" };
    static const char *const none[] = { "7" };
    CHECK_TEXTS(given, false, free_texts, none);
}

/* Whatever the lock lets through, the scorer's reading of numbers finds nothing unsupported in. */
static void nothing_unsupported_slips_through(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "0",  "1",  "2",  "3",    "5",   "9",       "12",   "29", "35",       "62",   "99",
        "00", ".",  ",",  "%",    " ",   "a",       "０",   "２", "５",       "．",   "，",
        "％", "毫", "'",  "-",    "ml ", "\xef",    "\xbc", "’",  "\xe2\x80", "\x95", "ml",
        "m",  "cm", "oz", "厘米", "克",  "percent", "٣",    "५",  "½",        "s",    "\xc2\xa0",
    };
    enum { PIECES_COUNT = sizeof pieces / sizeof pieces[0], TRIALS = 200000 };
    const uint64_t seed[2] = { 7, 11 };
    struct cm_automaton lock;
    struct cm_numbers numbers = { 0 };
    uint32_t draw = 0;
    uint32_t with_digits_count = 0;
    assert_int_equal(cm_fact_lock_compile(facts, FACTS_COUNT, false, &lock), CM_OK);
    for (size_t i = 0; i < FACTS_COUNT; i++) {
        assert_int_equal(cm_numbers_add(&numbers, cm_span_of(facts[i])), CM_OK);
    }
    for (uint32_t trial = 0; trial < TRIALS; trial++) {
        char text[64] = "";
        uint32_t length = 1 + (uint32_t)(cm_philox_uniform(seed, 0, draw++) * 7);
        for (uint32_t i = 0; i < length; i++) {
            uint32_t piece = (uint32_t)(cm_philox_uniform(seed, 0, draw++) * PIECES_COUNT);
            strncat(text, pieces[piece], sizeof text - strlen(text) - 1);
        }
        if (!accepts(&lock, text)) {
            continue;
        }
        size_t at = 0;
        struct cm_span missing;
        if (cm_numbers_next_missing(&numbers, cm_span_of(text), &at, &missing)) {
            fail_msg("accepted: %s with %.*s", text, (int)missing.length, missing.data);
        }
        with_digits_count += strpbrk(text, "0123456789") != NULL;
    }
    assert_true(with_digits_count > 1000);
    cm_numbers_deinit(&numbers);
    cm_fact_lock_free((void *)(uintptr_t)lock.context);
}

/* --- Ban list --- */

static struct cm_ban_list *parse(const char *text)
{
    struct cm_ban_list *list = NULL;
    struct cm_error error = { 0 };
    if (cm_ban_list_parse(cm_span_of(text), "bans.txt", &list, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return list;
}

static void banned_words_are_found_in_context(void **state)
{
    (void)state;
    static const char *const good[] = {
        "",         "a good mug", "topping", "stop it", "robust", "atop",
        "the rest", "最近",       "第二",    "urban",   "no. 12", "a no-go area",
    };
    static const char *const bad[] = {
        "the best mug", "Best",         "BESTSELLER", "bestes", "on top",        "top",
        "top.",         "这是最佳选择", "最佳",       "第一名", "the top-rated", "world class",
        "WORLD CLASS!", "x NO.1 y",     "ban",        "Banana",
    };
    struct cm_ban_list *list = parse(
        "\xef\xbb\xbf# superlatives\nbest\n\ntop\r\n最佳\n第一\nworld class\nNo.1\nban\nbanana");
    struct cm_automaton automaton = cm_ban_list_automaton(list);
    assert_int_equal(cm_ban_list_count(list), 8);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!accepts(&automaton, good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (accepts(&automaton, bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    cm_ban_list_close(list);
}

static void bad_ban_lists_are_refused(void **state)
{
    (void)state;
    struct cm_ban_list *list = NULL;
    struct cm_error error = { 0 };
    assert_int_equal(cm_ban_list_parse(cm_span_of("# nothing\n"), "b.txt", &list, &error),
                     CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "b.txt"));
    char longest[CM_BAN_WORD_BYTES_MAX + 4];
    memset(longest, 'x', sizeof longest);
    longest[0] = '\n';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(cm_ban_list_parse(cm_span_of(longest), "b.txt", &list, &error), CM_LIMIT);
    assert_non_null(strstr(error.message, "b.txt:2"));
    for (uint64_t nth = 1; nth < 40; nth++) {
        list = NULL;
        cm_memory_fail_at(nth);
        enum cm_status status =
            cm_ban_list_parse(cm_span_of("a\nbc\n最\n"), "b.txt", &list, &error);
        cm_memory_fail_at(0);
        assert_true(status == CM_OK || status == CM_OUT_OF_MEMORY);
        if (status == CM_OK) {
            cm_ban_list_close(list);
        }
    }
}

/* --- Masks --- */

static bool mask_allows(const struct cm_token_mask *mask, int32_t token)
{
    for (uint32_t i = 0; i < mask->count; i++) {
        if (mask->ids[i] == token) {
            return mask->only;
        }
    }
    return !mask->only;
}

/* For every state on random walks: the mask allows just the tokens whose bytes keep the automaton
 * alive, and the end where it may end. */
static void check_masks(const struct cm_automaton *automaton, const struct cm_tokenizer *tokenizer,
                        bool (*is_near)(struct cm_span), void (*free_context)(void *))
{
    const uint64_t seed[2] = { 3, 5 };
    struct cm_token_subset *subset = NULL;
    struct cm_constraint *constraint = NULL;
    assert_int_equal(cm_token_subset_open(tokenizer, automaton->relevant, is_near, &subset), CM_OK);
    assert_int_equal(cm_constraint_open(automaton, subset, free_context, &constraint), CM_OK);
    uint32_t n_tokens = cm_tokenizer_size(tokenizer);
    uint32_t state = cm_constraint_start(constraint);
    uint32_t only_count = 0;
    uint32_t draw = 0;
    for (uint32_t step = 0; step < 400; step++) {
        struct cm_token_mask mask;
        assert_int_equal(cm_constraint_mask(constraint, state, &mask), CM_OK);
        only_count += mask.only;
        for (int32_t token = 0; (uint32_t)token < n_tokens; token++) {
            bool allowed =
                cm_tokenizer_is_stop(tokenizer, token)
                    ? automaton->may_end(automaton->context, state)
                    : cm_constraint_advance(constraint, state, token) != CM_AUTOMATON_DEAD;
            /* Tokens without bytes are ordinary ones: they fare as those do. */
            if (cm_tokenizer_token_bytes(tokenizer, token).length > 0 ||
                cm_tokenizer_is_stop(tokenizer, token)) {
                assert_int_equal(mask_allows(&mask, token), allowed);
            }
        }
        int32_t token;
        do { /* half of the steps are single bytes, so that words and numbers come up */
            uint32_t limit = step % 2 == 0 ? n_tokens : 260;
            token = (int32_t)(cm_philox_uniform(seed, 0, draw++) * (float)limit);
        } while (cm_constraint_advance(constraint, state, token) == CM_AUTOMATON_DEAD);
        state = cm_constraint_advance(constraint, state, token);
    }
    print_message("%u of 400 states name their tokens one by one\n", only_count);
    cm_constraint_release(constraint);
    cm_token_subset_close(subset);
}

static void masks_agree_with_the_automata(void **state)
{
    (void)state;
    struct cm_model_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    assert_int_equal(cm_model_file_open(TEST_DATA_DIR "/golden/tiny/llama", &file, NULL), CM_OK);
    assert_int_equal(cm_tokenizer_open(cm_model_file_tokenizer(file), &tokenizer, NULL), CM_OK);

    struct cm_automaton lock;
    assert_int_equal(cm_fact_lock_compile(facts, FACTS_COUNT, false, &lock), CM_OK);
    check_masks(&lock, tokenizer, cm_unit_may_begin, cm_fact_lock_free);

    assert_int_equal(cm_fact_lock_compile(facts, FACTS_COUNT, true, &lock), CM_OK);
    check_masks(&lock, tokenizer, cm_unit_may_begin, cm_fact_lock_free);

    struct cm_ban_list *list = parse("the\nin\n最佳\nS\nor a");
    struct cm_automaton bans = cm_ban_list_automaton(list);
    check_masks(&bans, tokenizer, NULL, NULL);
    cm_ban_list_close(list);

    cm_tokenizer_close(tokenizer);
    cm_model_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_the_facts_pass),
        cmocka_unit_test(a_number_keeps_its_unit),
        cmocka_unit_test(a_measure_without_a_unit_goes_with_none),
        cmocka_unit_test(digits_of_every_script_are_digits),
        cmocka_unit_test(words_are_numbers_where_they_are_asked_for),
        cmocka_unit_test(nothing_unsupported_slips_through),
        cmocka_unit_test(banned_words_are_found_in_context),
        cmocka_unit_test(bad_ban_lists_are_refused),
        cmocka_unit_test(masks_agree_with_the_automata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
