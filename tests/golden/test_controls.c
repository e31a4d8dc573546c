/* Every decoding control through the whole engine, on a random model that would write anything: the
 * texts hold what the controls promise, and the same bytes in any batch. */
#include "base/memory.h"
#include "host/engine.h"
#include "jobs/ban_list.h"
#include "jobs/fact_lock.h"
#include "jobs/numbers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { REQUESTS_COUNT = 48, OUTPUT_TOKENS = 40, PROMPT_TOKENS = 30, TEXT_BYTES_MAX = 2048 };

static const char *const facts[] = { "350 ml for 24.90, 62%" };
static const char *const stops[] = { "un", "'" };
static const char bans[] = "the\nin\ng\n最\n\"\nS\n";

struct job {
    struct cm_engine *engine;
    struct cm_token_subset *number_tokens;
    struct cm_token_subset *ban_tokens;
    struct cm_ban_list *ban_list;
    struct cm_constraint *lock;
    struct cm_constraint *ban;
    uint32_t no_repeat_ngram;
    bool with_stops;
    uint32_t closing_tokens;
};

struct texts {
    int32_t tokens[REQUESTS_COUNT][OUTPUT_TOKENS];
    uint32_t tokens_count[REQUESTS_COUNT];
    enum cm_finish_reason reasons[REQUESTS_COUNT];
};

static void make_prompt(uint32_t index, int32_t prompt[PROMPT_TOKENS])
{
    for (uint32_t i = 0; i < PROMPT_TOKENS; i++) {
        prompt[i] = (int32_t)(3 + (i < 20 ? i * 11 : index * 37 + i * 5) % 590);
    }
}

static void open_job(struct job *job, uint32_t batch)
{
    const struct cm_engine_options options = {
        .model_path = TEST_DATA_DIR "/golden/tiny/llama",
        .precision = CM_ENGINE_EXACT,
        .threads = 1,
        .batch = batch,
        .context_tokens = 128,
    };
    struct cm_automaton automaton;
    *job = (struct job){ 0 };
    assert_int_equal(cm_engine_open(&options, &job->engine, NULL), CM_OK);
    const struct cm_tokenizer *tokenizer = cm_engine_tokenizer(job->engine);

    assert_int_equal(cm_fact_lock_compile(facts, 1, false, &automaton), CM_OK);
    assert_int_equal(cm_fact_lock_tokens(tokenizer, &job->number_tokens), CM_OK);
    assert_int_equal(
        cm_constraint_open(&automaton, job->number_tokens, cm_fact_lock_free, &job->lock), CM_OK);

    assert_int_equal(cm_ban_list_parse(cm_span_of(bans), "bans", &job->ban_list, NULL), CM_OK);
    automaton = cm_ban_list_automaton(job->ban_list);
    assert_int_equal(cm_token_subset_open(tokenizer, automaton.relevant, NULL, &job->ban_tokens),
                     CM_OK);
    assert_int_equal(cm_constraint_open(&automaton, job->ban_tokens, NULL, &job->ban), CM_OK);
}

static void close_job(struct job *job)
{
    cm_engine_close(job->engine);
    cm_constraint_release(job->lock);
    cm_constraint_release(job->ban);
    cm_token_subset_close(job->number_tokens);
    cm_token_subset_close(job->ban_tokens);
    cm_ban_list_close(job->ban_list);
}

static enum cm_status submit(const struct job *job, uint32_t index)
{
    int32_t prompt[PROMPT_TOKENS];
    make_prompt(index, prompt);
    struct cm_request request = {
        .id = index,
        .prompt = prompt,
        .prompt_tokens = PROMPT_TOKENS,
        .output_tokens_max = OUTPUT_TOKENS,
        .seed = { index, 5 },
        .sampling = { .temperature = 1.4f,
                      .top_p = 1.0f,
                      .repetition_penalty = 1.0f,
                      .no_repeat_ngram = job->no_repeat_ngram },
        .constraints = { job->ban, job->lock },
        .stop_strings = stops,
        .stop_strings_count = job->with_stops ? 2 : 0,
        .closing_tokens = job->closing_tokens,
    };
    return cm_engine_submit(job->engine, &request, NULL);
}

static void run(const struct job *job, struct texts *texts)
{
    uint32_t submitted = 0;
    uint32_t released = 0;
    memset(texts, 0, sizeof *texts);
    while (released < REQUESTS_COUNT) {
        while (submitted < REQUESTS_COUNT && submit(job, submitted) == CM_OK) {
            submitted++;
        }
        assert_int_equal(cm_engine_step(job->engine, NULL), CM_OK);
        struct cm_result result;
        while (cm_engine_finished(job->engine, &result) == CM_OK) {
            memcpy(texts->tokens[result.id], result.output,
                   result.output_tokens * sizeof *result.output);
            texts->tokens_count[result.id] = result.output_tokens;
            texts->reasons[result.id] = result.finish_reason;
            cm_engine_release(job->engine, result.id);
            released++;
        }
    }
}

static void decode(const struct job *job, const struct texts *texts, uint32_t index,
                   struct cm_text *text)
{
    cm_text_clear(text);
    assert_int_equal(cm_tokenizer_decode(cm_engine_tokenizer(job->engine), texts->tokens[index],
                                         texts->tokens_count[index], text),
                     CM_OK);
}

