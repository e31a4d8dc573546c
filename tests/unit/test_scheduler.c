/* The scheduler, the prefix tree and the step plan without a model: a shadow of the KV pool records
 * which token each slot of each page holds, and every row of every step is checked against it.
 * Random prompts with shared beginnings, small pools, retries. */
#include "base/memory.h"
#include "host/philox.h"
#include "host/scheduler.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum {
    N_VOCAB = 1000,
    REQUESTS_MAX = 200,
    PROMPT_MAX = 120,
    OUTPUT_MAX = 24,
    PAGES_MAX = 2000,
    BEAMS_MAX = 5,
    CANDIDATES = 2 * BEAMS_MAX,
};

struct shadow {
    uint32_t draw;
    uint64_t seed[2];
    int32_t slots[PAGES_MAX][CM_PAGE_TOKENS]; /* token in the slot, -1: undefined */
    int32_t prompts[REQUESTS_MAX][PROMPT_MAX];
    uint32_t prompt_tokens[REQUESTS_MAX];
    uint32_t finished[REQUESTS_MAX];
    uint64_t prefill_rows;
    uint32_t discarded; /* pages */
    uint32_t overlaps;  /* steps planned while another was in flight */
};

static uint32_t random_below(struct shadow *shadow, uint32_t limit)
{
    return (uint32_t)(cm_philox_uniform(shadow->seed, 0, shadow->draw++) * (float)limit);
}

/* The token that a "model" gives after a history: a pure function of the row. */
static int32_t next_token(const struct cm_sequence *sequence)
{
    return (int32_t)((sequence->request.id * 31 + sequence->branches[0].output_tokens * 7 +
                      sequence->request.attempt * 13) %
                     N_VOCAB);
}

/* Every fourth request is a beam search, as far as the batch lets it. */
static uint32_t beams_of(uint64_t id, uint32_t batch)
{
    uint32_t beams = id % 4 == 1 ? 2 + (uint32_t)(id / 4 % (BEAMS_MAX - 1)) : 0;
    return beams <= batch ? beams : 0;
}

/* How a "model" lets a text of beam search go on: a pure function of the row and of its last token,
 * best first and never with the same score. */
static void fill_candidates(uint64_t id, uint32_t attempt, uint32_t output_tokens, int32_t last,
                            int32_t tokens[CANDIDATES], float scores[CANDIDATES])
{
    uint32_t mixed = (uint32_t)(id * 7919 + attempt * 104729) + output_tokens * 31 + (uint32_t)last;
    float score = 0;
    for (uint32_t i = 0; i < CANDIDATES; i++) {
        mixed = mixed * 1664525u + 1013904223u;
        score -= 1e-3f + (float)(mixed >> 8) * 0x1p-24f;
        tokens[i] = (int32_t)((uint32_t)last * 3 + mixed % 7 + i * 11) % N_VOCAB;
        scores[i] = score;
    }
}

struct beam {
    int32_t tokens[OUTPUT_MAX + 1];
    double score;
};

/* Plain beam search over whole texts, the best first. */
static void search_plainly(uint64_t id, uint32_t attempt, uint32_t beams, uint32_t length,
                           struct beam *best)
{
    static struct beam grown[BEAMS_MAX * CANDIDATES];
    uint32_t count = 1;
    memset(best, 0, BEAMS_MAX * sizeof *best);
    for (uint32_t n = 0; n < length; n++) {
        uint32_t grown_count = 0;
        for (uint32_t b = 0; b < count; b++) {
            int32_t tokens[CANDIDATES];
            float scores[CANDIDATES];
            int32_t last = n > 0 ? best[b].tokens[n - 1] : 0;
            fill_candidates(id, attempt, n, last, tokens, scores);
            for (uint32_t i = 0; i < CANDIDATES; i++) {
                struct beam longer = best[b];
                longer.tokens[n] = tokens[i];
                longer.score += (double)scores[i];
                uint32_t place = grown_count++;
                for (; place > 0 && grown[place - 1].score < longer.score; place--) {
                    grown[place] = grown[place - 1];
                }
                grown[place] = longer;
            }
        }
        count = beams;
        memcpy(best, grown, beams * sizeof *best);
    }
}

