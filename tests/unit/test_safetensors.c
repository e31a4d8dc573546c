/* Hugging Face folders with something wrong: each is refused with a status and a message that says
 * what, and nothing is read outside the files. */
#include "base/memory.h"
#include "loaders/model_file.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ALLOCATIONS_MAX = 3000, FILE_BYTES = 1 << 16 };

/* The smallest folder that opens: a table of two tokens and nothing more. */
static const char CONFIG[] =
    "{\"model_type\":\"llama\",\"num_hidden_layers\":1,\"hidden_size\":4,\"num_attention_heads\":2,"
    "\"intermediate_size\":8,\"max_position_embeddings\":16,\"vocab_size\":2,\"rms_norm_eps\":1e-5,"
    "\"tie_word_embeddings\":true,\"eos_token_id\":[1]}";
static const char TOKENIZER[] =
    "{\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\"}]},"
    "\"added_tokens\":[{\"id\":1,\"content\":\"<e>\",\"special\":true}],"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}";
static const char HEADER[] = "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[2,4],"
                             "\"data_offsets\":[0,32]}}";

static void write_weights(const char *name, const char *header, size_t data_bytes)
{
    static char file[FILE_BYTES];
    /* Spaces after the header align the data, as the format's own writer does. */
    uint64_t length = (strlen(header) + 7) / 8 * 8;
    assert_true(8 + length + data_bytes <= sizeof file);
    memset(file, ' ', sizeof file);
    memcpy(file, &length, sizeof length);
    memcpy(file + 8, header, strlen(header));
    memset(file + 8 + length, 0, data_bytes);
    scratch_write(name, file, 8 + (size_t)length + data_bytes);
}

static void write_folder(void)
{
    scratch_write("config.json", CONFIG, strlen(CONFIG));
    scratch_write("tokenizer.json", TOKENIZER, strlen(TOKENIZER));
    scratch_remove("model.safetensors.index.json");
    scratch_remove("tokenizer_config.json");
    scratch_remove("chat_template.jinja");
    write_weights("model.safetensors", HEADER, 32);
}

static void expect(const char *what, enum cm_status expected, const char *message)
{
    struct cm_model_file *file = NULL;
    struct cm_error error = { 0 };
    enum cm_status status = cm_model_file_open(scratch_path(""), &file, &error);
    cm_model_file_close(file);
    bool reported = error.status == status && strstr(error.message, message) != NULL;
    if (status != expected || (status != CM_OK && !reported)) {
        fail_msg("%s: %s: %s", what, cm_status_name(status), error.message);
    }
}

static void test_good(void **state)
{
    (void)state;
    write_folder();
    scratch_write("chat_template.jinja", "{{x}}", 5);
    struct cm_model_file *file = NULL;
    struct cm_error error = { 0 };
    if (cm_model_file_open(scratch_path(""), &file, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    const struct cm_tokenizer_data *data = cm_model_file_tokenizer(file);
    assert_int_equal(data->pre_tokenizer, CM_PRE_SMOLLM);
    assert_int_equal(data->kinds[1], CM_TOKEN_CONTROL);
    assert_int_equal(data->n_merges, 1);
    assert_int_equal(data->n_stop, 1);
    assert_int_equal(data->stop[0], 1);
    assert_true(cm_span_equal_text(data->chat_template, "{{x}}"));
    char before[65];
    char after[65];
    assert_int_equal(cm_model_file_digest(file, before, &error), CM_OK);
    scratch_write("chat_template.jinja", "{{y}}", 5);
    assert_int_equal(cm_model_file_digest(file, after, &error), CM_OK);
    assert_string_not_equal(before, after);
    cm_model_file_close(file);
}

#define ENTRY(name, shape, offsets) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
        const char *message;
    } cases[] = {
        { "[]", 0, "no JSON object" },
        { "{", 0, "line 1" },
        { "{} {}", 0, "line 1" },
        { "{\"\xff\":1}", 0, "line 1" },
        { "{" ENTRY("a", "[1]", "[0,4]") "," ENTRY("a", "[1]", "[4,8]") "}", 8, "duplicate" },
        { "{" ENTRY("a", "[1]", "[0,4]") "," ENTRY("b", "[1]", "[8,12]") "}", 12, "hole" },
        { "{" ENTRY("a", "[2]", "[0,8]") "," ENTRY("b", "[1]", "[4,8]") "}", 8, "overlap" },
        { "{" ENTRY("a", "[1]", "[4,8]") "}", 8, "hole" },
        { "{" ENTRY("a", "[1]", "[0,4]") "}", 8, "end at byte 4" },
        { "{" ENTRY("a", "[4]", "[0,16]") "}", 8, "not inside the file" },
        { "{" ENTRY("a", "[1]", "[8,4]") "}", 8, "not inside the file" },
        { "{" ENTRY("a", "[1]", "[0,8]") "}", 8, "do not fit" },
        { "{" ENTRY("a", "[1]", "[0]") "}", 4, "two whole numbers" },
        { "{" ENTRY("a", "[1]", "[-4,0]") "}", 4, "two whole numbers" },
        { "{" ENTRY("a", "[0]", "[0,0]") "}", 0, "no positive whole number" },
        { "{" ENTRY("a", "[1.5]", "[0,4]") "}", 4, "no positive whole number" },
        { "{" ENTRY("a", "1", "[0,4]") "}", 4, "shape is no array" },
        { "{" ENTRY("a", "[4294967296,4294967296]", "[0,4]") "}", 4, "overflows" },
        { "{" ENTRY("a", "[99999999999999999999]", "[0,4]") "}", 4, "too big integer" },
        { "{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype" },
        { "{\"a\":1}", 0, "not described by an object" },
        { "{\"__metadata__\":{\"a\":1}}", 0, "no string" },
        { "{\"__metadata__\":1}", 0, "__metadata__ is no object" },
        { "{" ENTRY("model.embed_tokens.weight", "[1]", "[0,4]") "}", 4, "is not [2, 4]" },
    };
    write_folder();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_weights("model.safetensors", cases[i].header, cases[i].data_bytes);
        expect(cases[i].header, CM_INVALID_DATA, cases[i].message);
    }
    static const uint64_t lengths[] = { 0, 1, 1000, 100000001, UINT64_MAX };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char file[64] = { 0 };
        memcpy(file, &lengths[i], sizeof lengths[i]);
        scratch_write("model.safetensors", file, sizeof file);
        expect("header length", CM_INVALID_DATA, "does not fit");
        scratch_write("model.safetensors", file, 1 + i);
        expect("short file", CM_INVALID_DATA, "does not fit");
    }
}

