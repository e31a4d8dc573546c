/* The scaled rope of Llama 3.1: a folder says it in numbers, which the references prove, a GGUF
 * file in a tensor of factors. The same weights in both containers give the same logits. */
#include "base/memory.h"
#include "gguf_writer.h"
#include "host/engine.h"
#include "loaders/model_file.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TINY_LLAMA TEST_DATA_DIR "/golden/tiny/llama"

enum { N_VOCAB = 600, HEAD_DIM = 16, TOKENS_COUNT = 96, FILE_BYTES_MAX = 4 << 20 };

static const double FACTOR = 8, LOW = 1, HIGH = 4, ORIGINAL = 64, THETA = 10000;

/* --- The two containers --- */

static void write_folder(void)
{
    char config[2048] = "";
    FILE *file = fopen(TINY_LLAMA "/config.json", "rb");
    assert_non_null(file);
    size_t length = fread(config, 1, sizeof config - 1, file);
    fclose(file);
    const char *rope = strstr(config, "\"rope_type\": \"default\"");
    assert_non_null(rope);
    struct cm_text changed = CM_TEXT_INIT(4096);
    assert_int_equal(
        cm_text_printf(&changed,
                       "%.*s\"rope_type\": \"llama3\", \"factor\": %g, \"low_freq_factor\": %g, "
                       "\"high_freq_factor\": %g, \"original_max_position_embeddings\": %g%s",
                       (int)(rope - config), config, FACTOR, LOW, HIGH, ORIGINAL,
                       rope + strlen("\"rope_type\": \"default\"")),
        CM_OK);
    assert_true(length > 0);
    scratch_write("config.json", changed.data, changed.length);
    cm_text_deinit(&changed);
    assert_true(scratch_copy(TINY_LLAMA "/tokenizer.json", "tokenizer.json"));
    assert_true(scratch_copy(TINY_LLAMA "/model.safetensors", "model.safetensors"));
}

/* As the converter of the format's authors has it. */
static void make_factors(float factors[HEAD_DIM / 2])
{
    for (int i = 0; i < HEAD_DIM / 2; i++) {
        double wavelength = 2 * 3.14159265358979323846 * pow(THETA, 2.0 * i / HEAD_DIM);
        double smooth = (ORIGINAL / wavelength - LOW) / (HIGH - LOW);
        smooth = fmin(fmax(smooth, 0), 1);
        factors[i] = (float)(1 / ((1 - smooth) / FACTOR + smooth));
    }
}

static const struct {
    const char *folder;
    const char *gguf;
} names[] = {
    { "model.embed_tokens.weight", "token_embd.weight" },
    { "model.norm.weight", "output_norm.weight" },
    { "lm_head.weight", "output.weight" },
    { "input_layernorm.weight", "attn_norm.weight" },
    { "self_attn.q_proj.weight", "attn_q.weight" },
    { "self_attn.k_proj.weight", "attn_k.weight" },
    { "self_attn.v_proj.weight", "attn_v.weight" },
    { "self_attn.o_proj.weight", "attn_output.weight" },
    { "post_attention_layernorm.weight", "ffn_norm.weight" },
    { "mlp.gate_proj.weight", "ffn_gate.weight" },
    { "mlp.up_proj.weight", "ffn_up.weight" },
    { "mlp.down_proj.weight", "ffn_down.weight" },
};

/* "model.layers.1.mlp.up_proj.weight" -> "blk.1.ffn_up.weight" */
static void translate(const char *name, char out[64])
{
    int layer;
    int begin = 0;
    bool in_layer = sscanf(name, "model.layers.%d.%n", &layer, &begin) == 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name + begin, names[i].folder) == 0) {
            snprintf(out, 64, in_layer ? "blk.%2$d.%1$s" : "%s", names[i].gguf, layer);
            return;
        }
    }
    fail_msg("no name for %s", name);
}

/* Rows of a head in the order of neighbouring pairs, as the format has them for this family. */
static void pair_rows(const struct cm_tensor *tensor, float *rows)
{
    const float *from = tensor->data;
    size_t width = (size_t)tensor->dims[1];
    for (size_t row = 0; row < tensor->dims[0]; row++) {
        size_t in_head = row % HEAD_DIM;
        size_t source = row - in_head + in_head % 2 * (HEAD_DIM / 2) + in_head / 2;
        memcpy(rows + row * width, from + source * width, width * sizeof *rows);
    }
}