/* A template, items and segments: prompts that share a few beginnings and end anywhere in a page.
 */
static void make_prompts(struct shadow *shadow, uint32_t count, uint32_t segments_count)
{
    uint32_t template_tokens = 5 + random_below(shadow, 40);
    uint32_t item_tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % segments_count == 0) {
            item_tokens = 1 + random_below(shadow, 40);
        }
        uint32_t segment_tokens = random_below(shadow, 30);
        uint32_t total = 0;
        for (uint32_t j = 0; j < template_tokens; j++) {
            shadow->prompts[i][total++] = (int32_t)j;
        }
        for (uint32_t j = 0; j < item_tokens; j++) {
            shadow->prompts[i][total++] = (int32_t)(100 + i / segments_count % 7 + j);
        }
        for (uint32_t j = 0; j < segment_tokens; j++) {
            shadow->prompts[i][total++] = (int32_t)(500 + (j < 3 ? 0 : i % segments_count) + j);
        }
        shadow->prompt_tokens[i] = total;
    }
}

/* Whoever reads a discarded page finds no token. */
static void run_discards(struct shadow *shadow, const struct cm_step_work *work)
{
    for (uint32_t i = 0; i < work->discarded_count; i++) {
        memset(shadow->slots[work->discarded[i]], 0xff, sizeof shadow->slots[0]);
        shadow->discarded++;
    }
}

static void run_copies(struct shadow *shadow, const struct cm_step_work *work)
{
    for (uint32_t i = 0; i < work->copies_count; i++) {
        const struct cm_page_copy *copy = &work->copies[i];
        assert_int_not_equal(copy->from, copy->to);
        for (uint32_t j = 0; j < copy->tokens; j++) {
            assert_int_not_equal(shadow->slots[copy->from][j], -1);
            shadow->slots[copy->to][j] = shadow->slots[copy->from][j];
        }
    }
}

/* Each row sees exactly its own history through its page table. */
static void check_rows(struct shadow *shadow, const struct cm_step_work *work)
{
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        const struct cm_step_sequence *rows = &work->rows[i];
        for (uint32_t j = 0; j < rows->rows_count; j++) {
            uint32_t position = rows->first_position + j;
            int32_t *slot =
                &shadow->slots[rows->pages[position / CM_PAGE_TOKENS]][position % CM_PAGE_TOKENS];
            *slot = rows->tokens[j];
        }
    }
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        const struct cm_step_sequence *rows = &work->rows[i];
        const struct cm_sequence *sequence = work->sequences[i];
        uint32_t end = rows->first_position + rows->rows_count;
        for (uint32_t position = 0; position < end; position++) {
            uint32_t prompt_tokens = sequence->request.prompt_tokens;
            const int32_t *output = sequence->branches[work->branches[i]].output;
            int32_t wanted = position < prompt_tokens ? sequence->prompt[position]
                                                      : output[position - prompt_tokens];
            int32_t page = rows->pages[position / CM_PAGE_TOKENS];
            assert_in_range(page, 0, PAGES_MAX - 1);
            assert_int_equal(shadow->slots[page][position % CM_PAGE_TOKENS], wanted);
        }
    }
}

/* Pages that the same rows visit follow one another. */
static void check_order(const struct cm_step_plan *plan, const struct cm_attention_chunk *chunk)
{
    for (int32_t v = chunk->visit_begin; v < chunk->visit_end; v++) {
        for (int32_t w = v + 2; w < chunk->visit_end; w++) {
            const struct cm_visit *visit = &plan->host.visits[v];
            const struct cm_visit *other = &plan->host.visits[w];
            assert_false(visit->row_begin == other->row_begin && visit->row_end == other->row_end &&
                         visit->first_position + CM_PAGE_TOKENS == other->first_position);
        }
    }
}

