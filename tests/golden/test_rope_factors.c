/* The scaled rope of Llama 3.1: a folder says it in numbers, which the references prove, a GGUF
 * file in a tensor of factors. The same weights in both containers give the same logits. */
#include "base/memory.h"
#include "host/engine.h"
#include "scratch.h"
#include "tiny_gguf.h"

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

static void write_gguf(const char *name, bool with_factors)
{
    struct cm_text bytes = CM_TEXT_INIT(FILE_BYTES_MAX);
    float factors[HEAD_DIM / 2];
    make_factors(factors);
    const struct cm_tensor tensor = { .name = "rope_freqs.weight",
                                      .dtype = CM_F32,
                                      .n_dims = 1,
                                      .dims = { HEAD_DIM / 2 },
                                      .data = factors,
                                      .bytes = sizeof factors };
    tiny_gguf_append(&bytes, scratch_path(""), CM_F32, with_factors ? &tensor : NULL);
    scratch_write(name, bytes.data, bytes.length);
    cm_text_deinit(&bytes);
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
