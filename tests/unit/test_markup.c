#include "loaders/markup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct {
    const char *source;
    const char *plain;
} cases[] = {
    { "", "" },
    { "  plain \t text  ", "plain text" },
    { "two\r\n\r\nlines", "two\nlines" },
    { "<p>One\ntwo</p>\n<ul><li>a</li><li>b</li></ul>", "One two\na\nb" },
    { "<b>bold</b>ly <a href=\"x>y\">linked</a>", "boldly linked" },
    { "a<br/>b<BR>c", "a\nb\nc" },
    { "1 < 2 and 3 > 2, <3, a<b", "1 < 2 and 3 > 2, <3, a<b" },
    { "<!-- note --><style>p { x }</style>text<script>alert('</p>')</script>!", "text!" },
    { "<script>never closed", "" },
    { "A&amp;B &lt;i&gt; &#8364;&#x20AC; &#150; caf&eacute; &nbsp;x", "A&B <i> €€ – café x" },
    { "AT&T &bogus; &#xD800; &#99999999; &;", "AT&T &bogus; &#xD800; &#99999999; &;" },
    { "a\x01\x7F\xC2\x85z\xEF\xBB\xBF!\xC2\xADq", "a\nz!q" },
    { "宽松\xE3\x80\x80阔腿裤", "宽松 阔腿裤" },
};

static void markup_becomes_plain_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_text plain = CM_TEXT_INIT(1000);
        assert_int_equal(cm_markup_to_text(cm_span_of(cases[i].source), &plain), CM_OK);
        assert_string_equal(cm_text_string(&plain), cases[i].plain);
        cm_text_deinit(&plain);
    }
}

/* Cells made to be slow; the time limit of the test is the check. */
static void unclosed_tags_take_linear_time(void **state)
{
    (void)state;
    enum { COPIES = 50000, BYTES_MAX = 1 << 20 };
    static const char *const parts[] = { "<a=\"", "<!--", "<script>", "&amp", "<a <b " };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct cm_text source = CM_TEXT_INIT(BYTES_MAX);
        struct cm_text plain = CM_TEXT_INIT(BYTES_MAX);
        for (size_t copy = 0; copy < COPIES; copy++) {
            assert_int_equal(cm_text_append_string(&source, parts[i]), CM_OK);
        }
        assert_int_equal(cm_markup_to_text(cm_text_span(&source), &plain), CM_OK);
        cm_text_deinit(&source);
        cm_text_deinit(&plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markup_becomes_plain_text),
        cmocka_unit_test(unclosed_tags_take_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
