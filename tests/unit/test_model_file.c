/* The model loaders on real and tiny models: what is read must be what is known of them. */
#include "base/memory.h"
#include "loaders/model_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct cm_model_file *open_or_skip(const char *path)
{
    struct cm_model_file *file = NULL;
    struct cm_error error = { 0 };
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    enum cm_status status = cm_model_file_open(path, &file, &error);
    if (status != CM_OK) {
        fail_msg("%s: %s", cm_status_name(status), error.message);
    }
    return file;
}

static const char *cached_model(const char *name)
{
    static char path[4096];
    const char *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    if (cache != NULL && cache[0] != '\0') {
        snprintf(path, sizeof path, "%s/copymill/models/%s", cache, name);
    } else {
        snprintf(path, sizeof path, "%s/.cache/copymill/models/%s", home ? home : "", name);
    }
    return path;
}

static void expect_token(const struct cm_tokenizer_data *data, int32_t id, const char *text,
                         enum cm_token_kind kind)
{
    assert_in_range(id, 0, data->n_tokens - 1);
    assert_true(cm_span_equal_text(data->tokens[id], text));
    assert_int_equal(data->kinds[id], kind);
}

static void test_smollm2(void **state)
{
    (void)state;
    struct cm_model_file *file = open_or_skip(cached_model("smollm2-135m-it.gguf"));
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_int_equal(config->family, CM_FAMILY_LLAMA);
    assert_int_equal(config->container, CM_CONTAINER_GGUF);
    assert_string_equal(config->name, "Smollm2 135M 8k Lc100K Mix1 Ep2");
    assert_int_equal(config->n_vocab, 49152);
    assert_int_equal(config->n_layers, 30);
    assert_int_equal(config->n_embd, 576);
    assert_int_equal(config->n_heads, 9);
    assert_int_equal(config->n_kv_heads, 3);
    assert_int_equal(config->head_dim, 64);
    assert_int_equal(config->n_ff, 1536);
    assert_int_equal(config->n_positions, 8192);
    assert_float_equal(config->rope_theta, 100000.0F, 0);
    assert_float_equal(config->attention_scale, 0.125F, 0);
    assert_true(config->tied_embeddings);
    assert_int_equal(config->sliding_window, 0);

    const struct cm_tokenizer_data *tokens = cm_model_file_tokenizer(file);
    assert_int_equal(tokens->model, CM_TOKENIZER_BYTE_BPE);
    assert_int_equal(tokens->pre_tokenizer, CM_PRE_SMOLLM);
    assert_int_equal(tokens->n_tokens, 49152);
    assert_int_equal(tokens->n_merges, 48900);
    assert_true(cm_span_equal_text(tokens->merges_left[2], "i"));
    assert_true(cm_span_equal_text(tokens->merges_right[2], "n"));
    expect_token(tokens, 1, "<|im_start|>", CM_TOKEN_CONTROL);
    assert_int_equal(tokens->bos, 1);
    assert_int_equal(tokens->unknown, 0);
    assert_false(tokens->add_bos);
    assert_int_equal(tokens->n_stop, 2);
    expect_token(tokens, tokens->stop[0], "<|im_end|>", CM_TOKEN_CONTROL);
    expect_token(tokens, tokens->stop[1], "<|endoftext|>", CM_TOKEN_CONTROL);
    assert_int_equal(strncmp(tokens->chat_template.data, "{% for message in", 17), 0);

    assert_int_equal(cm_model_file_tensors_count(file), 272);
    const struct cm_tensor *down = cm_model_file_find(file, "blk.0.ffn_down.weight");
    assert_non_null(down);
    assert_int_equal(down->dtype, CM_Q4_1);
    assert_int_equal(down->n_dims, 2);
    assert_int_equal(down->dims[0], 576);
    assert_int_equal(down->dims[1], 1536);
    assert_int_equal(down->bytes, 576 * 1536 / 32 * 20);
    assert_null(cm_model_file_find(file, "blk.30.ffn_down.weight"));
    cm_model_file_close(file);
}

