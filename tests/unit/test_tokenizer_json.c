/* tokenizer.json: which shapes are read, and that all else is refused by name. The ids that real
 * shapes give are in tests/golden. */
#include "base/memory.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"
#include "loaders/tokenizer_file.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS_COUNT = 300, DOCUMENT_BYTES_MAX = 16384 };

/* The parts of a document, as JSON; NULL is the usual one. */
struct parts {
    const char *normalizer;
    const char *pre_tokenizer;
    const char *model; /* the fields of an object; "BYTES" in it is all tokens of bytes */
    const char *added; /* the elements of the list */
};

#define MARK "\xE2\x96\x81"
#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define MARKS "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}"
#define PREPEND "{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"}"
#define METASPACE "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\""
#define BPE \
    "\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[[\"a\",\"b\"]],\"x\":0"
#define BYTES_BPE                                                                   \
    "\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"a\",\"vocab\":{BYTES," \
    "\"a\":256,\"b\":257,\"ab\":258},\"merges\":[\"a b\"]"
#define UNIGRAM                                                                                    \
    "\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"a\",-1],[\"b\",-1.5],[\"ab\",-" \
    "2],"                                                                                          \
    "[\"" MARK "a\",-3],[\"" MARK "\",-2]]"

static void write_bytes(struct cm_text *text)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        assert_int_equal(cm_text_printf(text, "%s\"<0x%02X>\":%u", byte > 0 ? "," : "", byte, byte),
                         CM_OK);
    }
}

static void write_document(const struct parts *parts)
{
    struct cm_text text = CM_TEXT_INIT(DOCUMENT_BYTES_MAX);
    const char *model = parts->model != NULL ? parts->model : BPE;
    const char *bytes = strstr(model, "BYTES");
    size_t head = bytes != NULL ? (size_t)(bytes - model) : strlen(model);
    assert_int_equal(
        cm_text_printf(&text,
                       "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"added_tokens\":[%s],"
                       "\"model\":{%.*s",
                       parts->normalizer != NULL ? parts->normalizer : "null",
                       parts->pre_tokenizer != NULL ? parts->pre_tokenizer : BYTE_LEVEL,
                       parts->added != NULL ? parts->added : "", (int)head, model),
        CM_OK);
    if (bytes != NULL) {
        write_bytes(&text);
        assert_int_equal(cm_text_append_string(&text, bytes + strlen("BYTES")), CM_OK);
    }
    assert_int_equal(cm_text_append_string(&text, "}}"), CM_OK);
    scratch_write("tokenizer.json", text.data, text.length);
    cm_text_deinit(&text);
}

static enum cm_status open_file(const struct parts *parts, struct cm_tokenizer_file **file,
                                struct cm_error *error)
{
    write_document(parts);
    return cm_tokenizer_file_from_folder(scratch_path(""), TOKENS_COUNT, file, error);
}

