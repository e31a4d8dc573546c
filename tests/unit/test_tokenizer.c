/* The tokenizer on small vocabularies made here; tests/golden holds it to real ones. */
#include "base/memory.h"
#include "host/pre_tokenizer.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* --- A vocabulary: the 256 bytes, then what each merge makes, then the markers --- */

enum { TOKENS_MAX = 512, NAME_BYTES_MAX = 160 };

struct vocabulary {
    struct cm_tokenizer_data data;
    char names[TOKENS_MAX][NAME_BYTES_MAX];
    struct cm_span tokens[TOKENS_MAX];
    uint8_t kinds[TOKENS_MAX];
    struct cm_span merges_left[TOKENS_MAX];
    struct cm_span merges_right[TOKENS_MAX];
    int32_t merge_ids[TOKENS_MAX][3]; /* left, right, joined */
};

static int32_t add_token(struct vocabulary *v, const char *name, enum cm_token_kind kind)
{
    uint32_t id = v->data.n_tokens++;
    assert_true(id < TOKENS_MAX && strlen(name) < NAME_BYTES_MAX);
    snprintf(v->names[id], NAME_BYTES_MAX, "%s", name);
    v->tokens[id] = cm_span_of(v->names[id]);
    v->kinds[id] = (uint8_t)kind;
    return (int32_t)id;
}

/* GPT-2's alphabet as its paper's code builds it: unprintable bytes counted up from U+0100. */
static void add_bytes(struct vocabulary *v)
{
    unsigned next = 0x100;
    for (unsigned byte = 0; byte < 256; byte++) {
        int printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
        unsigned character = printable ? byte : next++;
        char name[3] = { (char)character, 0, 0 };
        if (character >= 0x80) {
            name[0] = (char)(0xC0 | character >> 6);
            name[1] = (char)(0x80 | (character & 0x3F));
        }
        add_token(v, name, CM_TOKEN_NORMAL);
    }
}

static void add_merge(struct vocabulary *v, int32_t left, int32_t right)
{
    char name[2 * NAME_BYTES_MAX];
    snprintf(name, sizeof name, "%s%s", v->names[left], v->names[right]);
    uint32_t merge = v->data.n_merges++;
    v->merges_left[merge] = v->tokens[left];
    v->merges_right[merge] = v->tokens[right];
    int32_t joined = add_token(v, name, CM_TOKEN_NORMAL);
    memcpy(v->merge_ids[merge], (int32_t[]){ left, right, joined }, sizeof v->merge_ids[merge]);
}

static void vocabulary_init(struct vocabulary *v, enum cm_pre_tokenizer pre_tokenizer)
{
    *v = (struct vocabulary){ .data = { .model = CM_TOKENIZER_BYTE_BPE,
                                        .pre_tokenizer = pre_tokenizer,
                                        .bos = -1,
                                        .unknown = -1 } };
    v->data.tokens = v->tokens;
    v->data.kinds = v->kinds;
    v->data.merges_left = v->merges_left;
    v->data.merges_right = v->merges_right;
    add_bytes(v);
}

static struct cm_tokenizer *open_tokenizer(const struct vocabulary *v)
{
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    if (cm_tokenizer_open(&v->data, &tokenizer, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return tokenizer;
}

static void check_ids(const struct cm_tokenizer *tokenizer, struct cm_span text,
                      const int32_t *expected, size_t expected_count)
{
    struct cm_token_list list = { 0 };
    assert_int_equal(cm_tokenizer_encode(tokenizer, text, &list, NULL), CM_OK);
    assert_int_equal(list.count, expected_count);
    assert_memory_equal(list.ids, expected, expected_count * sizeof *expected);
    cm_token_list_deinit(&list);
}

#define CHECK_IDS(tokenizer, text, ...)                                \
    check_ids(tokenizer, cm_span_of(text), (int32_t[]){ __VA_ARGS__ }, \
              sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t))

/* --- Merging --- */

static void merges_go_by_rank_then_from_the_left(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    add_merge(&v, 'b', 'c'); /* 256 */
    add_merge(&v, 'a', 'b'); /* 257 */
    add_merge(&v, 'a', 'a'); /* 258 */
    add_merge(&v, 256, 'd'); /* 259 */
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "abc", 'a', 256);
    CHECK_IDS(tokenizer, "abd", 257, 'd');
    CHECK_IDS(tokenizer, "aaa", 258, 'a');
    CHECK_IDS(tokenizer, "abcd", 'a', 259);
    CHECK_IDS(tokenizer, "bcd", 259);
    CHECK_IDS(tokenizer, "b cd", 'b', ' ', 'c', 'd');
    check_ids(tokenizer, cm_span_of(""), NULL, 0);
    cm_tokenizer_close(tokenizer);
}

