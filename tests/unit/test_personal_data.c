/* loaders/personal_data.h: identifiers are found in the shapes people write them in, and what only
 * looks like one is left alone. The numbers are the issuers' own test numbers or made up. */
#include "loaders/personal_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct example {
    const char *text;
    const char *found; /* NULL: nothing */
    enum cm_personal_kind kind;
};

static const struct example FOUND[] = {
    { "write to ann.lee+shop@example.co.uk today", "ann.lee+shop@example.co.uk", CM_PERSONAL_MAIL },
    { "邮箱：zhang_san@example.cn。", "zhang_san@example.cn", CM_PERSONAL_MAIL },
    { "ｓａｌｅｓ＠ｅｘａｍｐｌｅ．ｃｏｍ", "ｓａｌｅｓ＠ｅｘａｍｐｌｅ．ｃｏｍ",
      CM_PERSONAL_MAIL },
    { "a@b.c2.info", "a@b.c2.info", CM_PERSONAL_MAIL },
    { "手机13800138000", "13800138000", CM_PERSONAL_PHONE },
    { "微信 138-0013-8000", "138-0013-8000", CM_PERSONAL_PHONE },
    { "１３８００１３８０００", "１３８００１３８０００", CM_PERSONAL_PHONE },
    { "+86 138 0013 8000", "+86 138 0013 8000", CM_PERSONAL_PHONE },
    { "8613800138000", "8613800138000", CM_PERSONAL_PHONE },
    { "座机 010-62345678", "010-62345678", CM_PERSONAL_PHONE },
    { "(0755) 26741234", "(0755) 26741234", CM_PERSONAL_PHONE },
    { "客服400-820-8820", "400-820-8820", CM_PERSONAL_PHONE },
    { "call (212) 555-0142 now", "(212) 555-0142", CM_PERSONAL_PHONE },
    { "212.555.0142", "212.555.0142", CM_PERSONAL_PHONE },
    { "1-800-555-0199", "1-800-555-0199", CM_PERSONAL_PHONE },
    { "+44 20 7946 0958", "+44 20 7946 0958", CM_PERSONAL_PHONE },
    { "Tel: 5550142", "5550142", CM_PERSONAL_PHONE },
    { "order 12 13800138000", "13800138000", CM_PERSONAL_PHONE },
    { "13800138000 2024", "13800138000", CM_PERSONAL_PHONE },
    { "4111 1111 1111 1111", "4111 1111 1111 1111", CM_PERSONAL_CARD },
    { "4111-1111-1111-1111", "4111-1111-1111-1111", CM_PERSONAL_CARD },
    { "378282246310005", "378282246310005", CM_PERSONAL_CARD },
    { "5555555555554444", "5555555555554444", CM_PERSONAL_CARD },
    { "６２２２０２１２３４５６７８９０１２８", "６２２２０２１２３４５６７８９０１２８",
      CM_PERSONAL_CARD },
    { "身份证11010519491231002X", "11010519491231002X", CM_PERSONAL_ID_NUMBER },
    { "440524188001010014", "440524188001010014", CM_PERSONAL_ID_NUMBER },
    { "SSN 123-45-6789", "123-45-6789", CM_PERSONAL_ID_NUMBER },
};

static const char *const CLEAN[] = {
    "",
    "100% cotton, 120x80x45 mm, 2.5 kg",
    "follow @brand or see v1.2@home",
    "a@b, c@d.1",
    "4111 1111 1111 1112", /* wrong check digit */
    "110105194912310021",  /* wrong check digit */
    "110105194913310023",  /* month 13 */
    "EAN 4006381333931",   /* 13 digits: a bar code */
    "model 1380013800Z",
    "SKU-A13800138000B",
    "123-45-67890",
    "000-12-3456",
    "1,299.00 USD, 12-pack, 2024-01-15",
    "hotel 1234567",
    "ratio 16:9, 3840 x 2160, 60 Hz",
    "12345678901234567890123456789012345",
    "iPhone 15 Pro 256",
    "12800138000",
};

static void finds_identifiers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FOUND / sizeof FOUND[0]; i++) {
        struct cm_span text = cm_span_of(FOUND[i].text);
        struct cm_personal_match match;
        size_t at = 0;
        if (!cm_personal_data_next(text, &at, &match)) {
            fail_msg("nothing found in: %s", FOUND[i].text);
        }
        struct cm_span found = { text.data + match.begin, match.end - match.begin };
        if (!cm_span_equal_text(found, FOUND[i].found) || match.kind != FOUND[i].kind) {
            fail_msg("%s: found \"%.*s\" (%s)", FOUND[i].text, (int)found.length, found.data,
                     cm_personal_kind_name(match.kind));
        }
        assert_int_equal(at, match.end);
        assert_false(cm_personal_data_next(text, &at, &match));
    }
}

static void leaves_other_numbers_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CLEAN / sizeof CLEAN[0]; i++) {
        struct cm_personal_match match;
        size_t at = 0;
        if (cm_personal_data_next(cm_span_of(CLEAN[i]), &at, &match)) {
            fail_msg("%s: taken for a %s", CLEAN[i], cm_personal_kind_name(match.kind));
        }
    }
}

static void finds_several_and_reads_no_further_than_the_text(void **state)
{
    (void)state;
    const char *text = "a@example.com, 13800138000; b@example.org";
    struct cm_personal_match match;
    size_t count = 0;
    for (size_t at = 0; cm_personal_data_next(cm_span_of(text), &at, &match);) {
        count++;
    }
    assert_int_equal(count, 3);
    /* Every cut of a text with wide digits, in memory of exactly that size. */
    const char *wide = "＋８６ １３８００１３８０００ x@y.cn 4111 1111 1111 1111";
    for (size_t length = 0; length <= strlen(wide); length++) {
        char copy[128];
        memcpy(copy, wide, length);
        memset(copy + length, '7', sizeof copy - length);
        for (size_t at = 0; cm_personal_data_next((struct cm_span){ copy, length }, &at, &match);) {
            assert_true(match.begin < match.end && match.end <= length);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_identifiers),
        cmocka_unit_test(leaves_other_numbers_alone),
        cmocka_unit_test(finds_several_and_reads_no_further_than_the_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