static struct cm_tokenizer_file *open_good(const struct parts *parts)
{
    struct cm_tokenizer_file *file = NULL;
    struct cm_error error = { 0 };
    if (open_file(parts, &file, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return file;
}

static void check_prefix(const char *normalizer, const char *pre_tokenizer,
                         enum cm_space_prefix expected, bool splits)
{
    const struct parts parts = { normalizer, pre_tokenizer, BYTES_BPE, NULL };
    struct cm_tokenizer_file *file = open_good(&parts);
    const struct cm_tokenizer_data *data = cm_tokenizer_file_data(file);
    assert_int_equal(data->model, CM_TOKENIZER_SENTENCEPIECE);
    assert_int_equal(data->space_prefix, expected);
    assert_int_equal(data->split_at_spaces, splits);
    assert_int_equal(data->kinds[0x41], CM_TOKEN_BYTE);
    assert_int_equal(data->kinds[256], CM_TOKEN_UNKNOWN);
    assert_int_equal(data->kinds[258], CM_TOKEN_NORMAL);
    cm_tokenizer_file_close(file);
}

static void spaces_are_put_where_the_file_says(void **state)
{
    (void)state;
    check_prefix(MARKS, "null", CM_SPACE_PREFIX_NONE, false);
    check_prefix(MARKS,
                 "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},"
                 "\"behavior\":\"MergedWithPrevious\",\"invert\":false}",
                 CM_SPACE_PREFIX_NONE, false);
    check_prefix("{\"type\":\"Sequence\",\"normalizers\":[" PREPEND "," MARKS "]}", "null",
                 CM_SPACE_PREFIX_PARTS, false);
    check_prefix("null", METASPACE ",\"prepend_scheme\":\"first\",\"split\":false}",
                 CM_SPACE_PREFIX_TEXT_MISSING, false);
    check_prefix("null", METASPACE ",\"prepend_scheme\":\"always\"}", CM_SPACE_PREFIX_PARTS_MISSING,
                 true);
    check_prefix("null", METASPACE ",\"prepend_scheme\":\"never\"}", CM_SPACE_PREFIX_NONE, true);
    check_prefix("null", METASPACE "}", CM_SPACE_PREFIX_PARTS_MISSING, true);
    check_prefix("null", METASPACE ",\"add_prefix_space\":false}", CM_SPACE_PREFIX_NONE, true);
}

static void added_tokens_are_markers_or_text(void **state)
{
    (void)state;
    const struct parts parts = {
        .added = "{\"id\":3,\"content\":\"</s>\",\"special\":true,\"lstrip\":true},"
                 "{\"id\":4,\"content\":\"<|fim|>\",\"special\":false},"
                 "{\"id\":5,\"content\":\"<tool>\",\"special\":false,\"normalized\":true},"
                 "{\"id\":0,\"content\":\"a\"}"
    };
    struct cm_tokenizer_file *file = open_good(&parts);
    const struct cm_tokenizer_data *data = cm_tokenizer_file_data(file);
    static const enum cm_token_kind expected[] = {
        CM_TOKEN_USER_DEFINED, CM_TOKEN_NORMAL,       CM_TOKEN_NORMAL, CM_TOKEN_CONTROL,
        CM_TOKEN_CONTROL,      CM_TOKEN_USER_DEFINED, CM_TOKEN_UNUSED,
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(data->kinds[i], expected[i]);
    }
    cm_tokenizer_file_close(file);
}

static void check_refused(const struct parts *parts, enum cm_status expected, const char *message)
{
    struct cm_tokenizer_file *file = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = open_file(parts, &file, &error);
    if (status != expected || strstr(error.message, message) == NULL ||
        strstr(error.message, "tokenizer.json: ") == NULL) {
        fail_msg("%d: %s; expected %s", status, error.message, message);
    }
    assert_null(file);
}

static void other_shapes_are_refused_by_name(void **state)
{
    (void)state;
    static const struct parts parts[] = {
        { .normalizer = "{\"type\":\"Lowercase\"}" },
        { .normalizer = "{\"type\":\"Prepend\",\"prepend\":\"x\"}" },
        { .normalizer =
              "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" \"},\"content\":\"" MARK "\"}" },
        { .normalizer = MARKS },                                /* with ByteLevel */
        { .pre_tokenizer = "null" },                            /* spaces are not marked */
        { .pre_tokenizer = "{\"type\":\"BertPreTokenizer\"}" }, /* of WordPiece */
        { .pre_tokenizer = "{\"type\":\"Metaspace\",\"replacement\":\"_\"}" },
        { .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
                           "\"individual_digits\":false}," BYTE_LEVEL "]}" },
        { .pre_tokenizer = "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
                           "\"pattern\":{\"Regex\":\"a+\"},\"behavior\":\"Isolated\"},"
                           "{\"type\":\"ByteLevel\",\"use_regex\":false}]}" },
        { .model = "\"type\":\"WordLevel\",\"vocab\":{}" },
        { .model = UNIGRAM }, /* with ByteLevel */
        { .model = BPE ",\"dropout\":0.1" },
        { .model = BPE ",\"end_of_word_suffix\":\"</w>\"" },
        { .model = BYTES_BPE }, /* with ByteLevel */
        { .normalizer = MARKS, .pre_tokenizer = "null", .model = BPE },
        { .normalizer = MARKS,
          .pre_tokenizer = "null",
          .model = BYTES_BPE ",\"ignore_merges\":true" },
        { .added = "{\"id\":3,\"content\":\"x\",\"lstrip\":true}" },
        { .added = "{\"id\":3,\"content\":\"x\",\"single_word\":true}" },
        { .normalizer = "{\"type\":\"Sequence\",\"normalizers\":[" PREPEND "," MARKS "]}",
          .pre_tokenizer = "null",
          .model = BYTES_BPE,
          .added = "{\"id\":259,\"content\":\"x\",\"normalized\":true}" },
    };
    static const char *const messages[] = {
        "normalizer does",   "normalizer does",     "normalizer does",   "unknown combination",
        "pre_tokenizer is",  "pre_tokenizer is",    "Metaspace",         "unknown combination",
        "pattern other",     "model.type is",       "model.type is",     "model.dropout",
        "suffixes in model", "model.byte_fallback", "byte_fallback and", "byte_fallback and",
        "added token \"x\"", "added token \"x\"",   "added token \"x\"",
    };
    _Static_assert(sizeof messages / sizeof messages[0] == sizeof parts / sizeof parts[0], "");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        check_refused(&parts[i], CM_UNSUPPORTED, messages[i]);
    }
}

static void damaged_vocabularies_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *model;
        const char *message;
    } cases[] = {
        { "\"type\":\"Unigram\",\"vocab\":{}", "model.vocab is no list" },
        { "\"type\":\"Unigram\",\"vocab\":[[\"a\"]]", "model.vocab[0]" },
        { "\"type\":\"Unigram\",\"vocab\":[[\"a\",0],[1,0]]", "model.vocab[1]" },
        { "\"type\":\"Unigram\",\"vocab\":[[\"a\",1e300]]", "model.vocab[0]" },
        { "\"type\":\"Unigram\",\"unk_id\":300,\"vocab\":[[\"a\",0]]", "unk_id" },
        { "\"type\":\"Unigram\",\"unk_id\":\"a\",\"vocab\":[[\"a\",0]]", "unk_id" },
        { "\"type\":\"Unigram\",\"byte_fallback\":true,\"vocab\":[[\"<0x00>\",0]]", "<0x01>" },
        { "\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":[]", "no object" },
        { "\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[]", "<0x00>" },
        { "\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0,\"b\":0}", "two tokens" },
        { "\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{BYTES}", "model.merges" },
        { "\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{BYTES},\"merges\":[\"a\"]",
          "merge 0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct parts parts = { .pre_tokenizer = METASPACE "}", .model = cases[i].model };
        check_refused(&parts, CM_INVALID_DATA, cases[i].message);
    }
}