static void test_indexes(void **state)
{
    (void)state;
    static const struct {
        const char *index;
        enum cm_status status;
        const char *message;
    } cases[] = {
        { "{}", CM_INVALID_DATA, "weight_map is missing" },
        { "{\"weight_map\":{}}", CM_INVALID_DATA, "weight_map is missing" },
        { "{\"weight_map\":{\"a\":\"../model.safetensors\"}}", CM_INVALID_DATA, "same folder" },
        { "{\"weight_map\":{\"a\":\"/etc/passwd\"}}", CM_INVALID_DATA, "same folder" },
        { "{\"weight_map\":{\"a\":7}}", CM_INVALID_DATA, "same folder" },
        { "{\"weight_map\":{\"a\":\"missing.safetensors\"}}", CM_NOT_FOUND, "missing.safetensors" },
        { "{\"weight_map\":{\"a\":\"model.safetensors\"}}", CM_INVALID_DATA, "tensor a" },
        { "{\"weight_map\":{\"a\":\"model.safetensors\",\"b\":\"two.safetensors\"}}",
          CM_INVALID_DATA, "occurs twice" },
    };
    write_folder();
    write_weights("two.safetensors", HEADER, 32);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch_write("model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        expect(cases[i].index, cases[i].status, cases[i].message);
    }
}

/* Replaces a part of a JSON file. */
static void write_replaced(const char *name, const char *json, const char *old, const char *new)
{
    char text[4096];
    const char *at = strstr(json, old);
    assert_non_null(at);
    int length =
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old));
    scratch_write(name, text, (size_t)length);
}

static void test_configs(void **state)
{
    (void)state;
    static const struct {
        const char *old;
        const char *new;
        enum cm_status status;
        const char *message;
    } cases[] = {
        { "\"llama\"", "\"mamba\"", CM_UNSUPPORTED, "\"mamba\"" },
        { "\"num_hidden_layers\":1,", "", CM_INVALID_DATA, "num_hidden_layers is missing" },
        { "_layers\":1", "_layers\":513", CM_INVALID_DATA, "is 513; expected 1 to 512" },
        { "_heads\":2", "_heads\":0", CM_INVALID_DATA, "is 0; expected 1 to 1024" },
        { "_heads\":2", "_heads\":\"2\"", CM_INVALID_DATA, "no whole number" },
        { "_heads\":2", "_heads\":3", CM_INVALID_DATA, "no multiple" },
        { "_heads\":2", "_heads\":4", CM_INVALID_DATA, "1 is odd" },
        { "1e-5", "0", CM_INVALID_DATA, "rms_norm_eps is 0" },
        { "1e-5", "1e-5,\"hidden_act\":\"relu\"", CM_UNSUPPORTED, "hidden_act is not silu" },
        { "1e-5", "1e-5,\"attention_bias\":true", CM_UNSUPPORTED, "attention_bias is true" },
        { "1e-5", "1e-5,\"rope_scaling\":{\"type\":\"yarn\"}", CM_UNSUPPORTED, "\"yarn\"" },
        { "1e-5", "1e-5,\"rope_scaling\":{\"type\":\"linear\"}", CM_INVALID_DATA, "factor is" },
        { "1e-5", "1e-5,\"rope_parameters\":[]", CM_INVALID_DATA, "is no object" },
        { "1e-5", "1e-5,\"rope_theta\":1e99", CM_INVALID_DATA, "rope_theta is" },
        { "\"tie_word_embeddings\":true,", "", CM_INVALID_DATA, "lm_head.weight is missing" },
        { "size\":2", "size\":1", CM_INVALID_DATA, "no whole number below 1" },
        { "[1]", "[2]", CM_INVALID_DATA, "eos_token_id" },
        { "1e-5", "1e-5,\"rope_theta\":5e4,\"rope_scaling\":null", CM_OK, "" },
    };
    write_folder();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_replaced("config.json", CONFIG, cases[i].old, cases[i].new);
        expect(cases[i].new, cases[i].status, cases[i].message);
    }
}

