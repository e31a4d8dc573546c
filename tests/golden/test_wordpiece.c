/* WordPiece against the reference of generate_wordpiece.py: from tokenizer.json, and from a
 * vocab.txt with the same tokens. */
#include "host/tokenizer.h"
#include "loaders/tokenizer_file.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define FOLDER TEST_DATA_DIR "/golden/wordpiece"

static void check_cases(const char *folder, const json_t *root)
{
    uint32_t n_vocab = (uint32_t)json_integer_value(json_object_get(root, "n_vocab"));
    struct cm_tokenizer_file *file = NULL;
    struct cm_tokenizer *tokenizer = NULL;
    struct cm_error error = { 0 };
    if (cm_tokenizer_file_from_folder(folder, n_vocab, &file, &error) != CM_OK ||
        cm_tokenizer_open(cm_tokenizer_file_data(file), &tokenizer, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    const struct cm_tokenizer_data *data = cm_tokenizer_file_data(file);
    assert_int_equal(data->model, CM_TOKENIZER_WORDPIECE);
    assert_true(data->add_bos);
    assert_int_equal(data->bos, cm_tokenizer_find(tokenizer, "[CLS]"));
    assert_int_equal(data->closing, cm_tokenizer_find(tokenizer, "[SEP]"));
    size_t index;
    json_t *one;
    size_t cases = 0;
    json_array_foreach(json_object_get(root, "cases"), index, one)
    {
        const json_t *text = json_array_get(one, 0);
        const json_t *ids = json_array_get(one, 1);
        struct cm_span span = { json_string_value(text), json_string_length(text) };
        struct cm_token_list list = { 0 };
        assert_int_equal(cm_tokenizer_encode(tokenizer, span, &list, &error), CM_OK);
        bool same = list.count == json_array_size(ids);
        for (size_t i = 0; same && i < list.count; i++) {
            same = list.ids[i] == (int32_t)json_integer_value(json_array_get(ids, i));
        }
        if (!same) {
            fail_msg("%s: other ids for \"%.*s\"", folder, (int)span.length, span.data);
        }
        cm_token_list_deinit(&list);
        cases++;
    }
    assert_true(cases > 40);
    cm_tokenizer_close(tokenizer);
    cm_tokenizer_file_close(file);
}

static json_t *load(const char *path)
{
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    return root;
}

static void tokenizer_json_gives_the_reference_ids(void **state)
{
    (void)state;
    json_t *root = load(FOLDER "/cases.json");
    check_cases(FOLDER, root);
    json_decref(root);
}

static void vocab_txt_gives_the_same(void **state)
{
    (void)state;
    char folder[] = "/tmp/copymill-test-XXXXXX";
    char path[64];
    assert_non_null(mkdtemp(folder));
    json_t *root = load(FOLDER "/cases.json");
    json_t *document = load(FOLDER "/tokenizer.json");
    const json_t *vocabulary = json_object_get(json_object_get(document, "model"), "vocab");
    size_t count = json_object_size(vocabulary);
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t id = 0; id < count; id++) {
        const char *token;
        json_t *value;
        json_object_foreach((json_t *)vocabulary, token, value)
        {
            if ((size_t)json_integer_value(value) == id) {
                fprintf(file, "%s\n", token);
            }
        }
    }
    assert_int_equal(fclose(file), 0);
    check_cases(folder, root);
    unlink(path);
    rmdir(folder);
    json_decref(document);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_json_gives_the_reference_ids),
        cmocka_unit_test(vocab_txt_gives_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
