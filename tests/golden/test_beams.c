/* Beam search against Hugging Face's: the texts and scores of beams.json (generate_beams.py), with
 * every option that has a meaning there, all searches in flight at once. */
#include "base/memory.h"
#include "host/engine.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { TOKENS_MAX = 128 };

static uint32_t read_tokens(const json_t *array, int32_t *tokens)
{
    size_t count = json_array_size(array);
    assert_true(count <= TOKENS_MAX);
    for (size_t i = 0; i < count; i++) {
        tokens[i] = (int32_t)json_integer_value(json_array_get(array, i));
    }
    return (uint32_t)count;
}

static uint32_t setting(const json_t *settings, const char *name)
{
    return (uint32_t)json_integer_value(json_object_get(settings, name));
}

static void submit(struct cm_engine *engine, const json_t *one, uint64_t id)
{
    const json_t *settings = json_object_get(one, "settings");
    const json_t *penalty = json_object_get(settings, "repetition_penalty");
    const json_t *top_p = json_object_get(settings, "top_p");
    int32_t prompt[TOKENS_MAX];
    uint32_t prompt_tokens = read_tokens(json_object_get(one, "ids"), prompt);
    const struct cm_request request = {
        .id = id,
        .prompt = prompt,
        .prompt_tokens = prompt_tokens,
        .output_tokens_max = setting(settings, "max_length") - prompt_tokens,
        .sampling = { .top_k = setting(settings, "top_k"),
                      .top_p = top_p != NULL ? (float)json_number_value(top_p) : 1.0f,
                      .repetition_penalty =
                          penalty != NULL ? (float)json_number_value(penalty) : 1.0f,
                      .no_repeat_ngram = setting(settings, "no_repeat_ngram_size"),
                      .beams = setting(settings, "num_beams") },
    };
    assert_int_equal(cm_engine_submit(engine, &request, NULL), CM_OK);
}

static void check(struct cm_engine *engine, const json_t *one, uint64_t id)
{
    const json_t *texts = json_object_get(one, "texts");
    size_t i;
    json_t *text;
    json_array_foreach(texts, i, text)
    {
        struct cm_beam beam;
        int32_t tokens[TOKENS_MAX];
        uint32_t tokens_count = read_tokens(json_object_get(text, "tokens"), tokens);
        assert_int_equal(cm_engine_beam(engine, id, (uint32_t)i, &beam), CM_OK);
        if (beam.output_tokens != tokens_count ||
            memcmp(beam.output, tokens, tokens_count * sizeof *tokens) != 0) {
            fail_msg("search %u, text %zu is another one", (unsigned)id, i);
        }
        double score = json_number_value(json_object_get(text, "score"));
        assert_true(fabs(beam.score - score) < 2e-5);
    }
}

static void texts_are_those_of_hugging_face(void **state)
{
    (void)state;
    const struct cm_engine_options options = {
        .model_path = TEST_DATA_DIR "/golden/tiny/llama",
        .precision = CM_ENGINE_EXACT,
        .threads = 1,
        .batch = 64,
        .context_tokens = TOKENS_MAX,
    };
    struct cm_engine *engine = NULL;
    assert_int_equal(cm_engine_open(&options, &engine, NULL), CM_OK);
    json_t *cases = json_load_file(TEST_DATA_DIR "/golden/beams.json", 0, NULL);
    assert_non_null(cases);
    size_t left = json_array_size(cases);
    assert_true(left > 0);
    for (size_t i = 0; i < left; i++) {
        submit(engine, json_array_get(cases, i), i);
    }
    while (left > 0) {
        struct cm_result result;
        assert_int_equal(cm_engine_step(engine, NULL), CM_OK);
        while (cm_engine_finished(engine, &result) == CM_OK) {
            check(engine, json_array_get(cases, result.id), result.id);
            cm_engine_release(engine, result.id);
            left--;
        }
    }
    json_decref(cases);
    cm_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(texts_are_those_of_hugging_face) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
