/* Weights that are integers in the file, on a CUDA device with --precision int8 and int4: nothing
 * but the activations is rounded, so the logits keep bf16's distance from float32 arithmetic with
 * the same weights. And they are the same bytes however the text is cut. */
#include "base/memory.h"
#include "host/engine.h"
#include "jobs/agreement.h"
#include "kernels/backend.h"
#include "scratch.h"
#include "tiny_gguf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TINY_LLAMA TEST_DATA_DIR "/golden/tiny/llama"

enum { N_VOCAB = 600, TOKENS_COUNT = 48, FILE_BYTES_MAX = 4 << 20 };

static struct cm_engine *open_engine(const char *device, enum cm_engine_precision precision)
{
    const struct cm_engine_options options = {
        .model_path = scratch_path("model.gguf"),
        .precision = precision,
        .device = device,
        .batch = 1,
        .context_tokens = 64,
    };
    struct cm_engine *engine = NULL;
    struct cm_error error = { 0 };
    if (cm_engine_open(&options, &engine, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return engine;
}

static void read_logits(struct cm_engine *engine, uint32_t chunk_tokens, float *logits)
{
    int32_t tokens[TOKENS_COUNT];
    struct cm_error error = { 0 };
    for (int32_t i = 0; i < TOKENS_COUNT; i++) {
        tokens[i] = 1 + i * 37 % (N_VOCAB - 1);
    }
    if (cm_engine_logits(engine, tokens, TOKENS_COUNT, chunk_tokens, 0, logits, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
}

static void write_model(enum cm_dtype type)
{
    struct cm_text bytes = CM_TEXT_INIT(FILE_BYTES_MAX);
    tiny_gguf_append(&bytes, TINY_LLAMA, type, NULL);
    scratch_write("model.gguf", bytes.data, bytes.length);
    cm_text_deinit(&bytes);
}

static void check_file(enum cm_dtype type, enum cm_engine_precision precision)
{
    enum { VALUES = TOKENS_COUNT * N_VOCAB };
    static float expected[VALUES];
    static float logits[VALUES];
    static float cut[VALUES];
    struct cm_agreement agreement = { 0 };
    if (cm_devices_count(CM_DEVICE_CUDA) == 0) {
        print_message("no CUDA device here: not tested\n");
        skip();
    }
    scratch_open();
    write_model(type);
    struct cm_engine *exact = open_engine("cpu", CM_ENGINE_EXACT);
    struct cm_engine *engine = open_engine("cuda", precision);
    read_logits(exact, 0, expected);
    read_logits(engine, 0, logits);
    read_logits(engine, 5, cut);
    for (size_t row = 0; row < TOKENS_COUNT; row++) {
        cm_agreement_add_row(&agreement, logits + row * N_VOCAB, expected + row * N_VOCAB, N_VOCAB,
                             0);
    }
    print_message("%s: greatest difference %.3g, mean %.3g\n", cm_dtype_info(type)->name,
                  agreement.difference_max, cm_agreement_difference_mean(&agreement));
    assert_true(agreement.difference_max <= 0.15);
    assert_true(cm_agreement_difference_mean(&agreement) <= 0.02);
    assert_memory_equal(logits, cut, sizeof logits);
    cm_engine_close(exact);
    cm_engine_close(engine);
    scratch_close();
}

static void int8_of_q8_0(void **state)
{
    (void)state;
    check_file(CM_Q8_0, CM_ENGINE_INT8);
}

static void int8_of_q4_0(void **state)
{
    (void)state;
    check_file(CM_Q4_0, CM_ENGINE_INT8);
}

static void int4_of_q4_0(void **state)
{
    (void)state;
    check_file(CM_Q4_0, CM_ENGINE_INT4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(int8_of_q8_0),
        cmocka_unit_test(int8_of_q4_0),
        cmocka_unit_test(int4_of_q4_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
