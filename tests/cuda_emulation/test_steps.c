/* Steps of the engine on the emulated device: whatever the waves, with and without recorded steps,
 * on one device or several, with one that fails or hangs, a job writes the same texts; a step asks
 * the driver for no memory and waits for nothing but its own results; and a page that is given back
 * too early shows in the texts.
 *
 * The reference is one wave on one device, op by op. With TEST_FEW, for builds that are slow, one
 * small job in all ways on one device, and one on two that compute together. */
#include "base/memory.h"
#include "counts.h"
#include "host/engine.h"
#include "host/scheduler.h"
#include "host/step_list.h"
#include "jobs/ban_list.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { REQUESTS_MAX = 44, OUTPUT_TOKENS = 6, PROMPT_MAX = 96, SEGMENTS_COUNT = 5, BATCH = 16 };

struct job {
    const char *device;
    uint32_t requests_count;
    uint32_t output_tokens;
    uint32_t tp;
    uint32_t waves;
    bool eager;
    bool beams; /* some requests are beam searches; some others are decoded twice */
    bool only_beams;
    double timeout_s;
    const char *seed;
    const char *fault;
};

struct texts {
    int32_t tokens[REQUESTS_MAX][OUTPUT_TOKENS];
    uint32_t tokens_count[REQUESTS_MAX];
    struct cm_engine_counters counters;
    uint32_t recordings;
    uint32_t graph_launches;
    uint32_t allocations_at_start;
};

/* --- Lists of ids that are too short at first --- */

static bool short_lists;
static struct cm_backend *first_to_grow; /* the others of its group come later */

enum cm_status __real_cm_step_list_init(struct cm_step_list *list, struct cm_backend *backend,
                                        size_t capacity);
enum cm_status __wrap_cm_step_list_init(struct cm_step_list *list, struct cm_backend *backend,
                                        size_t capacity);
enum cm_status __real_cm_step_list_reserve(struct cm_step_list *list, size_t more);
enum cm_status __wrap_cm_step_list_reserve(struct cm_step_list *list, size_t more);

enum cm_status __wrap_cm_step_list_init(struct cm_step_list *list, struct cm_backend *backend,
                                        size_t capacity)
{
    return __real_cm_step_list_init(list, backend, short_lists ? 1 : capacity);
}

enum cm_status __wrap_cm_step_list_reserve(struct cm_step_list *list, size_t more)
{
    if (short_lists && list->count + more > list->capacity) {
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        pthread_mutex_lock(&lock);
        first_to_grow = first_to_grow != NULL ? first_to_grow : list->backend;
        bool is_first = first_to_grow == list->backend;
        pthread_mutex_unlock(&lock);
        usleep(is_first ? 0 : 50 * 1000);
    }
    return __real_cm_step_list_reserve(list, more);
}

/* --- A job --- */

static uint32_t make_prompt(uint32_t index, int32_t *prompt)
{
    uint32_t item = index / SEGMENTS_COUNT;
    uint32_t segment = index % SEGMENTS_COUNT;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 20 + item % 4 * 9; i++) {
        prompt[count++] = (int32_t)(3 + (item * 131 + i * 17) % 590);
    }
    for (uint32_t i = 0; i < 3 + segment * 4; i++) {
        prompt[count++] = (int32_t)(3 + (segment * 53 + i * 29) % 590);
    }
    return count;
}

static struct cm_sampling sampling_of(const struct job *job, uint32_t index)
{
    struct cm_sampling sampling = { .repetition_penalty = 1.1f, .top_p = 1.0f };
    sampling.temperature = index % 3 == 0 ? 0.9f : 0.0f;
    sampling.no_repeat_ngram = index % 2 == 0 ? 3 : 0;
    sampling.beams = job->only_beams || (job->beams && index % 7 == 3) ? 3 : 1;
    sampling.ignore_stop = true;
    return sampling;
}

static enum cm_status submit(struct cm_engine *engine, const struct job *job,
                             struct cm_constraint *ban, uint32_t index)
{
    int32_t prompt[PROMPT_MAX];
    const struct cm_request request = {
        .id = index,
        .unit = index / SEGMENTS_COUNT,
        .prompt = prompt,
        .prompt_tokens = make_prompt(index, prompt),
        .output_tokens_max = job->output_tokens,
        .seed = { 77 + index, 5 },
        .sampling = sampling_of(job, index),
        .constraints = { ban },
    };
    return cm_engine_submit(engine, &request, NULL);
}