/* Opens, encodes and decodes. */
static enum cm_status whole_use(const char *text, const char *expected)
{
    struct cm_tokenizer_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    struct cm_text back = CM_TEXT_INIT(4096);
    struct cm_error error = { 0 };
    enum cm_status status =
        cm_tokenizer_file_from_folder(scratch_path(""), TOKENS_COUNT, &file, &error);
    if (status == CM_OK) {
        status = cm_tokenizer_open(cm_tokenizer_file_data(file), &tokenizer, &error);
    }
    if (status == CM_OK) {
        status = cm_tokenizer_encode(tokenizer, cm_span_of(text), &list, &error);
    }
    assert_true(status == CM_OK || error.message[0] != '\0');
    if (status == CM_OK) {
        status = cm_tokenizer_decode(tokenizer, list.ids, list.count, &back);
    }
    if (status == CM_OK) {
        assert_string_equal(cm_text_string(&back), expected);
    }
    cm_text_deinit(&back);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
    cm_tokenizer_file_close(file);
    return status;
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    const struct parts parts = { "{\"type\":\"NFC\"}", METASPACE "}", UNIGRAM,
                                 "{\"id\":6,\"content\":\"<t>\"}" };
    const char *text = "a" MARK "ab<t>aqqa";
    const char *expected = " a ab<t> a\xEF\xBF\xBD"
                           "a";
    write_document(&parts);
    uint64_t before = cm_memory_allocations();
    assert_int_equal(whole_use(text, expected), CM_OK);
    uint64_t allocations = cm_memory_allocations() - before;
    assert_true(allocations > 50);
    for (uint64_t nth = 1; nth <= allocations; nth++) {
        cm_memory_fail_at(nth);
        enum cm_status status = whole_use(text, expected);
        cm_memory_fail_at(0);
        assert_int_equal(status, CM_OUT_OF_MEMORY);
    }
}

/* The definition of the unigram model: the best of all ways to cut. */
static void unigram_takes_the_best_sum(void **state)
{
    (void)state;
    const struct parts parts = { NULL, METASPACE ",\"prepend_scheme\":\"never\"}", UNIGRAM, NULL };
    struct cm_tokenizer_file *file = open_good(&parts);
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    assert_int_equal(cm_tokenizer_open(cm_tokenizer_file_data(file), &tokenizer, NULL), CM_OK);
    /* ab (-2) beats a b (-2.5); " a" with b (-4.5) loses to " " with ab (-4). */
    const int32_t expected[] = { 3, 5, 3, 0, 1 };
    assert_int_equal(cm_tokenizer_encode(tokenizer, cm_span_of("ab abqqa"), &list, NULL), CM_OK);
    assert_int_equal(list.count, sizeof expected / sizeof expected[0]);
    assert_memory_equal(list.ids, expected, sizeof expected);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
    cm_tokenizer_file_close(file);
}

static int open_scratch(void **state)
{
    (void)state;
    scratch_open();
    return 0;
}

static int close_scratch(void **state)
{
    (void)state;
    scratch_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spaces_are_put_where_the_file_says),
        cmocka_unit_test(added_tokens_are_markers_or_text),
        cmocka_unit_test(other_shapes_are_refused_by_name),
        cmocka_unit_test(damaged_vocabularies_are_refused),
        cmocka_unit_test(unigram_takes_the_best_sum),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, open_scratch, close_scratch);
}