static void test_tokenizers(void **state)
{
    (void)state;
    static const struct {
        const char *old;
        const char *new;
        enum cm_status status;
        const char *message;
    } cases[] = {
        { "\"BPE\"", "\"Unigram\"", CM_UNSUPPORTED, "neither BPE nor" },
        { "\"BPE\"", "\"BPE\",\"byte_fallback\":true", CM_UNSUPPORTED, "byte_fallback" },
        { "\"normalizer\":null", "\"normalizer\":{\"type\":\"Lowercase\"}", CM_UNSUPPORTED,
          "normalizer" },
        { "\"ByteLevel\"", "\"Whitespace\"", CM_UNSUPPORTED, "pre_tokenizer" },
        { "\"a\":0", "\"a\":2", CM_INVALID_DATA, "below 2" },
        { "\"a\":0", "\"a\":-1", CM_INVALID_DATA, "below 2" },
        { "\"a\":0", "\"a\":0,\"b\":0", CM_INVALID_DATA, "two tokens" },
        { "\"a\":0", "\"a\":1", CM_INVALID_DATA, "another token" },
        { "\"a a\"", "\"aa\"", CM_INVALID_DATA, "merge 0" },
        { "\"a a\"", "[\"a\"]", CM_INVALID_DATA, "merge 0" },
        { "\"a a\"", "[\"a\",\"b\",\"c\"]", CM_INVALID_DATA, "merge 0" },
        { "\"a a\"", "7", CM_INVALID_DATA, "merge 0" },
        { "\"a a\"", "[\"a\",\"a\"]", CM_OK, "" },
        { "\"content\":\"<e>\",", "", CM_INVALID_DATA, "no content" },
        { "\"model\":", "\"vocab\":", CM_UNSUPPORTED, "neither BPE nor" },
    };
    write_folder();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_replaced("tokenizer.json", TOKENIZER, cases[i].old, cases[i].new);
        expect(cases[i].new, cases[i].status, cases[i].message);
    }
}

/* Opens the folder with each of its files cut and damaged; only the outcome's form is checked. */
static void damage(const char *name, const char *bytes, size_t length)
{
    char copy[1024];
    assert_true(length <= sizeof copy);
    for (size_t at = 0; at < length; at++) {
        struct cm_model_file *file = NULL;
        struct cm_error error = { 0 };
        scratch_write(name, bytes, at);
        assert_int_not_equal(cm_model_file_open(scratch_path(""), &file, &error), CM_OK);
        assert_true(error.message[0] != '\0');
        memcpy(copy, bytes, length);
        copy[at] = (char)((unsigned char)copy[at] ^ (1U << (at % 8)));
        scratch_write(name, copy, length);
        error = (struct cm_error){ 0 };
        enum cm_status status = cm_model_file_open(scratch_path(""), &file, &error);
        if (status == CM_OK) {
            cm_model_file_close(file);
        } else {
            assert_true(error.message[0] != '\0' && error.status == status);
        }
    }
    scratch_write(name, bytes, length);
}

static void test_damaged(void **state)
{
    (void)state;
    char weights[8 + sizeof HEADER + 7 + 32];
    write_folder();
    FILE *stream = fopen(scratch_path("model.safetensors"), "rb");
    size_t length = fread(weights, 1, sizeof weights, stream);
    fclose(stream);
    damage("config.json", CONFIG, strlen(CONFIG));
    damage("tokenizer.json", TOKENIZER, strlen(TOKENIZER));
    damage("model.safetensors", weights, length);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    write_folder();
    uint64_t nth = 1;
    for (; nth < ALLOCATIONS_MAX; nth++) {
        struct cm_model_file *file = NULL;
        struct cm_error error = { 0 };
        cm_memory_fail_at(nth);
        enum cm_status status = cm_model_file_open(scratch_path(""), &file, &error);
        cm_memory_fail_at(0);
        if (status == CM_OK) {
            cm_model_file_close(file);
            break;
        }
        if (status != CM_OUT_OF_MEMORY) {
            fail_msg("allocation %d: %s", (int)nth, error.message);
        }
    }
    assert_in_range(nth, 50, ALLOCATIONS_MAX - 1);
}

static int set_up(void **state)
{
    (void)state;
    scratch_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_close();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_indexes),
        cmocka_unit_test(test_configs),
        cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
