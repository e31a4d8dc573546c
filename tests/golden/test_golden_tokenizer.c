/* The tokenizer against reference ids: of the tiny checkpoints here, and of real vocabularies where
 * the reference data and the models are at hand. */
#include "host/tokenizer.h"
#include "jobs/model_store.h"
#include "loaders/file_map.h"
#include "loaders/gguf.h"
#include "loaders/model_file.h"
#include "loaders/reference.h"
#include "loaders/tokenizer_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct subject {
    struct cm_model_file *file;
    struct cm_tokenizer *tokenizer;
    struct cm_reference reference;
};

static void subject_open(struct subject *subject, const char *model_path,
                         const char *reference_path)
{
    struct cm_error error = { 0 };
    *subject = (struct subject){ 0 };
    if (cm_model_file_open(model_path, &subject->file, &error) != CM_OK ||
        cm_tokenizer_open(cm_model_file_tokenizer(subject->file), &subject->tokenizer, &error) !=
            CM_OK ||
        cm_reference_init(&subject->reference, reference_path, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
}

static void subject_close(struct subject *subject)
{
    cm_reference_deinit(&subject->reference);
    cm_tokenizer_close(subject->tokenizer);
    cm_model_file_close(subject->file);
}

/* Skips the test where the model or the reference is not at hand. */
static void find_real(const char *name, const char *kind, char *model_path, char *reference_path)
{
    snprintf(reference_path, CM_MODEL_PATH_BYTES, "%s/golden/%s/%s.json", SHARED_DIR, kind, name);
    struct cm_error error;
    if (access(reference_path, R_OK) != 0) {
        print_message("skipped: no %s\n", reference_path);
        skip();
    }
    if (cm_model_resolve(name, model_path, CM_MODEL_PATH_BYTES, &error) != CM_OK) {
        print_message("skipped: %s\n", error.message);
        skip();
    }
}

static void check_case(const struct subject *subject, const struct cm_reference_case *expected)
{
    struct cm_token_list list = { 0 };
    assert_int_equal(cm_tokenizer_encode(subject->tokenizer, expected->text, &list, NULL), CM_OK);
    if (list.count != expected->ids_count ||
        (list.count > 0 && memcmp(list.ids, expected->ids, list.count * sizeof *list.ids) != 0)) {
        fail_msg("other ids for: %.*s", (int)expected->text.length, expected->text.data);
    }
    cm_token_list_deinit(&list);
}

/* Nothing is lost on the way there and back. */
static void check_round_trip(const struct subject *subject,
                             const struct cm_reference_case *expected)
{
    struct cm_text text = CM_TEXT_INIT(1 << 20);
    assert_int_equal(
        cm_tokenizer_decode(subject->tokenizer, expected->ids, expected->ids_count, &text), CM_OK);
    assert_true(cm_span_equal(cm_text_span(&text), expected->text));
    cm_text_deinit(&text);
}

static void check_vocabulary(const char *name, size_t lossy_max)
{
    char model_path[CM_MODEL_PATH_BYTES];
    char reference_path[CM_MODEL_PATH_BYTES];
    struct subject subject;
    find_real(name, "tokenizers", model_path, reference_path);
    subject_open(&subject, model_path, reference_path);
    assert_true(subject.reference.cases_count > 400);
    size_t lossy = 0;
    for (size_t i = 0; i < subject.reference.cases_count; i++) {
        const struct cm_reference_case *expected = &subject.reference.cases[i];
        check_case(&subject, expected);
        size_t bytes = 0;
        for (size_t k = 0; k < expected->ids_count; k++) {
            bytes += cm_tokenizer_token_bytes(subject.tokenizer, expected->ids[k]).length;
        }
        if (bytes == expected->text.length) {
            check_round_trip(&subject, expected);
        } else {
            lossy++;
        }
    }
    assert_int_equal(lossy, lossy_max);
    subject_close(&subject);
}

static void smollm_vocabulary(void **state)
{
    (void)state;
    check_vocabulary("smollm2-135m-it", 1); /* it has no tokens for a few control characters */
}

static void qwen_vocabulary(void **state)
{
    (void)state;
    check_vocabulary("qwen2.5-coder-0.5b-it", 0);
}

static void gemma_vocabulary(void **state)
{
    (void)state;
    check_vocabulary("gemma3-270m", 0);
}

/* The references spell a conversation out as text; its parts are taken from there. */
static struct cm_span between(struct cm_span text, const char *before, const char *after)
{
    const char *start = memmem(text.data, text.length, before, strlen(before));
    assert_non_null(start);
    start += strlen(before);
    const char *end =
        memmem(start, (size_t)(text.data + text.length - start), after, strlen(after));
    assert_non_null(end);
    return (struct cm_span){ start, (size_t)(end - start) };
}

static void check_conversations(const char *name)
{
    char model_path[CM_MODEL_PATH_BYTES];
    char reference_path[CM_MODEL_PATH_BYTES];
    struct subject subject;
    find_real(name, "models", model_path, reference_path);
    subject_open(&subject, model_path, reference_path);
    size_t conversations = 0;
    for (size_t i = 0; i < subject.reference.cases_count; i++) {
        const struct cm_reference_case *expected = &subject.reference.cases[i];
        if (expected->text.length < 12 || memcmp(expected->text.data, "<|im_start|>", 12) != 0) {
            check_case(&subject, expected);
            continue;
        }
        const struct cm_chat_message messages[] = {
            { cm_span_of("system"), between(expected->text, "<|im_start|>system\n", "<|im_end|>") },
            { cm_span_of("user"), between(expected->text, "<|im_start|>user\n", "<|im_end|>") },
        };
        struct cm_token_list list = { 0 };
        assert_int_equal(cm_tokenizer_encode_chat(subject.tokenizer, messages, 2, &list, NULL),
                         CM_OK);
        assert_int_equal(list.count, expected->ids_count);
        assert_memory_equal(list.ids, expected->ids, list.count * sizeof *list.ids);
        cm_token_list_deinit(&list);
        conversations++;
    }
    assert_true(conversations > 0);
    subject_close(&subject);
}

static void smollm_conversations(void **state)
{
    (void)state;
    check_conversations("smollm2-135m-it");
}

static void qwen_conversations(void **state)
{
    (void)state;
    check_conversations("qwen2.5-coder-0.5b-it");
}

/* A base model: its references are plain texts after the token that every text begins with. */
static void gemma_prompts(void **state)
{
    (void)state;
    char model_path[CM_MODEL_PATH_BYTES];
    char reference_path[CM_MODEL_PATH_BYTES];
    struct subject subject;
    find_real("gemma3-270m", "models", model_path, reference_path);
    subject_open(&subject, model_path, reference_path);
    assert_int_equal(cm_tokenizer_chat_format(subject.tokenizer), CM_CHAT_NONE);
    assert_true(subject.reference.cases_count > 0);
    for (size_t i = 0; i < subject.reference.cases_count; i++) {
        const struct cm_reference_case *expected = &subject.reference.cases[i];
        const struct cm_chat_message message = { cm_span_of("user"), expected->text };
        struct cm_token_list list = { 0 };
        assert_int_equal(cm_tokenizer_encode_chat(subject.tokenizer, &message, 1, &list, NULL),
                         CM_OK);
        assert_int_equal(list.count, expected->ids_count);
        assert_memory_equal(list.ids, expected->ids, list.count * sizeof *list.ids);
        cm_token_list_deinit(&list);
    }
    subject_close(&subject);
}

/* --- Vocabularies without a model: texts in NAME.gguf.inp, a line of ids for each in .out --- */

#define TEXT_SEPARATOR "\n__ggml_vocab_test__\n"

static struct cm_file_map *open_beside(const char *path, const char *ending)
{
    char name[CM_MODEL_PATH_BYTES + 8];
    struct cm_file_map *map = NULL;
    struct cm_error error = { 0 };
    snprintf(name, sizeof name, "%s%s", path, ending);
    if (cm_file_map_open(name, &map, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return map;
}

/* Takes what comes before the next `separator`, or all that is left. */
static struct cm_span take(struct cm_span *rest, const char *separator)
{
    const char *end = memmem(rest->data, rest->length, separator, strlen(separator));
    size_t length = end == NULL ? rest->length : (size_t)(end - rest->data);
    size_t taken = end == NULL ? rest->length : length + strlen(separator);
    struct cm_span part = { rest->data, length };
    *rest = (struct cm_span){ rest->data + taken, rest->length - taken };
    return part;
}

static void check_line(const struct cm_tokenizer *tokenizer, struct cm_span text,
                       struct cm_span line)
{
    char ids[8192];
    char *next = ids;
    struct cm_token_list list = { 0 };
    assert_true(line.length < sizeof ids);
    memcpy(ids, line.data, line.length);
    ids[line.length] = '\0';
    assert_int_equal(cm_tokenizer_encode(tokenizer, text, &list, NULL), CM_OK);
    for (size_t i = 0; i < list.count; i++) {
        if (strtol(next, &next, 10) != list.ids[i]) {
            fail_msg("other ids for: %.*s", (int)text.length, text.data);
        }
    }
    assert_true(next[strspn(next, " ")] == '\0');
    cm_token_list_deinit(&list);
}

static void check_bare_vocabulary(const char *name, uint32_t n_tokens, size_t texts_expected)
{
    char path[CM_MODEL_PATH_BYTES];
    struct cm_gguf *gguf = NULL;
    struct cm_tokenizer_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    snprintf(path, sizeof path, "%s/data/tokenizer/%s.gguf", SHARED_DIR, name);
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    struct cm_file_map *map = open_beside(path, "");
    if (cm_gguf_open(map, path, &gguf, &error) != CM_OK ||
        cm_tokenizer_file_from_gguf(gguf, n_tokens, &file, &error) != CM_OK ||
        cm_tokenizer_open(cm_tokenizer_file_data(file), &tokenizer, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    struct cm_file_map *texts = open_beside(path, ".inp");
    struct cm_file_map *ids = open_beside(path, ".out");
    struct cm_span texts_left = { (const char *)cm_file_map_data(texts), cm_file_map_bytes(texts) };
    struct cm_span ids_left = { (const char *)cm_file_map_data(ids), cm_file_map_bytes(ids) };
    size_t texts_count = 0;
    while (ids_left.length > 0) {
        struct cm_span text = take(&texts_left, TEXT_SEPARATOR);
        check_line(tokenizer, text, take(&ids_left, "\n"));
        texts_count++;
    }
    assert_int_equal(texts_count, texts_expected);
    cm_file_map_close(ids);
    cm_file_map_close(texts);
    cm_tokenizer_close(tokenizer);
    cm_tokenizer_file_close(file);
    cm_gguf_close(gguf);
    cm_file_map_close(map);
}

static void llama_bare_vocabulary(void **state)
{
    (void)state;
    check_bare_vocabulary("ggml-vocab-llama-spm", 32000, 46);
}

static void gpt2_bare_vocabulary(void **state)
{
    (void)state;
    check_bare_vocabulary("ggml-vocab-gpt-2", 50257, 46);
}

static void tiny_checkpoints(void **state)
{
    (void)state;
    const char *const families[] = { "llama", "qwen2" };
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        char folder[CM_MODEL_PATH_BYTES];
        char expected_path[CM_MODEL_PATH_BYTES + 32];
        struct subject subject;
        snprintf(folder, sizeof folder, "%s/golden/tiny/%s", TEST_DATA_DIR, families[i]);
        snprintf(expected_path, sizeof expected_path, "%s/expected.json", folder);
        subject_open(&subject, folder, expected_path);
        assert_int_equal(subject.reference.cases_count, 3);
        for (size_t k = 0; k < subject.reference.cases_count; k++) {
            check_case(&subject, &subject.reference.cases[k]);
            check_round_trip(&subject, &subject.reference.cases[k]);
        }
        subject_close(&subject);
    }
}

/* tokenizer.json files of every kind; generate_tokenizers.py made them and the ids. */
static void vocabularies_of_every_kind(void **state)
{
    (void)state;
    enum { TOKENS_COUNT = 1024 }; /* more than any has; the rest is unused */
    static const char *const names[] = {
        "byte_gpt2",   "byte_gpt2_prefix", "byte_llama3",     "byte_qwen2",
        "byte_smollm", "llama_prepend",    "llama_metaspace", "metaspace_never",
        "gemma",       "unigram_words",    "unigram_bytes",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char folder[CM_MODEL_PATH_BYTES];
        char cases_path[CM_MODEL_PATH_BYTES + 16];
        struct cm_tokenizer_file *file = NULL;
        struct subject subject = { 0 };
        struct cm_error error = { 0 };
        snprintf(folder, sizeof folder, "%s/golden/tokenizers/%s", TEST_DATA_DIR, names[i]);
        snprintf(cases_path, sizeof cases_path, "%s/cases.json", folder);
        if (cm_tokenizer_file_from_folder(folder, TOKENS_COUNT, &file, &error) != CM_OK ||
            cm_tokenizer_open(cm_tokenizer_file_data(file), &subject.tokenizer, &error) != CM_OK ||
            cm_reference_init(&subject.reference, cases_path, &error) != CM_OK) {
            fail_msg("%s", error.message);
        }
        print_message("%s: %zu texts\n", names[i], subject.reference.cases_count);
        assert_true(subject.reference.cases_count > 50);
        for (size_t k = 0; k < subject.reference.cases_count; k++) {
            check_case(&subject, &subject.reference.cases[k]);
        }
        subject_close(&subject);
        cm_tokenizer_file_close(file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_checkpoints),     cmocka_unit_test(smollm_vocabulary),
        cmocka_unit_test(qwen_vocabulary),      cmocka_unit_test(smollm_conversations),
        cmocka_unit_test(qwen_conversations),   cmocka_unit_test(gemma_vocabulary),
        cmocka_unit_test(gemma_prompts),        cmocka_unit_test(llama_bare_vocabulary),
        cmocka_unit_test(gpt2_bare_vocabulary), cmocka_unit_test(vocabularies_of_every_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