/* The definition, without any cleverness. */
static size_t merge_slowly(const struct vocabulary *v, const char *word, size_t length,
                           int32_t *ids)
{
    for (size_t i = 0; i < length; i++) {
        ids[i] = (uint8_t)word[i];
    }
    for (uint32_t merge = 0; merge < v->data.n_merges;) {
        size_t at = 0;
        while (at + 1 < length &&
               (ids[at] != v->merge_ids[merge][0] || ids[at + 1] != v->merge_ids[merge][1])) {
            at++;
        }
        if (at + 1 >= length) {
            merge++;
            continue;
        }
        ids[at] = v->merge_ids[merge][2];
        memmove(&ids[at + 1], &ids[at + 2], (length - at - 2) * sizeof *ids);
        length--;
        merge = 0;
    }
    return length;
}

static void words_of_any_length_follow_the_definition(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_NONE);
    add_merge(&v, 'b', 'a');
    add_merge(&v, 'a', 'b');
    add_merge(&v, 'a', 'a');
    add_merge(&v, 257, 256);
    add_merge(&v, 258, 'c');
    add_merge(&v, 256, 256);
    add_merge(&v, 'c', 257);
    add_merge(&v, 259, 261);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    uint32_t random = 1;
    for (size_t length = 1; length < 300; length++) {
        char word[300];
        int32_t expected[300];
        for (size_t i = 0; i < length; i++) {
            random = random * 1664525U + 1013904223U;
            word[i] = (char)('a' + (random >> 24) % 3);
        }
        size_t count = merge_slowly(&v, word, length, expected);
        check_ids(tokenizer, (struct cm_span){ word, length }, expected, count);
    }
    cm_tokenizer_close(tokenizer);
}

static void text_without_spaces_takes_no_longer_than_it_must(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_QWEN2);
    add_merge(&v, ' ', ' ');
    for (int32_t i = 256; i < 261; i++) {
        add_merge(&v, i, i);
    }
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    /* A quadratic way would take minutes, past the time limit of the test. */
    const size_t bytes = 1 << 20;
    char *text = cm_alloc(bytes, 1);
    assert_non_null(text);
    const char *const fillings[] = { " ", "a", "\n", " \n", "1", "!", "\xFF", "a'", "\xCC\x81" };
    for (size_t k = 0; k < sizeof fillings / sizeof fillings[0]; k++) {
        size_t length = strlen(fillings[k]);
        for (size_t i = 0; i < bytes; i++) {
            text[i] = fillings[k][i % length];
        }
        struct cm_token_list list = { 0 };
        assert_int_equal(
            cm_tokenizer_encode(tokenizer, (struct cm_span){ text, bytes }, &list, NULL), CM_OK);
        assert_int_equal(list.count, k == 0 ? bytes / 64 : bytes);
        cm_token_list_deinit(&list);
    }
    cm_free(text);
    cm_tokenizer_close(tokenizer);
}

static void bytes_outside_the_vocabulary_are_unknown_or_dropped(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    int32_t marker = add_token(&v, "<unk>", CM_TOKEN_CONTROL);
    v.tokens['x'] = cm_span_of("unused");
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "axb", 'a', 'b');
    cm_tokenizer_close(tokenizer);
    v.data.unknown = marker; /* a control token never comes from text */
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "axb", 'a', 'b');
    cm_tokenizer_close(tokenizer);
    v.kinds[marker] = CM_TOKEN_UNKNOWN;
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "axb", 'a', marker, 'b');
    cm_tokenizer_close(tokenizer);
}

/* --- Words --- */

/* The words of `text`, joined by '|'. */
static void check_words(enum cm_pre_tokenizer kind, const char *text, const char *expected)
{
    struct cm_word_pattern *pattern = NULL;
    struct cm_word_cursor cursor;
    struct cm_span word;
    struct cm_text words = CM_TEXT_INIT(1024);
    assert_int_equal(cm_word_pattern_open(kind, &pattern, NULL), CM_OK);
    assert_int_equal(cm_word_cursor_init(&cursor, pattern, cm_span_of(text)), CM_OK);
    while (cm_word_cursor_next(&cursor, &word)) {
        assert_int_equal(cm_text_append_string(&words, words.length > 0 ? "|" : ""), CM_OK);
        assert_int_equal(cm_text_append_span(&words, word), CM_OK);
    }
    assert_string_equal(cm_text_string(&words), expected);
    cm_text_deinit(&words);
    cm_word_cursor_deinit(&cursor);
    cm_word_pattern_close(pattern);
}

