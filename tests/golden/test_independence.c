/* Same row, same text: a request's tokens do not depend on the batch, the threads and whether they
 * are one group, the order of submission, a retry before it, or on who shares its prefix. Every
 * precision, with sampling. */
#include "base/memory.h"
#include "host/engine.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { REQUESTS_COUNT = 40, OUTPUT_TOKENS = 12, PROMPT_MAX = 160, SEGMENTS_COUNT = 8 };

struct texts {
    int32_t tokens[REQUESTS_COUNT][OUTPUT_TOKENS];
    uint32_t tokens_count[REQUESTS_COUNT];
};

/* Five items of eight segments: a common beginning, then the item, then the segment. */
static uint32_t make_prompt(uint32_t index, int32_t *prompt)
{
    uint32_t item = index / SEGMENTS_COUNT;
    uint32_t segment = index % SEGMENTS_COUNT;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 37; i++) {
        prompt[count++] = (int32_t)(3 + i * 7 % 500);
    }
    for (uint32_t i = 0; i < 20 + item * 9; i++) {
        prompt[count++] = (int32_t)(3 + (item * 131 + i * 17) % 590);
    }
    for (uint32_t i = 0; i < 3 + segment * 4; i++) {
        prompt[count++] = (int32_t)(3 + (segment / 2 * 53 + i * 29) % 590);
    }
    return count;
}

static struct cm_request make_request(uint32_t index, bool beams, const int32_t *prompt,
                                      uint32_t prompt_tokens)
{
    struct cm_request request = {
        .id = index,
        .unit = index / SEGMENTS_COUNT,
        .prompt = prompt,
        .prompt_tokens = prompt_tokens,
        .output_tokens_max = OUTPUT_TOKENS,
        .seed = { 0x9e3779b97f4a7c15ULL * (index + 1), index },
        .sampling = { .temperature = 0.9f,
                      .top_k = 40,
                      .top_p = 0.95f,
                      .repetition_penalty = 1.1f },
    };
    request.sampling.ignore_stop = index % 2 == 0;
    if (beams && index % 3 == 0) {
        request.sampling.beams = 2 + index % 4;
        request.sampling.temperature = index % 2 == 0 ? 0.0f : 0.9f;
    }
    return request;
}

/* Takes what is finished; some rows are decoded twice and must say the same both times. */
static uint32_t collect(struct cm_engine *engine, bool beams, bool retry, struct texts *texts)
{
    uint32_t released = 0;
    struct cm_result result;
    while (cm_engine_finished(engine, &result) == CM_OK) {
        bool first_time = texts->tokens_count[result.id] == UINT32_MAX;
        if (!first_time) {
            assert_int_equal(texts->tokens_count[result.id], result.output_tokens);
            assert_memory_equal(texts->tokens[result.id], result.output,
                                result.output_tokens * sizeof(int32_t));
        }
        texts->tokens_count[result.id] = result.output_tokens;
        memcpy(texts->tokens[result.id], result.output, result.output_tokens * sizeof(int32_t));
        if (retry && first_time && result.id % 3 == 0) {
            struct cm_request request = make_request((uint32_t)result.id, beams, NULL, 0);
            struct cm_retry again = { .sampling = request.sampling };
            memcpy(again.constraints, request.constraints, sizeof again.constraints);
            assert_int_equal(cm_engine_retry(engine, result.id, &again, NULL), CM_OK);
        } else {
            cm_engine_release(engine, result.id);
            released++;
        }
    }
    return released;
}

static void run_job(const struct cm_engine_options *options, bool beams, bool reversed, bool retry,
                    struct texts *texts)
{
    struct cm_engine *engine = NULL;
    struct cm_error error = { 0 };
    if (cm_engine_open(options, &engine, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        texts->tokens_count[i] = UINT32_MAX;
    }
    uint32_t submitted = 0;
    uint32_t released = 0;
    while (released < REQUESTS_COUNT) {
        enum cm_status status = CM_OK;
        while (status == CM_OK && submitted < REQUESTS_COUNT) {
            int32_t prompt[PROMPT_MAX];
            uint32_t index = reversed ? REQUESTS_COUNT - 1 - submitted : submitted;
            struct cm_request request =
                make_request(index, beams, prompt, make_prompt(index, prompt));
            status = cm_engine_submit(engine, &request, NULL);
            submitted += status == CM_OK;
        }
        assert_int_equal(cm_engine_step(engine, NULL), CM_OK);
        released += collect(engine, beams, retry, texts);
    }
    cm_engine_close(engine);
}

static void check_precision(enum cm_engine_precision precision, enum cm_engine_kv kv, bool beams)
{
    const struct cm_engine_options base = {
        .model_path = TEST_DATA_DIR "/golden/tiny/qwen2",
        .precision = precision,
        .kv = kv,
        .device = kv == CM_ENGINE_KV_INT8 ? "cpu" : NULL,
        .threads = 1,
        .batch = 64,
        .context_tokens = 192,
    };
    struct texts *expected = cm_alloc(1, sizeof *expected);
    struct texts *texts = cm_alloc(1, sizeof *texts);
    run_job(&base, beams, false, false, expected);
    const uint32_t batches[] = { 1, 7, 64, 1024 };
    for (uint32_t round = 0; round < 8; round++) {
        struct cm_engine_options options = base;
        options.batch = beams && batches[round % 4] == 1 ? 5 : batches[round % 4];
        options.threads = 1 + round / 4;
        memset(texts->tokens, 0, sizeof texts->tokens);
        run_job(&options, beams, round % 2 == 1, round % 4 == 2, texts);
        for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
            assert_int_equal(texts->tokens_count[i], expected->tokens_count[i]);
            assert_memory_equal(texts->tokens[i], expected->tokens[i],
                                expected->tokens_count[i] * sizeof(int32_t));
        }
    }
    cm_free(expected);
    cm_free(texts);
}

static void exact(void **state)
{
    (void)state;
    check_precision(CM_ENGINE_EXACT, CM_ENGINE_KV_AUTO, false);
}

static void beams(void **state)
{
    (void)state;
    check_precision(CM_ENGINE_EXACT, CM_ENGINE_KV_AUTO, true);
}

static void bf16(void **state)
{
    (void)state;
    check_precision(CM_ENGINE_BF16, CM_ENGINE_KV_AUTO, false);
}

static void int8(void **state)
{
    (void)state;
    check_precision(CM_ENGINE_INT8, CM_ENGINE_KV_AUTO, true);
}

static void kv_int8(void **state)
{
    (void)state;
    check_precision(CM_ENGINE_INT8, CM_ENGINE_KV_INT8, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact), cmocka_unit_test(beams),   cmocka_unit_test(bf16),
        cmocka_unit_test(int8),  cmocka_unit_test(kv_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