/* The plan's visits show each row every position up to its own exactly once, in rising order. */
static void check_plan(const struct cm_step_plan *plan)
{
    for (uint32_t c = 0; c < plan->n_chunks; c++) {
        const struct cm_attention_chunk *chunk = &plan->host.chunks[c];
        assert_int_equal(chunk->row_begin, c == 0 ? 0 : plan->host.chunks[c - 1].row_end);
        for (int32_t row = chunk->row_begin; row < chunk->row_end; row++) {
            int32_t next_position = 0;
            for (int32_t v = chunk->visit_begin; v < chunk->visit_end; v++) {
                const struct cm_visit *visit = &plan->host.visits[v];
                assert_true(visit->row_begin >= chunk->row_begin &&
                            visit->row_end <= chunk->row_end);
                if (row >= visit->row_begin && row < visit->row_end) {
                    assert_int_equal(visit->first_position, next_position);
                    next_position += CM_PAGE_TOKENS;
                }
            }
            assert_int_equal(next_position,
                             (plan->host.positions[row] / CM_PAGE_TOKENS + 1) * CM_PAGE_TOKENS);
        }
        check_order(plan, chunk);
    }
    assert_int_equal(plan->host.chunks[plan->n_chunks - 1].row_end, plan->n_rows);
}

/* The device's part: it runs steps in the order in which they are planned. */
static void run_step(struct shadow *shadow, struct cm_step_plan *plan, struct cm_step_work *work)
{
    run_discards(shadow, work);
    run_copies(shadow, work);
    if (work->sequences_count > 0) {
        check_rows(shadow, work);
        cm_step_plan_build(plan, work->rows, work->sequences_count);
        check_plan(plan);
        shadow->prefill_rows += work->prefill_rows;
    }
}

/* The host's part of a step that has run. */
static void complete_step(struct cm_scheduler *scheduler, const struct cm_step_work *work)
{
    static int32_t tokens[REQUESTS_MAX];
    static float logprobs[REQUESTS_MAX];
    static int32_t candidates[REQUESTS_MAX * CANDIDATES];
    static float scores[REQUESTS_MAX * CANDIDATES];
    static float log_masses[REQUESTS_MAX];
    static uint32_t places[REQUESTS_MAX];
    const struct cm_step_samples samples = {
        .places = places,
        .tokens = tokens,
        .logprobs = logprobs,
        .candidates_max = CANDIDATES,
        .candidate_tokens = candidates,
        .candidate_scores = scores,
        .candidate_logprobs = scores,
        .log_masses = log_masses,
    };
    for (uint32_t i = 0; i < work->sequences_count; i++) {
        const struct cm_sequence *sequence = work->sequences[i];
        const struct cm_branch *branch = &sequence->branches[work->branches[i]];
        uint32_t length = branch->output_tokens;
        uint32_t place = work->sequences_count - 1 - i;
        places[i] = place;
        tokens[place] = next_token(sequence);
        fill_candidates(sequence->request.id, sequence->request.attempt, length,
                        length > 0 ? branch->output[length - 1] : 0,
                        candidates + place * CANDIDATES, scores + place * CANDIDATES);
    }
    cm_scheduler_complete(scheduler, work, &samples);
}