static void write_tensor(struct gguf_writer *writer, const struct cm_tensor *tensor)
{
    char name[64];
    struct cm_tensor renamed = *tensor;
    float *rows = NULL;
    translate(tensor->name, name);
    renamed.name = name;
    if (strstr(name, "attn_q.") != NULL || strstr(name, "attn_k.") != NULL) {
        rows = cm_alloc(tensor->bytes, 1);
        pair_rows(tensor, rows);
        renamed.data = rows;
    }
    gguf_writer_tensor(writer, &renamed);
    cm_free(rows);
}

static void write_metadata(struct gguf_writer *writer, const struct cm_tokenizer_data *tokens)
{
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.context_length", 512);
    gguf_writer_u32(writer, "llama.embedding_length", 64);
    gguf_writer_u32(writer, "llama.block_count", 2);
    gguf_writer_u32(writer, "llama.feed_forward_length", 176);
    gguf_writer_u32(writer, "llama.attention.head_count", 4);
    gguf_writer_u32(writer, "llama.attention.head_count_kv", 2);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-6F);
    gguf_writer_f32(writer, "llama.rope.freq_base", (float)THETA);
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_spans(writer, "tokenizer.ggml.tokens", tokens->tokens, tokens->n_tokens);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
}

static void write_gguf(const char *name, bool with_factors)
{
    struct cm_model_file *file = NULL;
    struct gguf_writer writer;
    struct cm_text bytes = CM_TEXT_INIT(FILE_BYTES_MAX);
    assert_int_equal(cm_model_file_open(scratch_path(""), &file, NULL), CM_OK);
    gguf_writer_init(&writer);
    write_metadata(&writer, cm_model_file_tokenizer(file));
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        write_tensor(&writer, cm_model_file_tensor(file, i));
    }
    float factors[HEAD_DIM / 2];
    make_factors(factors);
    const struct cm_tensor tensor = { .name = "rope_freqs.weight",
                                      .dtype = CM_F32,
                                      .n_dims = 1,
                                      .dims = { HEAD_DIM / 2 },
                                      .data = factors,
                                      .bytes = sizeof factors };
    if (with_factors) {
        gguf_writer_tensor(&writer, &tensor);
    }
    gguf_writer_finish(&writer, &bytes);
    scratch_write(name, bytes.data, bytes.length);
    cm_text_deinit(&bytes);
    gguf_writer_deinit(&writer);
    cm_model_file_close(file);
}

/* --- The logits --- */

static void read_logits(const char *path, float *logits)
{
    struct cm_engine *engine = NULL;
    struct cm_error error = { 0 };
    int32_t tokens[TOKENS_COUNT];
    const struct cm_engine_options options = {
        .model_path = path, .precision = CM_ENGINE_EXACT, .batch = 1, .context_tokens = 256
    };
    for (int32_t i = 0; i < TOKENS_COUNT; i++) {
        tokens[i] = 1 + i * 37 % (N_VOCAB - 1);
    }
    if (cm_engine_open(&options, &engine, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(cm_engine_logits(engine, tokens, TOKENS_COUNT, 0, 0, logits, NULL), CM_OK);
    cm_engine_close(engine);
}

static double largest_difference(const float *a, const float *b)
{
    double largest = 0;
    for (size_t i = 0; i < (size_t)TOKENS_COUNT * N_VOCAB; i++) {
        largest = fmax(largest, fabs((double)a[i] - (double)b[i]));
    }
    return largest;
}

static void both_containers_give_the_same_logits(void **state)
{
    (void)state;
    float *logits[3];
    scratch_open();
    write_folder();
    write_gguf("factors.gguf", true);
    write_gguf("plain.gguf", false);
    const char *const paths[3] = { "", "factors.gguf", "plain.gguf" };
    for (size_t i = 0; i < 3; i++) {
        logits[i] = cm_alloc((size_t)TOKENS_COUNT * N_VOCAB, sizeof(float));
        read_logits(scratch_path(paths[i]), logits[i]);
    }
    double with_factors = largest_difference(logits[0], logits[1]);
    double without = largest_difference(logits[0], logits[2]);
    print_message("largest difference %.1e, without the factors %.1e\n", with_factors, without);
    assert_true(with_factors < 5e-5); /* as for the references */
    assert_true(without > 1e-3);
    for (size_t i = 0; i < 3; i++) {
        cm_free(logits[i]);
    }
    scratch_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_containers_give_the_same_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