static uint32_t collect(struct cm_engine *engine, const struct job *job, struct texts *texts,
                        bool again[REQUESTS_MAX])
{
    uint32_t released = 0;
    struct cm_result result;
    while (cm_engine_finished(engine, &result) == CM_OK) {
        if (job->beams && result.id % 4 == 0 && !again[result.id]) {
            const struct cm_retry retry = { .attempt = 1,
                                            .sampling = sampling_of(job, (uint32_t)result.id) };
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

static struct cm_engine *open_engine(const struct job *job)
{
    const struct cm_engine_options options = {
        .model_path = TEST_DATA_DIR "/golden/tiny/qwen2",
        .precision = CM_ENGINE_EXACT,
        .device = job->device,
        .tp = job->tp,
        .batch = BATCH,
        .context_tokens = 128,
        .waves = job->waves,
        .eager = job->eager,
        .device_timeout_s = job->timeout_s,
    };
    struct cm_engine *engine = NULL;
    struct cm_error error = { 0 };
    emu_restart();
    setenv("EMU_DEVICES", "4", 1);
    setenv("EMU_SEED", job->seed != NULL ? job->seed : "0", 1);
    setenv("EMU_FAULT", job->fault != NULL ? job->fault : "", 1);
    if (cm_engine_open(&options, &engine, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return engine;
}

/* Called after every step; may be NULL. */
typedef void look(void *context, uint32_t step, struct cm_engine *engine);

static enum cm_status try_job(const struct job *job, struct texts *texts, look *look_at,
                              void *context, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    struct cm_engine *engine = open_engine(job);
    struct cm_ban_list *list = NULL;
    struct cm_token_subset *subset = NULL;
    struct emu_counts counts;
    bool again[REQUESTS_MAX] = { false };
    uint32_t submitted = 0;
    uint32_t released = 0;
    memset(texts, 0, sizeof *texts);
    struct cm_constraint *ban = open_ban(cm_engine_tokenizer(engine), &list, &subset);
    emu_count(&counts);
    texts->allocations_at_start = (uint32_t)counts.allocations;
    for (uint32_t step = 0; released < job->requests_count && status == CM_OK; step++) {
        while (submitted < job->requests_count && submit(engine, job, ban, submitted) == CM_OK) {
            submitted++;
        }
        status = cm_engine_step(engine, error);
        if (look_at != NULL) {
            look_at(context, step, engine);
        }
        released += collect(engine, job, texts, again);
    }
    if (status == CM_OK) {
        assert_int_equal(cm_engine_step(engine, error), CM_END);
    }
    cm_engine_counters(engine, &texts->counters);
    emu_count(&counts);
    texts->recordings = (uint32_t)counts.recordings;
    texts->graph_launches = (uint32_t)counts.graph_launches;
    cm_engine_close(engine);
    cm_constraint_release(ban);
    cm_token_subset_close(subset);
    cm_ban_list_close(list);
    return status;
}

static void run_job(const struct job *job, struct texts *texts, look *look_at, void *context)
{
    struct cm_error error = { 0 };
    if (try_job(job, texts, look_at, context, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
}

static void assert_same_texts(const struct texts *texts, const struct texts *expected)
{
    assert_memory_equal(texts->tokens_count, expected->tokens_count, sizeof texts->tokens_count);
    assert_memory_equal(texts->tokens, expected->tokens, sizeof texts->tokens);
}

static const struct job plain_job = {
    .device = "cuda:0",
#if defined(TEST_FEW)
    .requests_count = 18,
    .output_tokens = 2,
#else
    .requests_count = 44,
    .output_tokens = 3,
#endif
    .waves = 1,
    .eager = true,
    .beams = true,
};

static struct texts expected;

static int make_reference(void **state)
{
    (void)state;
    run_job(&plain_job, &expected, NULL, NULL);
    return expected.recordings == 0 ? 0 : -1;
}

static void waves_and_recordings_write_the_same(void **state)
{
    (void)state;
    static struct texts texts;
    static const struct {
        uint32_t waves;
        bool eager;
        const char *seed;
    } cases[] = { { 2, true, "1" }, { 1, false, "2" }, { 2, false, "3" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct job job = plain_job;
        job.waves = cases[i].waves;
        job.eager = cases[i].eager;
        job.seed = cases[i].seed;
        run_job(&job, &texts, NULL, NULL);
        assert_same_texts(&texts, &expected);
        assert_int_equal(texts.counters.computed_tokens,
                         texts.counters.prefill_tokens + texts.counters.decode_tokens);
        assert_true(texts.recordings == 0 || !job.eager);
        assert_true(texts.recordings > 0 || job.eager);
    }
}

static void devices_write_the_same(void **state)
{
    (void)state;
    static struct texts texts;
    static const char *const devices[] = { "cuda:0,1,2,3" };
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        struct job job = plain_job;
        job.device = devices[i];
        job.waves = 2;
        job.eager = false;
        run_job(&job, &texts, NULL, NULL);
        assert_same_texts(&texts, &expected);
        assert_int_equal(texts.counters.devices_lost, 0);
    }
}

/* One that dies in mid-step, and one that never ends a launch. */
static void a_lost_device_changes_no_text(void **state)
{
    (void)state;
    static struct texts texts;
    static const char *const faults[] = { "device:1:60", "kernel:1:40" };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct job job = plain_job;
        job.device = "cuda:0,1";
        job.waves = 2;
        job.eager = false;
        job.fault = faults[i];
        job.timeout_s = 10;
        run_job(&job, &texts, NULL, NULL);
        assert_same_texts(&texts, &expected);
        assert_int_equal(texts.counters.devices_lost, 1);
    }
}

/* --- Devices that compute together --- */

static const struct job together_job = {
    .device = "cuda:0,1", .tp = 2, .requests_count = 8, .output_tokens = 3, .timeout_s = 60
};

/* Giving the old memory back waits for all devices: had one rank begun with the step while another
 * makes room for it, each would wait for the other. */
static void ranks_make_room_before_any_of_them_begins(void **state)
{
    (void)state;
    static struct texts plain;
    static struct texts texts;
    run_job(&together_job, &plain, NULL, NULL);
    short_lists = true;
    first_to_grow = NULL;
    run_job(&together_job, &texts, NULL, NULL);
    short_lists = false;
    assert_same_texts(&texts, &plain);
}

/* Once in a group that has others to go on for it, and once in the only one. */
static void a_rank_without_room_gives_its_group_up(void **state)
{
    (void)state;
    static struct texts plain;
    static struct texts texts;
    char fault[32];
    struct cm_error error = { 0 };
    struct job job = together_job;
    short_lists = true;
    job.device = "cuda:0,1,2,3";
    run_job(&job, &plain, NULL, NULL);
    snprintf(fault, sizeof fault, "malloc:%u", plain.allocations_at_start + 3);
    job.fault = fault;
    run_job(&job, &texts, NULL, NULL);
    assert_same_texts(&texts, &plain);
    assert_int_equal(texts.counters.devices_lost, 2);
    assert_true(texts.counters.requeued > 0);
    job.device = "cuda:0,1";
    snprintf(fault, sizeof fault, "malloc:%u", plain.allocations_at_start / 2 + 3);
    assert_int_equal(try_job(&job, &texts, NULL, NULL, &error), CM_OUT_OF_MEMORY);
    assert_non_null(strstr(error.message, "memory"));
    short_lists = false;
}

/* --- What a step asks for --- */

struct watch {
    struct emu_counts before;
    uint64_t steps_before;
    uint32_t watched; /* steps */
    uint32_t warm_up;
};

static void assert_modest(void *context, uint32_t step, struct cm_engine *engine)
{
    struct watch *watch = context;
    struct emu_counts now;
    struct cm_engine_counters counters;
    emu_count(&now);
    cm_engine_counters(engine, &counters);
    if (step >= watch->warm_up) {
        assert_int_equal(now.allocations, watch->before.allocations);
        assert_int_equal(now.frees, watch->before.frees);
        assert_int_equal(now.waits, watch->before.waits);
        assert_int_equal(now.event_waits - watch->before.event_waits,
                         counters.steps - watch->steps_before);
        watch->watched++;
    }
    watch->before = now;
    watch->steps_before = counters.steps;
}

static void a_step_allocates_nothing_and_waits_once(void **state)
{
    (void)state;
    static struct texts texts;
    for (uint32_t waves = 1; waves <= 2; waves++) {
        struct job job = plain_job;
        struct watch watch = { .warm_up = 2 * waves };
        job.requests_count = 20;
        job.waves = waves;
        job.eager = false;
        run_job(&job, &texts, assert_modest, &watch);
        assert_true(watch.watched >= 4);
    }
}

/* Once its size of step is recorded, a step of decoding is one launch. */
static void steps_of_decoding_are_replayed(void **state)
{
    (void)state;
    static struct texts texts;
    struct job job = {
        .device = "cuda:0", .requests_count = 24, .output_tokens = 6, .waves = 2, .seed = "5"
    };
    run_job(&job, &texts, NULL, NULL);
    assert_true(texts.recordings >= 2);
    assert_true(texts.graph_launches > texts.recordings);
}

/* The same of beam searches, some of which draw, where there is nothing else. */
static void beam_searches_are_replayed(void **state)
{
    (void)state;
    static struct texts eager;
    static struct texts texts;
    struct job job = {
        .device = "cuda:0", .requests_count = 9, .output_tokens = 6, .waves = 2, .seed = "6"
    };
    job.only_beams = true;
    job.eager = true;
    run_job(&job, &eager, NULL, NULL);
    job.eager = false;
    run_job(&job, &texts, NULL, NULL);
    assert_same_texts(&texts, &eager);
    assert_int_equal(eager.recordings, 0);
    assert_true(texts.graph_launches > texts.recordings);
}

/* --- A page that is given back while it is in use --- */

static struct cm_kv_pages *engine_pages;
static uint32_t plans_until_loss; /* 0: nothing is lost */

enum cm_status __real_cm_kv_pages_open(uint32_t pages_count, struct cm_kv_pages **pages);
enum cm_status __wrap_cm_kv_pages_open(uint32_t pages_count, struct cm_kv_pages **pages);
enum cm_status __real_cm_scheduler_plan(struct cm_scheduler *scheduler, uint32_t wave,
                                        struct cm_step_work *work);
enum cm_status __wrap_cm_scheduler_plan(struct cm_scheduler *scheduler, uint32_t wave,
                                        struct cm_step_work *work);

enum cm_status __wrap_cm_kv_pages_open(uint32_t pages_count, struct cm_kv_pages **pages)
{
    enum cm_status status = __real_cm_kv_pages_open(pages_count, pages);
    engine_pages = *pages;
    return status;
}

enum cm_status __wrap_cm_scheduler_plan(struct cm_scheduler *scheduler, uint32_t wave,
                                        struct cm_step_work *work)
{
    enum cm_status status = __real_cm_scheduler_plan(scheduler, wave, work);
    if (plans_until_loss > 0 && --plans_until_loss == 0) {
        int32_t page = work->rows[0].pages[0];
        cm_kv_pages_give_back(engine_pages, page);
        assert_int_equal(cm_kv_pages_take(engine_pages), page); /* for somebody else */
    }
    return status;
}

/* Nobody writes into the page: what stood there would still do. */
static void a_page_given_back_too_early_shows(void **state)
{
    (void)state;
    static struct texts texts;
    plans_until_loss = 2;
    run_job(&plain_job, &texts, NULL, NULL);
    assert_int_equal(plans_until_loss, 0);
    assert_memory_not_equal(texts.tokens, expected.tokens, sizeof texts.tokens);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waves_and_recordings_write_the_same),
        cmocka_unit_test(devices_write_the_same),
        cmocka_unit_test(a_lost_device_changes_no_text),
        cmocka_unit_test(ranks_make_room_before_any_of_them_begins),
        cmocka_unit_test(a_rank_without_room_gives_its_group_up),
        cmocka_unit_test(a_step_allocates_nothing_and_waits_once),
        cmocka_unit_test(a_page_given_back_too_early_shows),
        cmocka_unit_test(steps_of_decoding_are_replayed),
        cmocka_unit_test(beam_searches_are_replayed),
    };
#if defined(TEST_FEW)
    const char *filter = "?a*"; /* waves, ranks */
#else
    const char *filter = NULL;
#endif
    cmocka_set_test_filter(argc > 1 ? argv[1] : filter);
    return cmocka_run_group_tests(tests, make_reference, NULL);
}