/* Takes what is finished; every fifth request is retried once. */
static void take_finished(struct shadow *shadow, struct cm_scheduler *scheduler, uint32_t batch,
                          bool retries, uint32_t *released)
{
    static struct beam best[BEAMS_MAX];
    struct cm_result result;
    while (cm_scheduler_finished(scheduler, &result) == CM_OK) {
        assert_int_equal(result.finish_reason, CM_FINISH_LENGTH);
        uint32_t attempt = shadow->finished[result.id]++;
        uint32_t beams = beams_of(result.id, batch);
        for (uint32_t i = 0; i < result.output_tokens && beams == 0; i++) {
            assert_int_equal(result.output[i], (result.id * 31 + i * 7 + attempt * 13) % N_VOCAB);
        }
        if (beams > 0) {
            search_plainly(result.id, attempt, beams, result.output_tokens, best);
        }
        for (uint32_t i = 0; i < beams; i++) {
            const struct cm_beam_text *text = cm_scheduler_beam(scheduler, result.id, i);
            assert_non_null(text);
            assert_memory_equal(text->branch.output, best[i].tokens,
                                result.output_tokens * sizeof(int32_t));
        }
        if (retries && attempt == 0 && result.id % 5 == 0) {
            struct cm_retry retry = { .attempt = 1, .sampling = CM_SAMPLING_GREEDY };
            retry.sampling.ignore_stop = true;
            retry.sampling.beams = beams;
            assert_int_equal(cm_scheduler_retry(scheduler, result.id, &retry, NULL), CM_OK);
        } else {
            cm_scheduler_release(scheduler, result.id);
            (*released)++;
        }
    }
}

struct job {
    uint32_t requests_count;
    uint32_t batch;
    uint32_t rows_max;
    uint32_t pages_count;
    uint32_t waves;
    bool retries;
};

/* Submits until the window is full. */
static void submit(struct shadow *shadow, const struct job *job, uint32_t beam_batch,
                   struct cm_scheduler *scheduler, uint32_t *submitted)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK && *submitted < job->requests_count) {
        struct cm_request request = {
            .id = *submitted,
            .unit = *submitted / 5,
            .prompt = shadow->prompts[*submitted],
            .prompt_tokens = shadow->prompt_tokens[*submitted],
            .output_tokens_max = 1 + *submitted % OUTPUT_MAX,
            .sampling = CM_SAMPLING_GREEDY,
        };
        request.sampling.ignore_stop = true;
        request.sampling.beams = beams_of(*submitted, beam_batch);
        status = cm_scheduler_submit(scheduler, &request, NULL);
        assert_true(status == CM_OK || status == CM_FULL);
        *submitted += status == CM_OK;
    }
}

static uint64_t run_job(struct shadow *shadow, const struct job *job)
{
    /* A small pool has no room for beams. */
    uint32_t beam_batch = job->pages_count < 200 ? 0 : job->batch;
    struct cm_backend *backend = NULL;
    struct cm_kv_pages *pages = NULL;
    struct cm_scheduler *scheduler = NULL;
    struct cm_step_plan *plan = NULL;
    const struct cm_scheduler_options options = { .batch = job->batch,
                                                  .rows_max = job->rows_max,
                                                  .waves = job->waves,
                                                  .n_vocab = N_VOCAB,
                                                  .context_tokens = 512 };
    const struct cm_backend_options on_cpu = { .threads = 1, .rows_max = job->rows_max };
    assert_int_equal(cm_backend_open(&on_cpu, &backend, NULL), CM_OK);
    assert_int_equal(cm_kv_pages_open(job->pages_count, &pages), CM_OK);
    assert_int_equal(cm_scheduler_open(&options, pages, &scheduler), CM_OK);
    assert_int_equal(cm_step_plan_open(backend, job->rows_max, job->batch, 512, &plan), CM_OK);
    memset(shadow->slots, 0xff, sizeof shadow->slots);
    memset(shadow->finished, 0, sizeof shadow->finished);
    shadow->prefill_rows = 0;
    shadow->overlaps = 0;
    shadow->discarded = 0;

    struct cm_step_work works[CM_WAVES_MAX] = { 0 };
    bool in_flight[CM_WAVES_MAX] = { false };
    uint32_t submitted = 0;
    uint32_t released = 0;
    uint32_t idle = 0; /* waves that had nothing to do, one after the other */
    for (uint32_t wave = 0; released < job->requests_count; wave = (wave + 1) % job->waves) {
        submit(shadow, job, beam_batch, scheduler, &submitted);
        if (in_flight[wave]) {
            complete_step(scheduler, &works[wave]);
            in_flight[wave] = false;
            idle = 0;
            take_finished(shadow, scheduler, beam_batch, job->retries, &released);
        }
        enum cm_status status = cm_scheduler_plan(scheduler, wave, &works[wave]);
        assert_int_equal(status, released < job->requests_count ? CM_OK : CM_END);
        run_step(shadow, plan, &works[wave]);
        in_flight[wave] = works[wave].sequences_count > 0;
        assert_in_range(works[wave].prefill_rows + works[wave].decode_rows, 0, job->rows_max);
        idle = in_flight[wave] ? 0 : idle + 1;
        assert_true(idle < job->waves || released == job->requests_count);
        shadow->overlaps += in_flight[0] && in_flight[CM_WAVES_MAX - 1];
    }
    cm_scheduler_close(scheduler);
    assert_int_equal(cm_kv_pages_free_count(pages), job->pages_count);
    cm_kv_pages_close(pages);
    cm_step_plan_close(plan);
    cm_backend_close(backend);
    return shadow->prefill_rows;
}