static void each_pattern_cuts_its_own_way(void **state)
{
    (void)state;
    const char *text = "It's WE'RE 2024, x=10.5kg  ok!\r\n\n  end ";
    check_words(CM_PRE_GPT2, text, "It|'s| WE|'|RE| 2024|,| x|=|10|.|5|kg| | ok|!|\r\n\n | end| ");
    check_words(CM_PRE_LLAMA3, text,
                "It|'s| WE|'RE| |202|4|,| x|=|10|.|5|kg| | ok|!\r\n\n| | end| ");
    check_words(CM_PRE_QWEN2, text,
                "It|'s| WE|'RE| |2|0|2|4|,| x|=|1|0|.|5|kg| | ok|!\r\n\n| | end| ");
    check_words(CM_PRE_SMOLLM, text,
                "It|'s| WE|'|RE| |2|0|2|4|,| x|=|1|0|.|5|kg| | ok|!|\r\n\n | end| ");
    check_words(CM_PRE_NONE, text, text);
}

static void digits_end_a_piece_for_smollm(void **state)
{
    (void)state;
    check_words(CM_PRE_SMOLLM, "a   7  b", "a|   |7| | b");
    check_words(CM_PRE_GPT2, "a   7  b", "a|  | 7| | b");
    check_words(CM_PRE_SMOLLM, "\xC2\xBD \xE2\x85\xA7", "\xC2\xBD| |\xE2\x85\xA7"); /* 1/2, VIII */
}

static void unicode_is_cut_by_its_properties(void **state)
{
    (void)state;
    check_words(CM_PRE_GPT2, "\xE4\xBA\xA7\xE5\x93\x81\xEF\xBC\x9A\xE8\x80\xB3",
                "\xE4\xBA\xA7\xE5\x93\x81|\xEF\xBC\x9A|\xE8\x80\xB3");
    /* U+3000 is white space, U+180E and U+200B are not. */
    check_words(CM_PRE_GPT2, "a\xE3\x80\x80!", "a|\xE3\x80\x80|!");
    check_words(CM_PRE_GPT2, "a\xE1\xA0\x8E!", "a|\xE1\xA0\x8E!");
    check_words(CM_PRE_GPT2, "a\xE2\x80\x8B!", "a|\xE2\x80\x8B!");
}

static void bytes_that_are_no_text_stand_alone(void **state)
{
    (void)state;
    check_words(CM_PRE_GPT2, "ab\xFF\xFE cd\xE4\xB8", "ab|\xFF\xFE| cd|\xE4\xB8");
    check_words(CM_PRE_GPT2, "a \xC0\xAF", "a| |\xC0\xAF");           /* overlong */
    check_words(CM_PRE_GPT2, "\xED\xA0\x80 b", "\xED\xA0\x80| b");    /* surrogate */
    check_words(CM_PRE_GPT2, "\xF4\x90\x80\x80", "\xF4\x90\x80\x80"); /* past U+10FFFF */
}

/* --- Text from ids --- */

static void check_text(const struct cm_tokenizer *tokenizer, const int32_t *ids, size_t count,
                       const char *expected)
{
    struct cm_text text = CM_TEXT_INIT(1024);
    assert_int_equal(cm_tokenizer_decode(tokenizer, ids, count, &text), CM_OK);
    assert_string_equal(cm_text_string(&text), expected);
    cm_text_deinit(&text);
}

#define CHECK_TEXT(tokenizer, expected, ...)          \
    check_text(tokenizer, (int32_t[]){ __VA_ARGS__ }, \
               sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), expected)

#define REPLACEMENT "\xEF\xBF\xBD"

static void decoding_puts_characters_together(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    add_merge(&v, 0x80, 'a'); /* 256: the end of one character and the next */
    int32_t marker = add_token(&v, "<|im_end|>", CM_TOKEN_CONTROL);
    int32_t added = add_token(&v, "<tool> \xC4\xA0", CM_TOKEN_USER_DEFINED);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_TEXT(tokenizer, "\xE2\x82\xAC", 0xE2, 0x82, 0xAC);
    CHECK_TEXT(tokenizer,
               "\xF0\x9F\xA6\x80"
               "a",
               0xF0, 0x9F, 0xA6, 256);
    CHECK_TEXT(tokenizer, "ab", 'a', marker, 'b');
    CHECK_TEXT(tokenizer, "\xE2\x82\xAC", 0xE2, marker, 0x82, 0xAC);
    CHECK_TEXT(tokenizer, "<tool> \xC4\xA0", added);
    CHECK_TEXT(tokenizer, "ok", 'o', -1, 'k', 100000);
    check_text(tokenizer, NULL, 0, "");
    cm_tokenizer_close(tokenizer);
}

