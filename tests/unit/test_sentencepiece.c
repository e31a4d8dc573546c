/* SentencePiece tokenizers on small vocabularies made here; tests/golden holds them to real ones.
 */
#include "base/memory.h"
#include "host/tokenizer.h"
#include "loaders/model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define SPACE "\xE2\x96\x81" /* as vocabularies write it */
#define EURO "\xE2\x82\xAC"
#define REPLACEMENT "\xEF\xBF\xBD"

enum { TOKENS_MAX = 512, NAME_BYTES_MAX = 32 };

struct vocabulary {
    struct cm_tokenizer_data data;
    char names[TOKENS_MAX][NAME_BYTES_MAX];
    struct cm_span tokens[TOKENS_MAX];
    uint8_t kinds[TOKENS_MAX];
    float scores[TOKENS_MAX];
    struct cm_span merges_left[TOKENS_MAX];
    struct cm_span merges_right[TOKENS_MAX];
};

static int32_t add_token(struct vocabulary *v, const char *name, enum cm_token_kind kind,
                         float score)
{
    uint32_t id = v->data.n_tokens++;
    if (id >= TOKENS_MAX || strlen(name) >= NAME_BYTES_MAX) {
        fail_msg("no room for another token");
        return -1;
    }
    snprintf(v->names[id], NAME_BYTES_MAX, "%s", name);
    v->tokens[id] = cm_span_of(v->names[id]);
    v->kinds[id] = (uint8_t)kind;
    v->scores[id] = score;
    return (int32_t)id;
}

static int32_t add(struct vocabulary *v, const char *name, float score)
{
    return add_token(v, name, CM_TOKEN_NORMAL, score);
}

enum { UNKNOWN, BEGIN, END, FIRST_BYTE };

/* Unknown, the markers and the 256 bytes; what the test adds follows from FIRST_FREE on. */
enum { FIRST_FREE = FIRST_BYTE + 256 };

static void vocabulary_init(struct vocabulary *v, bool with_bytes)
{
    *v = (struct vocabulary){ .data = { .model = CM_TOKENIZER_SENTENCEPIECE,
                                        .pre_tokenizer = CM_PRE_NONE,
                                        .bos = BEGIN,
                                        .unknown = UNKNOWN } };
    v->data.tokens = v->tokens;
    v->data.kinds = v->kinds;
    v->data.scores = v->scores;
    v->data.merges_left = v->merges_left;
    v->data.merges_right = v->merges_right;
    add_token(v, "<unk>", CM_TOKEN_UNKNOWN, 0);
    add_token(v, "<s>", CM_TOKEN_CONTROL, 0);
    add_token(v, "</s>", CM_TOKEN_CONTROL, 0);
    for (unsigned byte = 0; byte < 256 && with_bytes; byte++) {
        char name[NAME_BYTES_MAX];
        snprintf(name, sizeof name, "<0x%02X>", byte);
        add_token(v, name, CM_TOKEN_BYTE, 0);
    }
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

#define BYTE(value) (FIRST_BYTE + (value))

/* --- Merging --- */

static void the_best_score_is_joined_first_then_the_leftmost(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t a = add(&v, "a", -10);
    int32_t b = add(&v, "b", -11);
    int32_t c = add(&v, "c", -12);
    int32_t bc = add(&v, "bc", 0.5F);
    int32_t ab = add(&v, "ab", -0.5F);
    int32_t aa = add(&v, "aa", -2);
    int32_t abc = add(&v, "abc", -3);
    int32_t cc = add(&v, "cc", -0.0F);
    int32_t ca = add(&v, "ca", 0.0F); /* as good as "cc" */
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "ab", ab);
    CHECK_IDS(tokenizer, "abc", abc); /* through "bc" */
    CHECK_IDS(tokenizer, "bcab", bc, ab);
    CHECK_IDS(tokenizer, "aaa", aa, a);
    CHECK_IDS(tokenizer, "aab", a, ab);
    CHECK_IDS(tokenizer, "cca", cc, a);
    CHECK_IDS(tokenizer, "acab", a, ca, b);
    CHECK_IDS(tokenizer, "ba", b, a);
    CHECK_IDS(tokenizer, "c", c);
    check_ids(tokenizer, cm_span_of(""), NULL, 0);
    cm_tokenizer_close(tokenizer);
}

