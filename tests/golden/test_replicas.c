/* Several replicas write what one writes: with retries, beams and shared constraints, and when
 * devices fail in mid-text. The devices are the CPU's; a failure is put in their place at link
 * time. */
#include "base/memory.h"
#include "host/engine.h"
#include "jobs/ban_list.h"
#include "kernels/backend.h"

#include <stdatomic.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { REQUESTS_COUNT = 60, OUTPUT_TOKENS = 16, PROMPT_MAX = 96, SEGMENTS_COUNT = 5 };

struct texts {
    int32_t tokens[REQUESTS_COUNT][OUTPUT_TOKENS];
    uint32_t tokens_count[REQUESTS_COUNT];
    uint32_t lost_count;
    struct cm_engine_counters counters;
};

/* --- Failing devices --- */

/* Steps, of all devices together, after which the next `failures` devices fail for good. */
static atomic_int steps_left;
static atomic_int failures_left;

enum cm_status __real_cm_backend_status(struct cm_backend *backend, struct cm_error *error);
enum cm_status __wrap_cm_backend_status(struct cm_backend *backend, struct cm_error *error);

enum cm_status __wrap_cm_backend_status(struct cm_backend *backend, struct cm_error *error)
{
    if (atomic_fetch_sub(&steps_left, 1) <= 0 && atomic_load(&failures_left) > 0) {
        int index = atomic_fetch_sub(&failures_left, 1) - 1;
        if (index >= 0) {
            return cm_error_set(error, CM_DEVICE_FAILED, "a device fails as it was told to");
        }
    }
    return __real_cm_backend_status(backend, error);
}

/* --- A job --- */

static uint32_t make_prompt(uint32_t index, int32_t *prompt)
{
    uint32_t item = index / SEGMENTS_COUNT;
    uint32_t segment = index % SEGMENTS_COUNT;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 30 + item % 4 * 9; i++) {
        prompt[count++] = (int32_t)(3 + (item * 131 + i * 17) % 590);
    }
    for (uint32_t i = 0; i < 3 + segment * 4; i++) {
        prompt[count++] = (int32_t)(3 + (segment * 53 + i * 29) % 590);
    }
    return count;
}

static struct cm_sampling sampling_of(uint32_t index)
{
    struct cm_sampling sampling = {
        .temperature = 0.9f, .top_p = 0.95f, .repetition_penalty = 1.1f, .no_repeat_ngram = 3
    };
    sampling.beams = index % 7 == 3 ? 3 : 1;
    return sampling;
}

static enum cm_status submit(struct cm_engine *engine, struct cm_constraint *ban, uint32_t index)
{
    int32_t prompt[PROMPT_MAX];
    const struct cm_request request = {
        .id = index,
        .unit = index / SEGMENTS_COUNT,
        .prompt = prompt,
        .prompt_tokens = make_prompt(index, prompt),
        .output_tokens_max = OUTPUT_TOKENS,
        .seed = { 77 + index, 5 },
        .sampling = sampling_of(index),
        .constraints = { ban },
    };
    return cm_engine_submit(engine, &request, NULL);
}

/* Every fourth request is decoded once more, as another attempt, and that text counts. */
static uint32_t collect(struct cm_engine *engine, struct texts *texts, bool again[REQUESTS_COUNT])
{
    uint32_t released = 0;
    struct cm_result result;
    while (cm_engine_finished(engine, &result) == CM_OK) {
        if (result.finish_reason == CM_FINISH_LOST) {
            texts->lost_count++;
        } else if (result.id % 4 == 0 && !again[result.id]) {
            struct cm_retry retry = { .attempt = 1, .sampling = sampling_of((uint32_t)result.id) };
            again[result.id] = true;
            assert_int_equal(cm_engine_retry(engine, result.id, &retry, NULL), CM_OK);
            continue;
        }
        texts->tokens_count[result.id] = result.output_tokens;
        memcpy(texts->tokens[result.id], result.output, result.output_tokens * sizeof(int32_t));
        cm_engine_release(engine, result.id);
        released++;
    }
    return released;
}

