#include "loaders/encoding.h"

#include <iconv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

/* Reads a whole file back as UTF-8. */
static size_t decode(const void *bytes, size_t length, struct cm_text *text,
                     enum cm_encoding *encoding)
{
    char path[TEMP_PATH_BYTES];
    struct cm_error error;
    struct cm_text_input *input = NULL;
    struct cm_text_piece piece;
    size_t replaced = 0;
    enum cm_status status;
    temp_file_write(path, bytes, length);
    assert_int_equal(cm_text_input_open(path, &input, &error), CM_OK);
    *encoding = cm_text_input_encoding(input);
    while ((status = cm_text_input_read(input, &piece, &error)) == CM_OK) {
        assert_true(piece.text.length > 0);
        replaced += piece.replaced;
        assert_int_equal(cm_text_append_span(text, piece.text), CM_OK);
    }
    assert_int_equal(status, CM_END);
    cm_text_input_close(input);
    temp_file_remove(path);
    return replaced;
}

static const char western[] = "name,note\nCrème brûlée,“naïve” – 5 € Größe\nÄpfel,señor\n";
static const char chinese[] = "商品名称,描述\n宽松阔腿裤，舒适,面料亲肤、透气。\nT恤,纯棉２号\n";

/* Enough text that buffers end inside characters. */
static void comes_back(const char *encoding_name, enum cm_encoding expected, const char *mark,
                       size_t mark_bytes, const char *sample)
{
    enum { COPIES = 9001, BYTES_MAX = 4 << 20 };
    struct cm_text source = CM_TEXT_INIT(BYTES_MAX);
    struct cm_text text = CM_TEXT_INIT(BYTES_MAX);
    for (size_t i = 0; i < COPIES; i++) {
        assert_int_equal(cm_text_append_string(&source, sample), CM_OK);
    }
    char *encoded = malloc(BYTES_MAX);
    assert_non_null(encoded);
    memcpy(encoded, mark, mark_bytes);
    char *from = source.data;
    char *to = encoded + mark_bytes;
    size_t left = source.length;
    size_t room = BYTES_MAX - mark_bytes;
    iconv_t converter = iconv_open(encoding_name, "UTF-8");
    assert_true(converter != (iconv_t)-1);
    assert_int_equal(iconv(converter, &from, &left, &to, &room), 0);
    iconv_close(converter);

    enum cm_encoding found;
    assert_int_equal(decode(encoded, (size_t)(to - encoded), &text, &found), 0);
    assert_string_equal(cm_encoding_name(found), cm_encoding_name(expected));
    assert_int_equal(text.length, source.length);
    assert_memory_equal(text.data, source.data, source.length);
    free(encoded);
    cm_text_deinit(&text);
    cm_text_deinit(&source);
}

static void every_encoding_comes_back(void **state)
{
    (void)state;
    comes_back("UTF-8", CM_ENCODING_UTF8, "", 0, western);
    comes_back("UTF-8", CM_ENCODING_UTF8, "\xEF\xBB\xBF", 3, chinese);
    comes_back("UTF-16LE", CM_ENCODING_UTF16LE, "\xFF\xFE", 2, chinese);
    comes_back("UTF-16BE", CM_ENCODING_UTF16BE, "\xFE\xFF", 2, western);
    comes_back("UTF-16LE", CM_ENCODING_UTF16LE, "", 0, western);
    comes_back("CP1252", CM_ENCODING_WINDOWS_1252, "", 0, western);
    comes_back("GB18030", CM_ENCODING_GB18030, "", 0, chinese);
}

static void late_damage_is_replaced(void **state)
{
    (void)state;
    enum { GOOD_BYTES = CM_ENCODING_PREFIX_BYTES + 1000, BYTES_MAX = 1 << 20 };
    struct cm_text text = CM_TEXT_INIT(BYTES_MAX);
    char *bytes = malloc(GOOD_BYTES + 4);
    assert_non_null(bytes);
    memset(bytes, 'a', GOOD_BYTES);
    memcpy(bytes + GOOD_BYTES, "\xE9z\xE4\xB8", 4);
    enum cm_encoding found;
    assert_int_equal(decode(bytes, GOOD_BYTES + 4, &text, &found), 2);
    assert_int_equal(found, CM_ENCODING_UTF8);
    assert_string_equal(text.data + GOOD_BYTES, "\xEF\xBF\xBDz\xEF\xBF\xBD");
    free(bytes);
    cm_text_deinit(&text);
}

static void mostly_valid_utf8_stays_utf8(void **state)
{
    (void)state;
    struct cm_text text = CM_TEXT_INIT(1000);
    enum cm_encoding found;
    const char bytes[] = "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9 \xFF end";
    assert_int_equal(decode(bytes, sizeof bytes - 1, &text, &found), 1);
    assert_int_equal(found, CM_ENCODING_UTF8);
    cm_text_deinit(&text);
}

static void what_cannot_be_read_is_refused(void **state)
{
    (void)state;
    struct cm_error error;
    struct cm_text_input *input = NULL;
    char path[TEMP_PATH_BYTES];
    assert_int_equal(cm_text_input_open("/nowhere/at/all.csv", &input, &error), CM_NOT_FOUND);
    assert_int_equal(cm_text_input_open("/", &input, &error), CM_IO);
    temp_file_write(path, "\xFF\xFE\0\0a\0\0\0", 8);
    assert_int_equal(cm_text_input_open(path, &input, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "UTF-32"));
    temp_file_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_encoding_comes_back),
        cmocka_unit_test(late_damage_is_replaced),
        cmocka_unit_test(mostly_valid_utf8_stays_utf8),
        cmocka_unit_test(what_cannot_be_read_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