/* The definition, without any cleverness; every character is one byte and every pair of tokens is
 * looked up by its text. */
static size_t merge_slowly(const struct vocabulary *v, struct cm_span text, int32_t *ids)
{
    struct cm_span parts[300];
    size_t count = text.length;
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct cm_span){ text.data + i, 1 };
    }
    for (bool is_joined = true; is_joined;) {
        size_t best = 0;
        float best_score = -1e30F;
        for (size_t i = 0; i + 1 < count; i++) {
            struct cm_span pair = { parts[i].data, parts[i].length + parts[i + 1].length };
            for (uint32_t id = FIRST_FREE; id < v->data.n_tokens; id++) {
                if (cm_span_equal(v->tokens[id], pair) && v->scores[id] > best_score) {
                    best_score = v->scores[id];
                    best = i;
                }
            }
        }
        is_joined = best_score > -1e30F;
        if (is_joined) {
            parts[best].length += parts[best + 1].length;
            memmove(&parts[best + 1], &parts[best + 2], (count - best - 2) * sizeof *parts);
            count--;
        }
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t id = FIRST_FREE;
        while (!cm_span_equal(v->tokens[id], parts[i])) {
            id++;
        }
        ids[i] = (int32_t)id;
    }
    return count;
}

static void texts_of_any_length_follow_the_definition(void **state)
{
    (void)state;
    static const char *const pieces[] = { "a",    "b",   "c",    "ab",    "ba",
                                          "aa",   "aba", "cab",  "abab",  "cc",
                                          "ccab", "bab", "aacc", "cabab", "baaba" };
    static const float scores[] = { -1, -1, -1, -5, -4, -5, -2, -7, -3, 2, -1, -9, 4, -8, -3 };
    struct vocabulary v;
    vocabulary_init(&v, true);
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        add(&v, pieces[i], scores[i]);
    }
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    uint32_t random = 1;
    for (size_t length = 1; length < 300; length += 1 + length / 20) {
        char text[300];
        int32_t expected[300];
        for (size_t i = 0; i < length; i++) {
            random = random * 1664525U + 1013904223U;
            text[i] = (char)('a' + (random >> 24) % 3);
        }
        struct cm_span span = { text, length };
        check_ids(tokenizer, span, expected, merge_slowly(&v, span, expected));
    }
    cm_tokenizer_close(tokenizer);
}

static void merges_of_a_list_count_where_there_are_no_scores(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t a = add(&v, "a", 0);
    int32_t space = add(&v, SPACE, 0);
    int32_t space_a = add(&v, SPACE "a", 0);
    int32_t aa = add(&v, "aa", 0); /* in the vocabulary, but no merge leads to it */
    v.merges_left[0] = v.tokens[space];
    v.merges_right[0] = v.tokens[a];
    v.data.n_merges = 1;
    v.data.scores = NULL;
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "aa a b", a, a, space_a, space, BYTE('b'));
    CHECK_TEXT(tokenizer, "aa a", aa, space_a);
    cm_tokenizer_close(tokenizer);
}

/* --- Spaces --- */

static void spaces_are_characters(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t space = add(&v, SPACE, -9);
    int32_t a = add(&v, "a", -10);
    int32_t space_a = add(&v, SPACE "a", -1);
    int32_t spaces = add(&v, SPACE SPACE, -2);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "a", a);
    CHECK_IDS(tokenizer, " a a", space_a, space_a);
    CHECK_IDS(tokenizer, "a   a ", a, spaces, space_a, space);
    CHECK_IDS(tokenizer, SPACE "a" SPACE, space_a, space); /* read as spaces too */
    CHECK_TEXT(tokenizer, "a   a ", a, spaces, space_a, space);
    cm_tokenizer_close(tokenizer);
    v.data.space_prefix = CM_SPACE_PREFIX_TEXT;
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "a", space_a);
    CHECK_IDS(tokenizer, " a", space, space_a);
    CHECK_IDS(tokenizer, SPACE "a", space, space_a);
    check_ids(tokenizer, cm_span_of(""), NULL, 0);
    cm_tokenizer_close(tokenizer);
}

/* --- Bytes --- */