static void test_qwen25(void **state)
{
    (void)state;
    struct cm_model_file *file = open_or_skip(cached_model("qwen2.5-coder-0.5b-it.gguf"));
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_int_equal(config->family, CM_FAMILY_QWEN2);
    assert_int_equal(config->n_vocab, 151936);
    assert_int_equal(config->n_layers, 24);
    assert_int_equal(config->head_dim, 64);
    assert_int_equal(config->n_kv_heads, 2);
    assert_float_equal(config->rope_theta, 1e6F, 0);
    assert_false(config->tied_embeddings);

    const struct cm_tokenizer_data *tokens = cm_model_file_tokenizer(file);
    assert_int_equal(tokens->pre_tokenizer, CM_PRE_QWEN2);
    assert_int_equal(tokens->n_merges, 151387);
    expect_token(tokens, tokens->stop[0], "<|im_end|>", CM_TOKEN_CONTROL);
    expect_token(tokens, tokens->stop[1], "<|endoftext|>", CM_TOKEN_CONTROL);
    assert_int_equal(cm_model_file_tensors_count(file), 291);
    assert_int_equal(cm_model_file_find(file, "token_embd.weight")->dims[0], 151936);
    cm_model_file_close(file);
}

/* --- Tiny checkpoints of Hugging Face folders --- */

static const char *tiny(const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/golden/tiny/%s", TEST_DATA_DIR, name);
    if (access(path, R_OK) != 0) {
        snprintf(path, sizeof path, "%s/golden/tiny/%s", SHARED_DIR, name);
    }
    return path;
}

static void test_tiny_llama(void **state)
{
    (void)state;
    struct cm_model_file *file = open_or_skip(tiny("llama"));
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_int_equal(config->family, CM_FAMILY_LLAMA);
    assert_int_equal(config->container, CM_CONTAINER_SAFETENSORS);
    assert_string_equal(config->name, "llama");
    assert_int_equal(config->n_vocab, 600);
    assert_int_equal(config->n_layers, 2);
    assert_int_equal(config->n_embd, 64);
    assert_int_equal(config->n_heads, 4);
    assert_int_equal(config->n_kv_heads, 2);
    assert_int_equal(config->head_dim, 16);
    assert_int_equal(config->n_ff, 176);
    assert_int_equal(config->n_positions, 512);
    assert_float_equal(config->norm_epsilon, 1e-6F, 0);
    assert_float_equal(config->rope_theta, 1e4F, 0);
    assert_float_equal(config->attention_scale, 0.25F, 0);
    assert_int_equal(config->rope_scaling, CM_ROPE_SCALING_NONE);
    assert_false(config->tied_embeddings);

    const struct cm_tokenizer_data *tokens = cm_model_file_tokenizer(file);
    assert_int_equal(tokens->model, CM_TOKENIZER_BYTE_BPE);
    assert_int_equal(tokens->pre_tokenizer, CM_PRE_GPT2);
    assert_int_equal(tokens->n_tokens, 600);
    assert_int_equal(tokens->n_merges, 341);
    assert_true(cm_span_equal_text(tokens->merges_left[0], "o"));
    assert_true(cm_span_equal_text(tokens->merges_right[0], "n"));
    assert_false(tokens->add_bos);
    assert_int_equal(tokens->bos, 0);
    assert_int_equal(tokens->unknown, -1);
    assert_int_equal(tokens->n_stop, 2);
    expect_token(tokens, tokens->stop[0], "<|endoftext|>", CM_TOKEN_CONTROL);
    expect_token(tokens, tokens->stop[1], "<|im_end|>", CM_TOKEN_CONTROL);

    const struct cm_tensor *down = cm_model_file_find(file, "model.layers.1.mlp.down_proj.weight");
    assert_non_null(down);
    assert_int_equal(down->dtype, CM_F32);
    assert_int_equal(down->dims[0], 64);
    assert_int_equal(down->dims[1], 176);
    cm_model_file_close(file);
}