static struct cm_constraint *open_ban(const struct cm_tokenizer *tokenizer,
                                      struct cm_ban_list **list, struct cm_token_subset **subset)
{
    struct cm_constraint *ban = NULL;
    assert_int_equal(cm_ban_list_parse(cm_span_of("the\nin\ng\n"), "bans", list, NULL), CM_OK);
    struct cm_automaton automaton = cm_ban_list_automaton(*list);
    assert_int_equal(cm_token_subset_open(tokenizer, automaton.relevant, NULL, subset), CM_OK);
    assert_int_equal(cm_constraint_open(&automaton, *subset, NULL, &ban), CM_OK);
    return ban;
}

/* A thread for each rank of each replica. */
static struct cm_engine_options options_for(uint32_t replicas, uint32_t ranks, uint32_t batch)
{
    return (struct cm_engine_options){
        .model_path = TEST_DATA_DIR "/golden/tiny/qwen2",
        .precision = CM_ENGINE_EXACT,
        .device = "cpu",
        .replicas = replicas,
        .tp = ranks,
        .threads = replicas * ranks,
        .batch = batch,
        .context_tokens = 128,
    };
}

static enum cm_status run_groups(uint32_t replicas, uint32_t ranks, struct texts *texts)
{
    const struct cm_engine_options options = options_for(replicas, ranks, 6);
    struct cm_engine *engine = NULL;
    struct cm_ban_list *list = NULL;
    struct cm_token_subset *subset = NULL;
    struct cm_error error;
    bool again[REQUESTS_COUNT] = { false };
    uint32_t submitted = 0;
    uint32_t released = 0;
    enum cm_status status = CM_OK;
    memset(texts, 0, sizeof *texts);
    assert_int_equal(cm_engine_open(&options, &engine, &error), CM_OK);
    struct cm_constraint *ban = open_ban(cm_engine_tokenizer(engine), &list, &subset);
    while (released < REQUESTS_COUNT && status == CM_OK) {
        while (submitted < REQUESTS_COUNT && submit(engine, ban, submitted) == CM_OK) {
            submitted++;
        }
        status = cm_engine_step(engine, &error);
        assert_int_not_equal(status, CM_END);
        released += collect(engine, texts, again);
    }
    if (status == CM_OK) {
        assert_int_equal(cm_engine_step(engine, &error), CM_END);
    }
    cm_engine_counters(engine, &texts->counters);
    cm_engine_close(engine);
    cm_constraint_release(ban);
    cm_token_subset_close(subset);
    cm_ban_list_close(list);
    return status;
}

static enum cm_status run_job(uint32_t replicas, struct texts *texts)
{
    return run_groups(replicas, 1, texts);
}

static void assert_same_texts(const struct texts *texts, const struct texts *expected)
{
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        assert_int_equal(texts->tokens_count[i], expected->tokens_count[i]);
        assert_memory_equal(texts->tokens[i], expected->tokens[i],
                            texts->tokens_count[i] * sizeof(int32_t));
    }
}

static void set_failures(int steps, int failures)
{
    atomic_store(&steps_left, steps);
    atomic_store(&failures_left, failures);
}

static void replicas_write_what_one_writes(void **state)
{
    (void)state;
    struct texts *expected = cm_alloc(1, sizeof *expected);
    struct texts *texts = cm_alloc(1, sizeof *texts);
    set_failures(1 << 30, 0);
    assert_int_equal(run_job(1, expected), CM_OK);
    for (uint32_t replicas = 2; replicas <= 4; replicas++) {
        assert_int_equal(run_job(replicas, texts), CM_OK);
        assert_same_texts(texts, expected);
        assert_int_equal(texts->counters.devices_lost, 0);
    }
    cm_free(expected);
    cm_free(texts);
}

