/* jobs/controls.h through the engine: an attempt after one that scored too low cannot write what
 * was forbidden to it, and the first one can. */
#include "jobs/controls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { OUTPUT_TOKENS = 24, TEXT_BYTES_MAX = 4096 };

static struct cm_engine *open_engine(void)
{
    struct cm_engine *engine = NULL;
    const struct cm_engine_options options = {
        .model_path = TEST_DATA_DIR "/golden/tiny/llama",
        .precision = CM_ENGINE_EXACT,
        .threads = 1,
        .batch = 4,
        .context_tokens = 128,
    };
    assert_int_equal(cm_engine_open(&options, &engine, NULL), CM_OK);
    return engine;
}

static void read_text(struct cm_engine *engine, struct cm_text *text, struct cm_result *result)
{
    while (cm_engine_finished(engine, result) != CM_OK) {
        assert_int_equal(cm_engine_step(engine, NULL), CM_OK);
    }
    cm_text_clear(text);
    assert_int_equal(cm_tokenizer_decode(cm_engine_tokenizer(engine), result->output,
                                         result->output_tokens, text),
                     CM_OK);
}

/* A word of four ASCII letters or more in the text; false where there is none. */
static bool find_word(const char *text, char word[64])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (const char *at = text; *at != '\0'; at++) {
        size_t length = strspn(at, letters);
        bool begins = at == text || strchr(" \n", at[-1]) != NULL;
        if (begins && length >= 4 && length < 64) {
            snprintf(word, 64, "%.*s", (int)length, at);
            return true;
        }
    }
    return false;
}

static void a_strict_attempt_cannot_write_what_is_forbidden(void **state)
{
    (void)state;
    struct cm_engine *engine = open_engine();
    struct cm_channel *channel = NULL;
    struct cm_error error;
    assert_int_equal(cm_channel_open("generic", &channel, &error), CM_OK);
    struct cm_run_options options;
    cm_run_options_init(&options);
    options.fact_lock = CM_FACT_LOCK_OFF;
    options.attempts = 2;
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    uint32_t tried = 0;
    for (int32_t first = 5; first < 60; first++) {
        const int32_t prompt[] = { 1, first, first + 7, first + 31 };
        struct cm_request request = { .id = (uint64_t)first,
                                      .prompt = prompt,
                                      .prompt_tokens = 4,
                                      .output_tokens_max = OUTPUT_TOKENS,
                                      .sampling = CM_SAMPLING_GREEDY };
        struct cm_controls *controls = NULL;
        struct cm_result result;
        char word[64];
        assert_int_equal(cm_engine_submit(engine, &request, NULL), CM_OK);
        read_text(engine, &text, &result);
        if (find_word(cm_text_string(&text), word)) {
            tried++;
            assert_int_equal(cm_controls_open(&options, channel, cm_engine_tokenizer(engine),
                                              cm_span_of(word), &controls, &error),
                             CM_OK);
            struct cm_request usual = { .output_tokens_max = OUTPUT_TOKENS };
            cm_controls_apply(controls, "en", false, NULL, &usual);
            assert_null(usual.constraints[0]);
            struct cm_request strict = { .output_tokens_max = OUTPUT_TOKENS };
            cm_controls_apply(controls, "en", true, NULL, &strict);
            assert_non_null(strict.constraints[0]);
            struct cm_retry retry = { .attempt = 2, .sampling = CM_SAMPLING_GREEDY };
            memcpy(retry.constraints, strict.constraints, sizeof retry.constraints);
            assert_int_equal(cm_engine_retry(engine, result.id, &retry, NULL), CM_OK);
            read_text(engine, &text, &result);
            assert_null(strstr(cm_text_string(&text), word));
        }
        cm_engine_release(engine, result.id);
        cm_controls_close(controls);
    }
    assert_true(tried >= 5);
    cm_text_deinit(&text);
    cm_channel_close(channel);
    cm_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_strict_attempt_cannot_write_what_is_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