static void test_sharded_equals_single(void **state)
{
    (void)state;
    struct cm_model_file *single = open_or_skip(tiny("llama"));
    struct cm_model_file *sharded = open_or_skip(tiny("llama_sharded"));
    assert_int_equal(cm_model_file_tensors_count(single), cm_model_file_tensors_count(sharded));
    for (size_t i = 0; i < cm_model_file_tensors_count(single); i++) {
        const struct cm_tensor *a = cm_model_file_tensor(single, i);
        const struct cm_tensor *b = cm_model_file_find(sharded, a->name);
        assert_non_null(b);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->dims, b->dims, sizeof a->dims);
        assert_memory_equal(a->data, b->data, a->bytes);
    }
    cm_model_file_close(sharded);
    cm_model_file_close(single);
}

static void test_tiny_llama3_rope(void **state)
{
    (void)state;
    struct cm_model_file *file = open_or_skip(tiny("llama3_rope"));
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_int_equal(config->rope_scaling, CM_ROPE_SCALING_LLAMA3);
    assert_float_equal(config->rope_theta, 5e5F, 0);
    assert_float_equal(config->rope_factor, 8.0F, 0);
    assert_float_equal(config->rope_low_freq_factor, 1.0F, 0);
    assert_float_equal(config->rope_high_freq_factor, 4.0F, 0);
    assert_int_equal(config->rope_original_positions, 128);
    assert_int_equal(config->n_kv_heads, 1);
    assert_true(config->tied_embeddings);
    cm_model_file_close(file);
}

static void test_tiny_gemma3(void **state)
{
    (void)state;
    struct cm_model_file *file = open_or_skip(tiny("gemma3"));
    const struct cm_model_config *config = cm_model_file_config(file);
    assert_int_equal(config->family, CM_FAMILY_GEMMA3);
    assert_float_equal(config->rope_theta, 1e6F, 0);
    assert_float_equal(config->rope_theta_local, 1e4F, 0);
    assert_int_equal(config->sliding_window, 32);
    assert_int_equal(config->sliding_window_pattern, 6);
    assert_int_equal(config->head_dim, 32);
    assert_float_equal(config->attention_scale, 0.17677669F, 1e-8F);
    cm_model_file_close(file);
}

static void test_tiny_others(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum cm_model_family family;
        uint32_t head_dim;
        uint32_t n_kv_heads;
        uint32_t n_ff;
        uint32_t sliding_window;
        bool tied;
    } expected[] = {
        { "gpt2", CM_FAMILY_GPT2, 16, 4, 256, 0, true },
        { "mistral", CM_FAMILY_MISTRAL, 16, 2, 176, 48, false },
        { "qwen2", CM_FAMILY_QWEN2, 16, 2, 176, 0, true },
        { "qwen3", CM_FAMILY_QWEN3, 32, 2, 176, 0, true },
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        struct cm_model_file *file = open_or_skip(tiny(expected[i].name));
        const struct cm_model_config *config = cm_model_file_config(file);
        assert_int_equal(config->family, expected[i].family);
        assert_int_equal(config->head_dim, expected[i].head_dim);
        assert_int_equal(config->n_kv_heads, expected[i].n_kv_heads);
        assert_int_equal(config->n_ff, expected[i].n_ff);
        assert_int_equal(config->sliding_window, expected[i].sliding_window);
        assert_int_equal(config->sliding_window_pattern, 0);
        assert_int_equal(config->tied_embeddings, expected[i].tied);
        cm_model_file_close(file);
    }
}

static void test_unsupported_types(void **state)
{
    (void)state;
    static const char *const names[] = { "t5" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct cm_model_file *file = NULL;
        struct cm_error error = { 0 };
        if (access(tiny(names[i]), R_OK) != 0) {
            skip();
        }
        assert_int_equal(cm_model_file_open(tiny(names[i]), &file, &error), CM_UNSUPPORTED);
        assert_non_null(strstr(error.message, "model_type"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smollm2),          cmocka_unit_test(test_qwen25),
        cmocka_unit_test(test_tiny_llama),       cmocka_unit_test(test_sharded_equals_single),
        cmocka_unit_test(test_tiny_llama3_rope), cmocka_unit_test(test_tiny_gemma3),
        cmocka_unit_test(test_tiny_others),      cmocka_unit_test(test_unsupported_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