static void a_lost_devices_requests_go_to_the_others(void **state)
{
    (void)state;
    struct texts *expected = cm_alloc(1, sizeof *expected);
    struct texts *texts = cm_alloc(1, sizeof *texts);
    set_failures(1 << 30, 0);
    assert_int_equal(run_job(1, expected), CM_OK);
    uint32_t requeued = 0;
    for (int steps = 0; steps < 100; steps += 9) {
        set_failures(steps, 1);
        assert_int_equal(run_job(3, texts), CM_OK);
        assert_same_texts(texts, expected);
        assert_int_equal(texts->lost_count, 0);
        assert_int_equal(texts->counters.devices_lost, failures_left == 0);
        assert_true(texts->counters.requeued == 0 || failures_left == 0);
        requeued += texts->counters.requeued;
    }
    assert_true(requeued > 0);
    cm_free(expected);
    cm_free(texts);
}

/* One of two devices that compute together fails, and the other cannot go on without it. */
static void a_lost_devices_group_goes_with_it(void **state)
{
    (void)state;
    struct texts *expected = cm_alloc(1, sizeof *expected);
    struct texts *texts = cm_alloc(1, sizeof *texts);
    set_failures(1 << 30, 0);
    assert_int_equal(run_groups(1, 2, expected), CM_OK);
    assert_int_equal(run_groups(2, 2, texts), CM_OK);
    assert_same_texts(texts, expected);
    for (int steps = 0; steps < 100; steps += 33) {
        set_failures(steps, 1);
        assert_int_equal(run_groups(2, 2, texts), CM_OK);
        assert_same_texts(texts, expected);
        assert_int_equal(texts->counters.devices_lost, failures_left <= 0 ? 2 : 0);
    }
    set_failures(20, 1);
    assert_int_equal(run_groups(1, 2, texts), CM_DEVICE_FAILED);
    cm_free(expected);
    cm_free(texts);
}

/* Two losses: rows that ran on both are given up, all others are as ever. */
static void a_row_that_loses_two_devices_is_given_up(void **state)
{
    (void)state;
    struct texts *expected = cm_alloc(1, sizeof *expected);
    struct texts *texts = cm_alloc(1, sizeof *texts);
    set_failures(1 << 30, 0);
    assert_int_equal(run_job(1, expected), CM_OK);
    for (int steps = 3; steps < 40; steps += 12) {
        uint32_t same = 0;
        set_failures(steps, 2);
        assert_int_equal(run_job(3, texts), CM_OK);
        assert_int_equal(texts->counters.devices_lost, 2);
        for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
            same += texts->tokens_count[i] == expected->tokens_count[i] &&
                    memcmp(texts->tokens[i], expected->tokens[i],
                           texts->tokens_count[i] * sizeof(int32_t)) == 0;
        }
        assert_true(same + texts->lost_count >= REQUESTS_COUNT);
    }
    cm_free(expected);
    cm_free(texts);
}

static void with_no_device_left_the_engine_says_so(void **state)
{
    (void)state;
    struct texts *texts = cm_alloc(1, sizeof *texts);
    set_failures(10, 2);
    assert_int_equal(run_job(2, texts), CM_DEVICE_FAILED);
    set_failures(10, 1);
    assert_int_equal(run_job(1, texts), CM_DEVICE_FAILED);
    cm_free(texts);
}

/* --- What all prompts begin with --- */

enum { TEMPLATE_TOKENS = 4 * CM_PAGE_TOKENS, TAIL_TOKENS = 9, BURST_COUNT = 18, BURSTS_COUNT = 3 };

static void submit_with_template(struct cm_engine *engine, uint32_t index)
{
    int32_t prompt[TEMPLATE_TOKENS + TAIL_TOKENS];
    for (uint32_t i = 0; i < TEMPLATE_TOKENS; i++) {
        prompt[i] = (int32_t)(3 + i * 7 % 590);
    }
    for (uint32_t i = 0; i < TAIL_TOKENS; i++) {
        prompt[TEMPLATE_TOKENS + i] = (int32_t)(3 + (index + i * 31) % 590);
    }
    const struct cm_request request = {
        .id = index,
        .unit = index,
        .prompt = prompt,
        .prompt_tokens = TEMPLATE_TOKENS + TAIL_TOKENS,
        .output_tokens_max = 4,
        .sampling = { .top_p = 1.0f, .repetition_penalty = 1.0f, .ignore_stop = true },
    };
    assert_int_equal(cm_engine_submit(engine, &request, NULL), CM_OK);
}