/* Distinct tokens of the tree of all prompts, plus the last token of each prompt that another has
 * too. */
static uint64_t distinct_tokens(const struct shadow *shadow, uint32_t count)
{
    uint64_t distinct = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t longest = 0;
        for (uint32_t j = 0; j < i; j++) {
            uint32_t common = 0;
            while (common < shadow->prompt_tokens[i] && common < shadow->prompt_tokens[j] &&
                   shadow->prompts[i][common] == shadow->prompts[j][common]) {
                common++;
            }
            longest = common > longest ? common : longest;
        }
        uint32_t fresh = shadow->prompt_tokens[i] - longest;
        distinct += fresh > 0 ? fresh : 1;
    }
    return distinct;
}

static void rows_see_their_own_history(void **state)
{
    (void)state;
    struct shadow *shadow = cm_alloc(1, sizeof *shadow);
    const uint32_t batches[] = { 1, 3, 16, 64 };
    for (uint32_t round = 0; round < 24; round++) {
        shadow->seed[0] = round + 1;
        uint32_t count = 30 + random_below(shadow, 120);
        make_prompts(shadow, count, 1 + random_below(shadow, 9));
        uint32_t batch = batches[round % 4];
        struct job job = {
            .requests_count = count,
            .batch = batch,
            .rows_max = batch + random_below(shadow, 80) + 1,
            .pages_count = round % 3 == 0 ? 12 + random_below(shadow, 20) : 1500,
            .waves = 1,
            .retries = round % 2 == 1,
        };
        run_job(shadow, &job);
        assert_int_equal(shadow->overlaps, 0);
        job.waves = 2;
        run_job(shadow, &job);
        assert_true(shadow->overlaps > 0 || batch <= 16 || round % 3 == 0);
        assert_true(shadow->discarded >= count);
    }
    cm_free(shadow);
}

static void each_distinct_token_is_computed_once(void **state)
{
    (void)state;
    struct shadow *shadow = cm_alloc(1, sizeof *shadow);
    const uint32_t batches[] = { 1, 2, 7, 64 };
    for (uint32_t round = 0; round < 8; round++) {
        shadow->seed[0] = 100 + round;
        make_prompts(shadow, 64, 8);
        const struct job job = { .requests_count = 64,
                                 .batch = batches[round % 4],
                                 .rows_max = 64 + 16 * round,
                                 .pages_count = 1500,
                                 .waves = 1 + round / 4 };
        uint64_t computed = run_job(shadow, &job);
        /* With everything in the window at once nothing may be computed twice; a small window may
         * lose a part-filled page at a fork. */
        uint64_t distinct = distinct_tokens(shadow, 64);
        assert_true(computed >= distinct);
        assert_true(computed <= distinct + 64 * (CM_PAGE_TOKENS - 1));
        if (job.batch == 64) {
            assert_int_equal(computed, distinct);
        }
    }
    cm_free(shadow);
}