static void what_is_not_in_the_vocabulary_becomes_bytes(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t a = add(&v, "a", -1);
    int32_t joined = add(&v, EURO "a", -2); /* its parts need not be tokens */
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "a" EURO, a, BYTE(0xE2), BYTE(0x82), BYTE(0xAC));
    CHECK_IDS(tokenizer, EURO "a", joined);
    CHECK_IDS(tokenizer, "a\xE2\x82", a, BYTE(0xE2), BYTE(0x82));
    CHECK_IDS(tokenizer,
              "\xFF"
              "a\xC0\xAF",
              BYTE(0xFF), a, BYTE(0xC0), BYTE(0xAF));
    check_ids(tokenizer, (struct cm_span){ "a\0a", 3 }, (int32_t[]){ a, BYTE(0), a }, 3);
    CHECK_TEXT(tokenizer, "a" EURO "a", a, BYTE(0xE2), BYTE(0x82), BYTE(0xAC), a);
    CHECK_TEXT(tokenizer, "a", a, BYTE(0xE2), BYTE(0x82));
    CHECK_TEXT(tokenizer, "a" REPLACEMENT "a", a, BYTE(0xE2), BYTE(0x82), a);
    CHECK_TEXT(tokenizer, EURO, BYTE(0xE2), END, BYTE(0x82), BYTE(0xAC));
    CHECK_TEXT(tokenizer, REPLACEMENT "a", UNKNOWN, a);
    cm_tokenizer_close(tokenizer);
}

static void without_bytes_it_is_unknown_once_or_dropped(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, false);
    int32_t a = add(&v, "a", -1);
    int32_t byte = add_token(&v, "<0x62>", CM_TOKEN_BYTE, 0);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, EURO "x" EURO "a" EURO, UNKNOWN, a, UNKNOWN);
    CHECK_IDS(tokenizer, "xbx", UNKNOWN, byte, UNKNOWN);
    cm_tokenizer_close(tokenizer);
    v.data.unknown = -1;
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, EURO "xa", a);
    cm_tokenizer_close(tokenizer);
    v.data.unknown = END; /* a marker never comes from text */
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, EURO "xa", a);
    cm_tokenizer_close(tokenizer);
}

/* --- User-defined tokens and markers --- */

static void user_defined_tokens_come_first_and_the_longest_of_them(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t a = add(&v, "a", -1);
    int32_t space = add(&v, SPACE, -2);
    int32_t space_a = add(&v, SPACE "a", -1);
    int32_t line = add_token(&v, "\n", CM_TOKEN_USER_DEFINED, -1000);
    int32_t lines = add_token(&v, "\n\n", CM_TOKEN_USER_DEFINED, -1000);
    int32_t four = add_token(&v, "\n\n\n\n", CM_TOKEN_USER_DEFINED, -1000);
    int32_t table = add_token(&v, "<aa>", CM_TOKEN_USER_DEFINED, -1000);
    int32_t twins = add_token(&v, "  ", CM_TOKEN_USER_DEFINED, -1000);
    add_token(&v, "<aa>", CM_TOKEN_USER_DEFINED, 0); /* the first of two with one name stands */
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "a\na", a, line, a);
    CHECK_IDS(tokenizer, "\n\n\n", lines, line);
    CHECK_IDS(tokenizer, "\n\n\n\n\n\n\na", four, lines, line, a);
    CHECK_IDS(tokenizer, "a<aa>\n<aa", a, table, line, BYTE('<'), a, a);
    CHECK_IDS(tokenizer, "a   a", a, twins, space_a);
    CHECK_TEXT(tokenizer, "a<aa>  \n\n", a, table, twins, lines);
    cm_tokenizer_close(tokenizer);
    v.data.space_prefix = CM_SPACE_PREFIX_TEXT;
    tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "\na", space, line, a);
    CHECK_IDS(tokenizer, "a\n a", space_a, line, space_a);
    cm_tokenizer_close(tokenizer);
}

