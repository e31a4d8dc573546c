/* The tiny checkpoints against their references in exact precision: logits at every position within
 * 5e-5, the same greedy tokens, and the same bytes in every cut of the sequence and every batch. */
#include "base/memory.h"
#include "host/engine.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const float tolerance = 5e-5f;

enum { CASES_MAX = 8, TOKENS_MAX = 256, BEAMS = 4, BEAM_TOKENS_MAX = 32 };

struct golden_case {
    int32_t tokens[TOKENS_MAX]; /* prompt and continuation */
    uint32_t prompt_tokens;
    uint32_t tokens_count;
    uint32_t logits_row;
    int32_t greedy[TOKENS_MAX];
    uint32_t greedy_count;
    struct golden_beam {
        int32_t tokens[BEAM_TOKENS_MAX];
        uint32_t tokens_count;
        double score;
    } beams[BEAMS];
    uint32_t beams_count; /* 0: the family has none */
};

struct golden {
    uint32_t n_vocab;
    struct golden_case cases[CASES_MAX];
    uint32_t cases_count;
    float *logits; /* [rows, n_vocab] */
};

static uint32_t read_tokens(const json_t *array, int32_t *tokens, uint32_t begin)
{
    size_t i;
    json_t *value;
    json_array_foreach(array, i, value)
    {
        assert_true(begin < TOKENS_MAX);
        tokens[begin++] = (int32_t)json_integer_value(value);
    }
    return begin;
}

static void read_beams(const json_t *array, struct golden_case *one)
{
    size_t i;
    json_t *beam;
    json_array_foreach(array, i, beam)
    {
        struct golden_beam *read = &one->beams[one->beams_count++];
        read->tokens_count = read_tokens(json_object_get(beam, "tokens"), read->tokens, 0);
        read->score = json_number_value(json_object_get(beam, "score"));
    }
}

static void read_golden(const char *folder, struct golden *golden)
{
    char path[512];
    snprintf(path, sizeof path, "%s/expected.json", folder);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    golden->n_vocab = (uint32_t)json_integer_value(json_object_get(root, "n_vocab"));
    size_t i;
    json_t *item;
    uint32_t rows_count = 0;
    json_array_foreach(json_object_get(root, "cases"), i, item)
    {
        struct golden_case *one = &golden->cases[golden->cases_count++];
        one->prompt_tokens = read_tokens(json_object_get(item, "ids"), one->tokens, 0);
        one->tokens_count =
            read_tokens(json_object_get(item, "continuation"), one->tokens, one->prompt_tokens);
        one->greedy_count = read_tokens(json_object_get(item, "greedy"), one->greedy, 0);
        read_beams(json_object_get(item, "beams4"), one);
        one->logits_row = (uint32_t)json_integer_value(json_object_get(item, "logits_row"));
        rows_count = one->logits_row + one->tokens_count;
    }
    json_decref(root);
    snprintf(path, sizeof path, "%s/logits.f32", folder);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t floats_count = (size_t)rows_count * golden->n_vocab;
    golden->logits = cm_alloc(floats_count, sizeof(float));
    assert_int_equal(fread(golden->logits, sizeof(float), floats_count, file), floats_count);
    fclose(file);
}

static struct cm_engine *open_engine(const char *folder, uint32_t threads, uint32_t batch)
{
    struct cm_engine *engine = NULL;
    struct cm_error error = { 0 };
    const struct cm_engine_options options = {
        .model_path = folder,
        .precision = CM_ENGINE_EXACT,
        .threads = threads,
        .batch = batch,
        .context_tokens = 256,
    };
    enum cm_status status = cm_engine_open(&options, &engine, &error);
    if (status != CM_OK) {
        print_error("%s: %s\n", folder, error.message);
    }
    assert_int_equal(status, CM_OK);
    return engine;
}

static void check_logits(struct cm_engine *engine, const struct golden *golden, const char *name)
{
    for (uint32_t i = 0; i < golden->cases_count; i++) {
        const struct golden_case *one = &golden->cases[i];
        size_t floats_count = (size_t)one->tokens_count * golden->n_vocab;
        float *logits = cm_alloc(floats_count, sizeof *logits);
        assert_int_equal(
            cm_engine_logits(engine, one->tokens, one->tokens_count, 0, 0, logits, NULL), CM_OK);
        const float *wanted = golden->logits + (size_t)one->logits_row * golden->n_vocab;
        float worst = 0.0f;
        for (size_t j = 0; j < floats_count; j++) {
            float difference = fabsf(logits[j] - wanted[j]);
            worst = difference > worst || isnan(difference) ? difference : worst;
        }
        print_message("%s, case %u: largest difference %.1e\n", name, i, (double)worst);
        assert_true(worst <= tolerance);
        cm_free(logits);
    }
}

/* One prefill, chunks of 1, 7 and 64, and a fork at every position: the same bytes. */
static void check_cuts(struct cm_engine *engine, const struct golden *golden)
{
    const struct golden_case *one = &golden->cases[0];
    size_t bytes = (size_t)one->tokens_count * golden->n_vocab * sizeof(float);
    float *whole = cm_alloc(bytes, 1);
    float *cut = cm_alloc(bytes, 1);
    const uint32_t chunks[] = { 1, 7, 64 };
    assert_int_equal(cm_engine_logits(engine, one->tokens, one->tokens_count, 0, 0, whole, NULL),
                     CM_OK);
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        assert_int_equal(
            cm_engine_logits(engine, one->tokens, one->tokens_count, chunks[i], 0, cut, NULL),
            CM_OK);
        assert_memory_equal(cut, whole, bytes);
    }
    for (uint32_t shared = 1; shared <= one->tokens_count; shared++) {
        assert_int_equal(
            cm_engine_logits(engine, one->tokens, one->tokens_count, 0, shared, cut, NULL), CM_OK);
        assert_memory_equal(cut, whole, bytes);
    }
    cm_free(whole);
    cm_free(cut);
}

