/* jobs/content/reply.h: what replies do, sentence by sentence. */
#include "jobs/content/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void refusals_are_told_from_those_with_claims(void **state)
{
    (void)state;
    static const char *const alone[] = {
        "We do not have this information at hand.",
        "Thank you for asking! We don't have that information. Please contact customer service.",
        "I'm sorry, I am not sure about version 2.5 of it. We will gladly find out for you.",
        "感谢您的咨询！我们暂时没有这方面的信息。请联系人工客服。",
    };
    static const char *const with_claims[] = {
        "We do not have this information. It is made of pure leather.",
        "The jacket resists any oven. We are not sure about the microwave.",
        "暂时没有相关信息。这款杯子可以放进烤箱使用。",
        "You can't use it in space, we don't have this information.",
    };
    for (size_t i = 0; i < COUNT(alone); i++) {
        assert_true(cm_reply_refuses(cm_span_of(alone[i])));
        assert_true(cm_reply_refuses_alone(cm_span_of(alone[i])));
    }
    for (size_t i = 0; i < COUNT(with_claims); i++) {
        assert_true(cm_reply_refuses(cm_span_of(with_claims[i])));
        assert_false(cm_reply_refuses_alone(cm_span_of(with_claims[i])));
    }
    assert_false(cm_reply_refuses(cm_span_of("It is made of cotton.")));
    assert_false(cm_reply_refuses_alone(cm_span_of("")));
}

static void refusals_in_every_language_are_pure(void **state)
{
    (void)state;
    static const char *const languages[] = { "en", "zh", "de", "fr", "es", "it", "pt", "nl", "ja" };
    for (size_t i = 0; i < COUNT(languages); i++) {
        struct cm_text text = CM_TEXT_INIT(1024);
        assert_int_equal(cm_reply_append_refusal(&text, languages[i], "Mug"), CM_OK);
        if (!cm_reply_refuses_alone(cm_text_span(&text))) {
            fail_msg("%s", cm_text_string(&text));
        }
        cm_text_deinit(&text);
    }
    struct cm_text text = CM_TEXT_INIT(1024);
    assert_int_equal(cm_reply_append_refusal(&text, "tlh", "Mug"), CM_UNSUPPORTED);
    cm_text_deinit(&text);
}

static void replies_that_turn_a_policy_round_are_found(void **state)
{
    (void)state;
    static const char *const granting[] = { "Unused goods can be returned within 30 days.",
                                            "未使用的商品可在30天内退货。" };
    static const char *const denying[] = { "Underwear cannot be returned.", "内衣不支持退货。" };
    static const char *const grants[] = {
        "Yes, you can send it back within 30 days as long as it is unused.",
        "Thank you for asking! You can return it within 30 days. Used goods cannot be returned.",
        "可以的，未使用的商品可在30天内退货。",
    };
    static const char *const denials[] = { "Sorry, we cannot take it back.", "We can't accept it.",
                                           "很抱歉，不能退货。" };
    for (size_t i = 0; i < COUNT(grants); i++) {
        assert_false(cm_reply_is_opposite(cm_span_of(grants[i]), cm_span_of(granting[i / 2])));
        assert_true(cm_reply_is_opposite(cm_span_of(grants[i]), cm_span_of(denying[i / 2])));
        assert_false(cm_reply_is_opposite(cm_span_of(grants[i]), cm_span_of("")));
    }
    for (size_t i = 0; i < COUNT(denials); i++) {
        assert_true(cm_reply_is_opposite(cm_span_of(denials[i]), cm_span_of(granting[i / 2])));
        assert_false(cm_reply_is_opposite(cm_span_of(denials[i]), cm_span_of(denying[i / 2])));
    }
    assert_false(
        cm_reply_is_opposite(cm_span_of("We do not have this information; we cannot confirm it."),
                             cm_span_of(granting[0])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals_are_told_from_those_with_claims),
        cmocka_unit_test(refusals_in_every_language_are_pure),
        cmocka_unit_test(replies_that_turn_a_policy_round_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