static void run_until_idle(struct cm_engine *engine)
{
    struct cm_result result;
    while (cm_engine_step(engine, NULL) == CM_OK) {
        while (cm_engine_finished(engine, &result) == CM_OK) {
            cm_engine_release(engine, result.id);
        }
    }
}

/* A replica alone would take all requests at once and need a step for each of their tokens. */
static void a_small_job_is_divided(void **state)
{
    (void)state;
    enum { REPLICAS = 2, COUNT = 8 };
    const struct cm_engine_options options = options_for(REPLICAS, 1, COUNT);
    struct cm_engine *engine = NULL;
    struct cm_engine_counters counters;
    set_failures(1 << 30, 0);
    assert_int_equal(cm_engine_open(&options, &engine, NULL), CM_OK);
    for (uint32_t i = 0; i < COUNT; i++) {
        submit_with_template(engine, i);
    }
    run_until_idle(engine);
    cm_engine_counters(engine, &counters);
    assert_int_equal(counters.output_tokens % COUNT, 0);
    uint64_t tokens = counters.output_tokens / COUNT;
    assert_in_range(counters.steps, 2 * (tokens - 1), UINT32_MAX);
    cm_engine_close(engine);
}

static uint64_t weights_of_one(struct cm_engine_options options)
{
    struct cm_engine *engine = NULL;
    struct cm_engine_info info;
    options.replicas = 1;
    assert_int_equal(cm_engine_open(&options, &engine, NULL), CM_OK);
    cm_engine_info(engine, &info);
    cm_engine_close(engine);
    return info.weights_bytes;
}

/* Each replica computes the template once and keeps its pages, also while it has nothing to do. */
static void every_replica_keeps_the_template(void **state)
{
    (void)state;
    enum { REPLICAS = 3 };
    const struct cm_engine_options options = options_for(REPLICAS, 1, 4);
    struct cm_engine *engine = NULL;
    struct cm_engine_counters counters;
    struct cm_engine_info info;
    set_failures(1 << 30, 0);
    uint64_t weights_bytes = weights_of_one(options);
    assert_int_equal(cm_engine_open(&options, &engine, NULL), CM_OK);
    for (uint32_t burst = 0; burst < BURSTS_COUNT; burst++) {
        for (uint32_t i = 0; i < BURST_COUNT; i++) {
            submit_with_template(engine, burst * BURST_COUNT + i);
        }
        run_until_idle(engine);
    }
    cm_engine_counters(engine, &counters);
    cm_engine_info(engine, &info);
    assert_int_equal(info.replicas, REPLICAS);
    assert_int_equal(info.weights_bytes, weights_bytes); /* once, for all */
    uint64_t tails = (uint64_t)BURSTS_COUNT * BURST_COUNT * TAIL_TOKENS;
    assert_int_equal(counters.prompt_tokens,
                     tails + (uint64_t)BURSTS_COUNT * BURST_COUNT * TEMPLATE_TOKENS);
    assert_in_range(counters.prefill_tokens, TEMPLATE_TOKENS + TAIL_TOKENS,
                    REPLICAS * TEMPLATE_TOKENS + tails);
    cm_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_write_what_one_writes),
        cmocka_unit_test(a_lost_devices_requests_go_to_the_others),
        cmocka_unit_test(a_lost_devices_group_goes_with_it),
        cmocka_unit_test(a_row_that_loses_two_devices_is_given_up),
        cmocka_unit_test(with_no_device_left_the_engine_says_so),
        cmocka_unit_test(a_small_job_is_divided),
        cmocka_unit_test(every_replica_keeps_the_template),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