static void decoding_drops_a_cut_end_and_marks_what_is_wrong_before(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_TEXT(tokenizer, "a", 'a', 0xE2, 0x82);
    CHECK_TEXT(tokenizer, "a", 'a', 0xFF);
    CHECK_TEXT(tokenizer, "a" REPLACEMENT "b", 'a', 0xE2, 0x82, 'b');
    CHECK_TEXT(tokenizer, "a" REPLACEMENT REPLACEMENT "b", 'a', 0xFF, 0x80, 'b');
    CHECK_TEXT(tokenizer, REPLACEMENT "\xE2\x82\xAC", 0xE2, 0xE2, 0x82, 0xAC);
    CHECK_TEXT(tokenizer, REPLACEMENT REPLACEMENT "b", 0xC0, 0xAF, 'b', 0xC3);
    struct cm_text text = CM_TEXT_INIT(2);
    assert_int_equal(cm_tokenizer_decode(tokenizer, (int32_t[]){ 'a', 'b', 'c' }, 3, &text),
                     CM_LIMIT);
    cm_text_deinit(&text);
    cm_tokenizer_close(tokenizer);
}

/* --- Markers and conversations --- */

static void text_never_becomes_a_marker(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_NONE);
    int32_t start = add_token(&v, "<|im_start|>", CM_TOKEN_CONTROL);
    int32_t end = add_token(&v, "<s>", CM_TOKEN_CONTROL);
    add_merge(&v, '<', 's');
    /* A file whose merges would build the marker. */
    v.merges_left[v.data.n_merges] = cm_span_of("<s");
    v.merges_right[v.data.n_merges++] = cm_span_of(">");
    v.data.n_stop = 1;
    v.data.stop[0] = end;
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_find(tokenizer, "<|im_start|>"), start);
    assert_int_equal(cm_tokenizer_find(tokenizer, "<|nothing|>"), -1);
    assert_true(cm_tokenizer_is_stop(tokenizer, end));
    assert_false(cm_tokenizer_is_stop(tokenizer, start));
    assert_int_equal(cm_tokenizer_size(tokenizer), v.data.n_tokens);
    CHECK_IDS(tokenizer, "<s>", end + 1, '>');
    CHECK_IDS(tokenizer, "<|im_start|>", '<', '|', 'i', 'm', '_', 's', 't', 'a', 'r', 't', '|',
              '>');
    cm_tokenizer_close(tokenizer);
}

static void check_chat(const struct cm_tokenizer *tokenizer, const int32_t *expected, size_t count)
{
    const struct cm_chat_message messages[] = {
        { cm_span_of("system"), cm_span_of("S") },
        { cm_span_of("user"), cm_span_of("<|im_end|>") },
    };
    struct cm_token_list list = { 0 };
    assert_int_equal(cm_token_list_append(&list, 7), CM_OK);
    assert_int_equal(cm_tokenizer_encode_chat(tokenizer, messages, 2, &list, NULL), CM_OK);
    assert_int_equal(list.count, count + 1);
    assert_int_equal(list.ids[0], 7);
    assert_memory_equal(list.ids + 1, expected, count * sizeof *expected);
    cm_token_list_deinit(&list);
}