static uint32_t count_unsupported(const struct job *job, const struct texts *texts,
                                  uint32_t *with_numbers_count)
{
    struct cm_numbers numbers = { 0 };
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    uint32_t unsupported_count = 0;
    *with_numbers_count = 0;
    assert_int_equal(cm_numbers_add(&numbers, cm_span_of(facts[0])), CM_OK);
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        size_t at = 0;
        struct cm_span missing;
        decode(job, texts, i, &text);
        unsupported_count += cm_numbers_next_missing(&numbers, cm_text_span(&text), &at, &missing);
        *with_numbers_count += strpbrk(cm_text_string(&text), "0123456789") != NULL;
    }
    cm_text_deinit(&text);
    cm_numbers_deinit(&numbers);
    return unsupported_count;
}

static uint32_t count_banned(const struct job *job, const struct texts *texts)
{
    struct cm_automaton automaton = cm_ban_list_automaton(job->ban_list);
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    uint32_t banned_count = 0;
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        uint32_t state = automaton.start;
        decode(job, texts, i, &text);
        for (size_t j = 0; j < text.length && state != CM_AUTOMATON_DEAD; j++) {
            state = automaton.next(automaton.context, state, (uint8_t)text.data[j]);
        }
        banned_count += state == CM_AUTOMATON_DEAD;
    }
    cm_text_deinit(&text);
    return banned_count;
}

static uint32_t count_repeated(const struct texts *texts, uint32_t n)
{
    uint32_t repeated_count = 0;
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        int32_t all[PROMPT_TOKENS + OUTPUT_TOKENS];
        uint32_t count = PROMPT_TOKENS + texts->tokens_count[i];
        make_prompt(i, all);
        memcpy(all + PROMPT_TOKENS, texts->tokens[i], texts->tokens_count[i] * sizeof *all);
        bool repeated = false;
        for (uint32_t last = PROMPT_TOKENS; last < count;
             last++) { /* n-grams that end in the output */
            for (uint32_t other = n - 1; other < last; other++) {
                repeated = repeated ||
                           memcmp(all + other - n + 1, all + last - n + 1, n * sizeof *all) == 0;
            }
        }
        repeated_count += repeated;
    }
    return repeated_count;
}

/* Without controls the model breaks every rule; with them none, in any batch. */
static void controls_hold_in_any_batch(void **state)
{
    (void)state;
    static struct texts free_texts;
    static struct texts expected;
    static struct texts texts;
    struct job job;
    uint32_t with_numbers_count;
    open_job(&job, 64);
    struct cm_constraint *lock = job.lock;
    struct cm_constraint *ban = job.ban;
    job.lock = NULL;
    job.ban = NULL;
    run(&job, &free_texts);
    assert_true(count_unsupported(&job, &free_texts, &with_numbers_count) > REQUESTS_COUNT / 4);
    assert_true(count_banned(&job, &free_texts) > REQUESTS_COUNT / 4);
    job.no_repeat_ngram = 1;
    run(&job, &texts);
    assert_int_equal(count_repeated(&texts, 1), 0);
    job.no_repeat_ngram = 2;
    job.ban = ban;
    job.lock = lock;
    run(&job, &expected);
    assert_int_equal(count_unsupported(&job, &expected, &with_numbers_count), 0);
    print_message("%u of %d texts use a number of the facts\n", with_numbers_count, REQUESTS_COUNT);
    assert_true(with_numbers_count > 0);
    assert_int_equal(count_banned(&job, &expected), 0);
    close_job(&job);
    for (uint32_t batch = 1; batch <= 7; batch += 6) {
        open_job(&job, batch);
        job.no_repeat_ngram = 2;
        run(&job, &texts);
        assert_memory_equal(&texts, &expected, sizeof texts);
        close_job(&job);
    }
}

static void texts_end_at_stops_and_sentences(void **state)
{
    (void)state;
    static struct texts texts;
    struct job job;
    struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
    uint32_t stopped_count = 0;
    uint32_t closed_count = 0;
    open_job(&job, 16);
    job.with_stops = true;
    job.closing_tokens = OUTPUT_TOKENS / 2;
    run(&job, &texts);
    for (uint32_t i = 0; i < REQUESTS_COUNT; i++) {
        decode(&job, &texts, i, &text);
        const char *stop = strstr(cm_text_string(&text), stops[0]);
        const char *quote = strstr(cm_text_string(&text), stops[1]);
        if (texts.tokens_count[i] == 0) {
            continue;
        }
        struct cm_span last = cm_tokenizer_token_bytes(cm_engine_tokenizer(job.engine),
                                                       texts.tokens[i][texts.tokens_count[i] - 1]);
        if (stop != NULL || quote != NULL) {
            /* It is completed by the very last token. */
            size_t begin = text.length - last.length;
            assert_true(stop == NULL || (size_t)(stop - text.data) + 2 > begin);
            assert_true(quote == NULL || (size_t)(quote - text.data) + 1 > begin);
            assert_int_equal(texts.reasons[i], CM_FINISH_STOP);
            stopped_count++;
        } else if (texts.reasons[i] == CM_FINISH_STOP &&
                   strchr(".!?", text.data[text.length - 1]) != NULL) {
            closed_count++;
        }
    }
    print_message("%u texts ended at a stop string, %u at a sentence\n", stopped_count,
                  closed_count);
    assert_true(stopped_count > 0 && closed_count > 0);
    cm_text_deinit(&text);
    close_job(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_hold_in_any_batch),
        cmocka_unit_test(texts_end_at_stops_and_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