static void text_never_becomes_a_marker(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    int32_t less = add(&v, "<", -1);
    int32_t s = add(&v, "s", -1);
    int32_t less_s = add(&v, "<s", 5);
    int32_t greater = add(&v, ">", -1);
    add_token(&v, "ss", CM_TOKEN_UNUSED, 9);
    add_token(&v, "", CM_TOKEN_NORMAL, 9);
    add_token(&v, "", CM_TOKEN_USER_DEFINED, 9);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    CHECK_IDS(tokenizer, "<s><", less_s, greater, less);
    CHECK_IDS(tokenizer, "ss", s, s);
    CHECK_IDS(tokenizer, "<0x41>", less, BYTE('0'), BYTE('x'), BYTE('4'), BYTE('1'), greater);
    CHECK_TEXT(tokenizer, "<s", BEGIN, less_s, END);
    cm_tokenizer_close(tokenizer);
}

/* --- Conversations --- */

static void check_chat(const struct cm_tokenizer *tokenizer, const struct cm_chat_message *messages,
                       size_t messages_count, const char *expected)
{
    struct cm_token_list list = { 0 };
    struct cm_text names = CM_TEXT_INIT(1024);
    assert_int_equal(cm_tokenizer_encode_chat(tokenizer, messages, messages_count, &list, NULL),
                     CM_OK);
    for (size_t i = 0; i < list.count; i++) {
        bool is_begin = list.ids[i] == BEGIN;
        struct cm_span bytes = cm_tokenizer_token_bytes(tokenizer, list.ids[i]);
        const char *marker = is_begin ? "[bos]" : list.ids[i] == FIRST_FREE ? "[start]" : "[end]";
        assert_int_equal(bytes.length > 0 ? cm_text_append_span(&names, bytes)
                                          : cm_text_append_string(&names, marker),
                         CM_OK);
    }
    assert_string_equal(cm_text_string(&names), expected);
    cm_text_deinit(&names);
    cm_token_list_deinit(&list);
}

static void gemma_turns_have_no_system(void **state)
{
    (void)state;
    struct vocabulary v;
    vocabulary_init(&v, true);
    add_token(&v, "<start_of_turn>", CM_TOKEN_CONTROL, 0);
    add_token(&v, "<end_of_turn>", CM_TOKEN_CONTROL, 0);
    v.data.add_bos = true;
    const struct cm_chat_message messages[] = {
        { cm_span_of("system"), cm_span_of("S") },
        { cm_span_of("user"), cm_span_of(" <end_of_turn>\n") },
        { cm_span_of("assistant"), cm_span_of("A") },
        { cm_span_of("user"), cm_span_of("V") },
    };
    /* A pretrained model has the markers in its vocabulary, but no template. */
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_chat_format(tokenizer), CM_CHAT_NONE);
    check_chat(tokenizer, messages, 1, "[bos]S");
    cm_tokenizer_close(tokenizer);

    v.data.chat_template = cm_span_of("{{'<start_of_turn>' + role}} ... {{'<end_of_turn>'}}");
    tokenizer = open_tokenizer(&v);
    assert_int_equal(cm_tokenizer_chat_format(tokenizer), CM_CHAT_GEMMA);
    check_chat(tokenizer, messages, 4,
               "[bos][start]user\nS\n\n<end_of_turn>[end]\n[start]model\nA[end]\n"
               "[start]user\nV[end]\n[start]model\n");
    check_chat(tokenizer, messages, 1, "[bos][start]user\nS[end]\n[start]model\n");
    check_chat(tokenizer, messages + 3, 1, "[bos][start]user\nV[end]\n[start]model\n");
    cm_tokenizer_close(tokenizer);
}

/* --- Faults --- */

static void check_refused(const char *byte_name)
{
    struct vocabulary v;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    vocabulary_init(&v, false);
    add_token(&v, byte_name, CM_TOKEN_BYTE, 0);
    assert_int_equal(cm_tokenizer_open(&v.data, &tokenizer, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "Token 3 "));
    assert_null(tokenizer);
}

static void damaged_vocabularies_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {
        "", "<0x4>", "<0x4G>", "<0x411>", "<0x4a>", "(0x41>", "A"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        check_refused(names[i]);
    }
    struct vocabulary v;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    vocabulary_init(&v, true);
    v.data.scores = NULL;
    v.data.n_merges = 1;
    v.merges_left[0] = v.merges_right[0] = cm_span_of("q");
    assert_int_equal(cm_tokenizer_open(&v.data, &tokenizer, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, "Merge 1 "));
}