static void requests_that_cannot_fit_are_refused(void **state)
{
    (void)state;
    struct cm_kv_pages *pages = NULL;
    struct cm_scheduler *scheduler = NULL;
    const struct cm_scheduler_options options = {
        .batch = 2, .rows_max = 8, .n_vocab = 10, .context_tokens = 64
    };
    assert_int_equal(cm_kv_pages_open(2, &pages), CM_OK);
    assert_int_equal(cm_scheduler_open(&options, pages, &scheduler), CM_OK);
    int32_t prompt[30] = { 0 };
    struct cm_error error;
    struct cm_request request = { .prompt = prompt, .prompt_tokens = 30, .output_tokens_max = 3 };
    assert_int_equal(cm_scheduler_submit(scheduler, &request, &error), CM_LIMIT);
    assert_non_null(strstr(error.message, "1 too many for a context of 32"));
    request.output_tokens_max = 2;
    assert_int_equal(cm_scheduler_submit(scheduler, &request, &error), CM_OK);
    prompt[3] = 10;
    assert_int_equal(cm_scheduler_submit(scheduler, &request, &error), CM_INVALID_ARGUMENT);
    prompt[3] = 0;
    request.sampling.beams = 3;
    assert_int_equal(cm_scheduler_submit(scheduler, &request, &error), CM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "3 beams are over the maximum of 2"));
    request.prompt_tokens = 0;
    assert_int_equal(cm_scheduler_submit(scheduler, &request, &error), CM_INVALID_ARGUMENT);
    cm_scheduler_close(scheduler);
    cm_kv_pages_close(pages);
}

static void discarded_pages_are_told_once(void **state)
{
    (void)state;
    struct cm_kv_pages *pages = NULL;
    int32_t list[3];
    assert_int_equal(cm_kv_pages_open(3, &pages), CM_OK);
    int32_t first = cm_kv_pages_take(pages);
    int32_t second = cm_kv_pages_take(pages);
    cm_kv_pages_give_back(pages, first);
    assert_int_equal(cm_kv_pages_take(pages), first);
    cm_kv_pages_give_back(pages, first);
    cm_kv_pages_discard(pages, second); /* and kept */
    assert_int_equal(cm_kv_pages_discarded(pages, list), 2);
    assert_int_equal(list[0], first);
    assert_int_equal(list[1], second);
    assert_int_equal(cm_kv_pages_free_count(pages), 2);
    assert_int_equal(cm_kv_pages_discarded(pages, list), 0);
    cm_kv_pages_give_back(pages, second);
    assert_int_equal(cm_kv_pages_discarded(pages, list), 1);
    assert_int_equal(list[0], second);
    cm_kv_pages_close(pages);
}

static void philox_matches_known_answers(void **state)
{
    (void)state;
    /* The known-answer file of the Random123 distribution, philox4x32 with 10 rounds. */
    uint32_t out[4];
    cm_philox4x32((const uint32_t[4]){ 0, 0, 0, 0 }, (const uint32_t[2]){ 0, 0 }, out);
    assert_int_equal(out[0], 0x6627e8d5);
    assert_int_equal(out[1], 0xe169c58d);
    assert_int_equal(out[2], 0xbc57ac4c);
    assert_int_equal(out[3], 0x9b00dbd8);
    cm_philox4x32((const uint32_t[4]){ 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 },
                  (const uint32_t[2]){ 0xa4093822, 0x299f31d0 }, out);
    assert_int_equal(out[0], 0xd16cfe09);
    assert_int_equal(out[1], 0x94fdcceb);
    assert_int_equal(out[2], 0x5001e420);
    assert_int_equal(out[3], 0x24126ea1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_see_their_own_history),
        cmocka_unit_test(each_distinct_token_is_computed_once),
        cmocka_unit_test(requests_that_cannot_fit_are_refused),
        cmocka_unit_test(discarded_pages_are_told_once),
        cmocka_unit_test(philox_matches_known_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
