/* Where a text that is being written ends. */
#include "host/text_tail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct cm_text_tail tail_of(const char *text)
{
    struct cm_text_tail tail = { 0 };
    assert_false(cm_text_tail_append(&tail, cm_span_of(text), NULL, 0));
    return tail;
}

static void sentences_end_with_a_mark(void **state)
{
    (void)state;
    static const char *const ended[] = { "Fine.", "Fine!\"", "好。", "It weighs 12 oz.", "(Why?)" };
    static const char *const open[] = { "", "Fine", "Fine,", "With a 12.", "x 3.", "好，" };
    for (size_t i = 0; i < sizeof ended / sizeof ended[0]; i++) {
        struct cm_text_tail tail = tail_of(ended[i]);
        assert_true(cm_text_tail_ends_sentence(&tail));
    }
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        struct cm_text_tail tail = tail_of(open[i]);
        assert_false(cm_text_tail_ends_sentence(&tail));
    }
}

static void stop_texts_are_found_across_tokens(void **state)
{
    (void)state;
    static const char *const stops[] = { "END", "\n\n" };
    struct cm_text_tail tail = { 0 };
    assert_false(cm_text_tail_append(&tail, cm_span_of("a EN"), stops, 2));
    assert_true(cm_text_tail_append(&tail, cm_span_of("Ding"), stops, 2));
    tail = (struct cm_text_tail){ 0 };
    for (int i = 0; i < 1000; i++) {
        assert_false(cm_text_tail_append(&tail, cm_span_of("word\n"), stops, 2));
    }
    assert_true(cm_text_tail_append(&tail, cm_span_of("\n"), stops, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentences_end_with_a_mark),
        cmocka_unit_test(stop_texts_are_found_across_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