/* Texts that would take quadratic time: one run without end, and user-defined tokens that nearly
 * match at every place. The limit is far above what a linear walk needs. */
static void long_texts_take_no_longer_than_they_must(void **state)
{
    (void)state;
    enum { LONG_BYTES = 2 << 20 };
    struct vocabulary v;
    vocabulary_init(&v, true);
    add(&v, "a", -1);
    add(&v, "aa", -2);
    add(&v, "aaaa", -3);
    add(&v, "aaaaaaaa", -4);
    add_token(&v, "aaaaaaaaaaaaaaaaaaaaaab", CM_TOKEN_USER_DEFINED, 0);
    struct cm_tokenizer *tokenizer = open_tokenizer(&v);
    struct cm_token_list list = { 0 };
    char *text = cm_alloc(LONG_BYTES, 1);
    assert_non_null(text);
    memset(text, 'a', LONG_BYTES);
    clock_t before = clock();
    assert_int_equal(
        cm_tokenizer_encode(tokenizer, (struct cm_span){ text, LONG_BYTES }, &list, NULL), CM_OK);
    assert_int_equal(list.count, LONG_BYTES / 8);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 20);
    cm_free(text);
    cm_token_list_deinit(&list);
    cm_tokenizer_close(tokenizer);
}

/* Opens, encodes with all that can occur, and decodes. */
static enum cm_status whole_use(const struct vocabulary *v)
{
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_token_list list = { 0 };
    struct cm_text text = CM_TEXT_INIT(4096);
    struct cm_error error = { 0 };
    const struct cm_chat_message message = { cm_span_of("user"), cm_span_of("aa\n" SPACE "a" EURO
                                                                            "aaaaaaaaaaaaaaaaa") };
    enum cm_status status = cm_tokenizer_open(&v->data, &tokenizer, &error);
    if (status == CM_OK) {
        status = cm_tokenizer_encode_chat(tokenizer, &message, 1, &list, &error);
        assert_true(status == CM_OK || list.count == 0);
    }
    assert_true(status == CM_OK || error.message[0] != '\0');
    if (status == CM_OK) {
        status = cm_tokenizer_decode(tokenizer, list.ids, list.count, &text);
    }
    if (status == CM_OK) {
        assert_string_equal(cm_text_string(&text), " aa\n a" EURO "aaaaaaaaaaaaaaaaa");
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
    vocabulary_init(&v, true);
    int32_t a = add(&v, "a", -1);
    add(&v, "aa", -2);
    add_token(&v, "\n", CM_TOKEN_USER_DEFINED, 0);
    v.data.add_bos = true;
    v.data.space_prefix = CM_SPACE_PREFIX_TEXT;
    v.merges_left[0] = v.merges_right[0] = v.tokens[a];
    v.data.n_merges = 1;
    for (int with_scores = 0; with_scores < 2; with_scores++) {
        v.data.scores = with_scores != 0 ? v.scores : NULL;
        uint64_t before = cm_memory_allocations();
        assert_int_equal(whole_use(&v), CM_OK);
        uint64_t allocations = cm_memory_allocations() - before;
        assert_true(allocations > 10);
        for (uint64_t nth = 1; nth <= allocations; nth++) {
            cm_memory_fail_at(nth);
            enum cm_status status = whole_use(&v);
            cm_memory_fail_at(0);
            assert_int_equal(status, CM_OUT_OF_MEMORY);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_score_is_joined_first_then_the_leftmost),
        cmocka_unit_test(texts_of_any_length_follow_the_definition),
        cmocka_unit_test(merges_of_a_list_count_where_there_are_no_scores),
        cmocka_unit_test(spaces_are_characters),
        cmocka_unit_test(what_is_not_in_the_vocabulary_becomes_bytes),
        cmocka_unit_test(without_bytes_it_is_unknown_once_or_dropped),
        cmocka_unit_test(user_defined_tokens_come_first_and_the_longest_of_them),
        cmocka_unit_test(text_never_becomes_a_marker),
        cmocka_unit_test(gemma_turns_have_no_system),
        cmocka_unit_test(damaged_vocabularies_are_refused),
        cmocka_unit_test(long_texts_take_no_longer_than_they_must),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