/* All cases at once, several copies of each, through the scheduler. */
static void check_greedy(struct cm_engine *engine, const struct golden *golden)
{
    enum { COPIES = 3 };
    uint32_t left = COPIES * golden->cases_count;
    for (uint32_t i = 0; i < left; i++) {
        const struct golden_case *one = &golden->cases[i % golden->cases_count];
        struct cm_request request = {
            .id = i,
            .prompt = one->tokens,
            .prompt_tokens = one->prompt_tokens,
            .output_tokens_max = one->greedy_count,
            .sampling = CM_SAMPLING_GREEDY,
        };
        request.sampling.ignore_stop = true;
        assert_int_equal(cm_engine_submit(engine, &request, NULL), CM_OK);
    }
    while (left > 0) {
        assert_int_equal(cm_engine_step(engine, NULL), CM_OK);
        struct cm_result result;
        while (cm_engine_finished(engine, &result) == CM_OK) {
            const struct golden_case *one = &golden->cases[result.id % golden->cases_count];
            assert_int_equal(result.output_tokens, one->greedy_count);
            assert_memory_equal(result.output, one->greedy, one->greedy_count * sizeof(int32_t));
            cm_engine_release(engine, result.id);
            left--;
        }
    }
    assert_int_equal(cm_engine_step(engine, NULL), CM_END);
}

/* All cases at once: four texts each with their scores, the best first. */
static void check_beams(struct cm_engine *engine, const struct golden *golden)
{
    uint32_t left = golden->cases[0].beams_count > 0 ? golden->cases_count : 0;
    for (uint32_t i = 0; i < left; i++) {
        const struct golden_case *one = &golden->cases[i];
        struct cm_request request = {
            .id = i,
            .prompt = one->tokens,
            .prompt_tokens = one->prompt_tokens,
            .output_tokens_max = one->beams[0].tokens_count,
            .sampling = CM_SAMPLING_GREEDY,
        };
        request.sampling.ignore_stop = true;
        request.sampling.beams = BEAMS;
        assert_int_equal(cm_engine_submit(engine, &request, NULL), CM_OK);
    }
    while (left > 0) {
        assert_int_equal(cm_engine_step(engine, NULL), CM_OK);
        struct cm_result result;
        while (cm_engine_finished(engine, &result) == CM_OK) {
            const struct golden_case *one = &golden->cases[result.id];
            struct cm_beam beam;
            for (uint32_t i = 0; i < BEAMS; i++) {
                const struct golden_beam *wanted = &one->beams[i];
                assert_int_equal(cm_engine_beam(engine, result.id, i, &beam), CM_OK);
                assert_int_equal(beam.output_tokens, wanted->tokens_count);
                assert_memory_equal(beam.output, wanted->tokens,
                                    wanted->tokens_count * sizeof(int32_t));
                assert_true(fabs(beam.score - wanted->score) < 2e-5);
            }
            assert_int_equal(cm_engine_beam(engine, result.id, BEAMS, &beam), CM_END);
            cm_engine_release(engine, result.id);
            left--;
        }
    }
}

static void check_model(const char *folder, const char *expected_folder)
{
    struct stat info;
    if (stat(folder, &info) != 0) {
        print_message("skipped: %s is not there\n", folder);
        skip();
    }
    struct golden golden = { 0 };
    read_golden(expected_folder, &golden);
    for (uint32_t threads = 1; threads <= 2; threads++) {
        struct cm_engine *engine = open_engine(folder, threads, threads == 1 ? 4 : 16);
        check_logits(engine, &golden, folder);
        check_cuts(engine, &golden);
        check_greedy(engine, &golden);
        check_beams(engine, &golden);
        cm_engine_close(engine);
    }
    cm_free(golden.logits);
}

#define OWN TEST_DATA_DIR "/golden/tiny/"
#define SHARED SHARED_DIR "/golden/tiny/"

static void llama(void **state)
{
    (void)state;
    check_model(OWN "llama", OWN "llama");
}

static void llama_sharded(void **state)
{
    (void)state;
    check_model(OWN "llama_sharded", OWN "llama");
}

static void qwen2(void **state)
{
    (void)state;
    check_model(OWN "qwen2", OWN "qwen2");
}

static void llama3_rope(void **state)
{
    (void)state;
    check_model(SHARED "llama3_rope", SHARED "llama3_rope");
}

static void mistral(void **state)
{
    (void)state;
    check_model(SHARED "mistral", SHARED "mistral");
}

static void qwen3(void **state)
{
    (void)state;
    check_model(SHARED "qwen3", SHARED "qwen3");
}

static void gemma3(void **state)
{
    (void)state;
    check_model(SHARED "gemma3", SHARED "gemma3");
}

static void gpt2(void **state)
{
    (void)state;
    check_model(SHARED "gpt2", SHARED "gpt2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),       cmocka_unit_test(llama_sharded), cmocka_unit_test(qwen2),
        cmocka_unit_test(llama3_rope), cmocka_unit_test(mistral),       cmocka_unit_test(qwen3),
        cmocka_unit_test(gemma3),      cmocka_unit_test(gpt2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
