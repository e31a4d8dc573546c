#include "jobs/language.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void detects_by_script_and_common_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *language; /* NULL: does not show */
    } CASES[] = {
        { "A light jacket for the cold days of autumn", "en" },
        { "Can I send it back if I do not like it?", "en" },
        { "Eine leichte Jacke für die kalten Tage und den Herbst", "de" },
        { "Une veste légère pour les jours froids et la pluie", "fr" },
        { "Una chaqueta ligera para los días fríos y las noches", "es" },
        { "Uma jaqueta leve para os dias frios e você", "pt" },
        { "Een lichte jas voor het koude weer", "nl" },
        { "轻便保暖的秋冬夹克", "zh" },
        { "Nike Air Max 运动鞋 透气舒适 适合日常跑步", "zh" },
        { "軽くて暖かい秋のジャケット", "ja" },
        { "가볍고 따뜻한 재킷", "ko" },
        { "Лёгкая куртка на осень", "ru" },
        { "Легка куртка, що зігріває її власника", "uk" },
        { "سترة خفيفة للخريف", "ar" },
        { "Ελαφρύ μπουφάν", "el" },
        { "เสื้อแจ็คเก็ตเบา", "th" },
        { "Xerox ZX-81", NULL },
        { "12345 !!! 😀", NULL },
        { "", NULL },
        { "\xFF\xFE\x80", NULL },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const char *found = cm_language_detect(cm_span_of(CASES[i].text));
        if (CASES[i].language == NULL) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_string_equal(found, CASES[i].language);
        }
    }
}

static void matches_only_the_expected_language(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *language;
        bool matches;
    } CASES[] = {
        { "这款夹克轻便保暖，适合秋天。", "zh", true },
        { "这款 Nike Air Zoom 跑鞋轻便透气，适合日常训练。", "zh", true },
        { "这款夹克轻便保暖，适合秋天。", "zh-tw", true },
        { "This jacket is light and warm.", "zh", false },
        { "This jacket is light and warm, 适合秋天的日常穿着。", "en", false },
        { "This jacket is light and warm.", "en", true },
        { "Diese Jacke ist leicht und warm und passt für den Herbst und die Arbeit.", "en", false },
        { "Diese Jacke ist leicht und warm und passt für den Herbst und die Arbeit.", "de", true },
        { "The jacket is light, and it is warm for the days of autumn with you.", "de", false },
        { "The Café Crème jacket from L'Oréal is warm.", "en", true },
        { "軽くて暖かいジャケットです。", "zh", false },
        { "这款夹克轻便保暖。", "ja", false },
        { "Лёгкая куртка", "en", false },
        { "anything at all", "xx", true },
        { "", "zh", true },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        bool matches = cm_language_matches(cm_span_of(CASES[i].text), CASES[i].language);
        if (matches != CASES[i].matches) {
            fail_msg("\"%s\" as %s: expected %d", CASES[i].text, CASES[i].language,
                     CASES[i].matches);
        }
    }
}

static void knows_codes(void **state)
{
    (void)state;
    assert_true(cm_language_is_code("zh"));
    assert_true(cm_language_is_code("pt-BR"));
    assert_true(cm_language_is_code("zh-Hant-tw"));
    assert_false(cm_language_is_code("z"));
    assert_false(cm_language_is_code("english"));
    assert_false(cm_language_is_code("zh-"));
    assert_false(cm_language_is_code("en_US"));
    assert_false(cm_language_is_code("en-abcdefghijklmn"));
    assert_true(cm_language_is("zh-cn", "zh"));
    assert_false(cm_language_is("zho", "zh"));
    assert_string_equal(cm_language_name("de-at"), "German");
    assert_string_equal(cm_language_name("xx"), "xx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(detects_by_script_and_common_words),
        cmocka_unit_test(matches_only_the_expected_language),
        cmocka_unit_test(knows_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