static void conversations_are_laid_out_in_the_models_format(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    enum { START = 256, END = 257, BOS = 258 };
    add_token(&v, "<|im_start|>", CM_TOKEN_CONTROL);
    add_token(&v, "<|im_end|>", CM_TOKEN_CONTROL);
    add_token(&v, "<s>", CM_TOKEN_CONTROL);
    static const int32_t chatml[] = { START, 's',   'y', 's', 't', 'e', 'm',  '\n', 'S',  END,
                                      '\n',  START, 'u', 's', 'e', 'r', '\n', '<',  '|',  'i',
                                      'm',   '_',   'e', 'n', 'd', '|', '>',  END,  '\n', START,
                                      'a',   's',   's', 'i', 's', 't', 'a',  'n',  't',  '\n' };
    static const int32_t plain[] = { BOS, 'S', '\n', '\n', '<', '|', 'i',
                                     'm', '_', 'e',  'n',  'd', '|', '>' };
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_chat_format(tokenizer), CM_CHAT_CHATML);
    check_chat(tokenizer, chatml, sizeof chatml / sizeof chatml[0]);
    cm_tokenizer_close(tokenizer);

    v.data.chat_template = cm_span_of("{{'<|im_start|>' + role}} ... {{'<|im_end|>'}}");
    v.data.bos = START;
    v.data.add_bos = true;
    tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_chat_format(tokenizer), CM_CHAT_CHATML);
    check_chat(tokenizer, chatml, sizeof chatml / sizeof chatml[0]);
    cm_tokenizer_close(tokenizer);

    v.data.chat_template = cm_span_of("[INST] {{content}} [/INST]");
    v.data.bos = BOS;
    tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_chat_format(tokenizer), CM_CHAT_NONE);
    check_chat(tokenizer, plain, sizeof plain / sizeof plain[0]);
    cm_tokenizer_close(tokenizer);
}

/* --- Faults --- */

static void damaged_vocabularies_are_refused(void **state)
{
    (void)state;
    struct vocabulary v;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    vocabulary_init(&v, CM_PRE_GPT2);
    add_merge(&v, 'a', 'b');
    v.merges_right[0] = cm_span_of("zz");
    assert_int_equal(cm_tokenizer_open(&v.data, &tokenizer, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "Merge 1 "));
    assert_non_null(strstr(error.message, "zz"));
    v.data.model = CM_TOKENIZER_WORDPIECE;
    v.data.unknown = -1;
    assert_int_equal(cm_tokenizer_open(&v.data, &tokenizer, &error), CM_INVALID_DATA);
    assert_null(tokenizer);
    cm_tokenizer_close(NULL);
}

/* Opens, encodes a short and a long word, a conversation, and decodes. */
static enum cm_status whole_use(const struct vocabulary *v)
{
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    struct cm_text text = CM_TEXT_INIT(4096);
    struct cm_error error = { 0 };
    const struct cm_chat_message message = { cm_span_of("user"), cm_span_of("ab ab") };
    char word[200];
    memset(word, 'a', sizeof word);
    enum cm_status status = cm_tokenizer_open(&v->data, &tokenizer, &error);
    if (status == CM_OK) {
        status =
            cm_tokenizer_encode(tokenizer, (struct cm_span){ word, sizeof word }, &list, &error);
    }
    if (status == CM_OK) {
        status = cm_tokenizer_encode_chat(tokenizer, &message, 1, &list, &error);
    }
    assert_true(status == CM_OK || error.message[0] != '\0');
    if (status == CM_OK) {
        status = cm_tokenizer_decode(tokenizer, list.ids, list.count, &text);
    }
    cm_text_deinit(&text);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
    return status;
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, CM_PRE_GPT2);
    add_merge(&v, 'a', 'a');
    add_token(&v, "<|im_start|>", CM_TOKEN_CONTROL);
    add_token(&v, "<|im_end|>", CM_TOKEN_CONTROL);
    uint64_t before = cm_memory_allocations();
    assert_int_equal(whole_use(&v), CM_OK);
    uint64_t allocations = cm_memory_allocations() - before;
    assert_true(allocations > 10);
    for (uint64_t nth = 1; nth <= allocations; nth++) {
        cm_memory_fail_at(nth);
        enum cm_status status = whole_use(&v);
        cm_memory_fail_at(0);
        /* PCRE2 compiles a pattern without its own code pages or reports it in its own words. */
        assert_true(status == CM_OUT_OF_MEMORY || status == CM_UNSUPPORTED || status == CM_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_go_by_rank_then_from_the_left),
        cmocka_unit_test(words_of_any_length_follow_the_definition),
        cmocka_unit_test(text_without_spaces_takes_no_longer_than_it_must),
        cmocka_unit_test(bytes_outside_the_vocabulary_are_unknown_or_dropped),
        cmocka_unit_test(each_pattern_cuts_its_own_way),
        cmocka_unit_test(digits_end_a_piece_for_smollm),
        cmocka_unit_test(unicode_is_cut_by_its_properties),
        cmocka_unit_test(bytes_that_are_no_text_stand_alone),
        cmocka_unit_test(decoding_puts_characters_together),
        cmocka_unit_test(decoding_drops_a_cut_end_and_marks_what_is_wrong_before),
        cmocka_unit_test(text_never_becomes_a_marker),
        cmocka_unit_test(conversations_are_laid_out_in_the_models_format),
        cmocka_unit_test(damaged_vocabularies_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
