#include "jobs/memory_forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PAGE_TOKENS = 16, TOKEN_BYTES = 2, BATCH = 4, N_VOCAB = 1000, PAGES = 100 };

static const struct cm_engine_info model = {
    .prefill_rows = CM_PREFILL_ROWS,
    .n_vocab = N_VOCAB,
    .batch = BATCH,
    .kv_pages_count = PAGES,
    .kv_page_tokens = PAGE_TOKENS,
    .kv_token_bytes = TOKEN_BYTES,
    .tables_bytes = 1 << 20,
};

/* Pages that so many rows like this take at the fullest moment. */
static uint64_t pages_of(uint32_t beams, uint32_t rows, uint64_t prompt_tokens,
                         uint64_t shared_tokens, uint64_t output_tokens)
{
    static const int32_t prompt[2048];
    struct cm_memory_forecast *forecast = NULL;
    assert_int_equal(cm_memory_forecast_open(&model, beams, &forecast), CM_OK);
    for (uint32_t i = 0; i < rows; i++) {
        cm_memory_forecast_add(forecast, prompt, prompt_tokens, i > 0 ? shared_tokens : 0,
                               output_tokens);
    }
    uint64_t bytes = cm_memory_forecast_kv_bytes(forecast);
    assert_int_equal(bytes % (PAGE_TOKENS * TOKEN_BYTES), 0);
    cm_memory_forecast_close(forecast);
    return bytes / (PAGE_TOKENS * TOKEN_BYTES);
}

static void rows_in_work_count_what_they_do_not_share(void **state)
{
    (void)state;
    assert_int_equal(pages_of(1, 0, 32, 0, 16), 0);
    assert_int_equal(pages_of(1, 1, 32, 0, 16), 3);
    assert_int_equal(pages_of(1, 1, 33, 0, 16), 4);
    assert_int_equal(pages_of(1, 2, 32, 16, 16), 3 + 2);
    assert_int_equal(pages_of(1, 2, 32, 15, 16), 3 + 3);      /* no whole page */
    assert_int_equal(pages_of(1, 50, 32, 16, 16), 3 + 3 * 2); /* a batch, the oldest with all */
}

static void beams_share_the_whole_pages_of_their_prompt(void **state)
{
    (void)state;
    assert_int_equal(pages_of(2, 1, 40, 0, 16), 2 + 2 * 2);
    assert_int_equal(pages_of(2, 50, 40, 0, 16), 2 * (2 + 2 * 2)); /* two rows fill the batch */
}

/* Texts of one token end while the long prompts of the others are still to be computed. */
static void short_texts_do_not_wait_for_long_prompts(void **state)
{
    (void)state;
    assert_int_equal(pages_of(1, 50, 320, 0, 1), 2 * 21);
    assert_int_equal(pages_of(1, 50, 320, 0, 64), 4 * 24);
}

static void never_more_than_is_reserved(void **state)
{
    (void)state;
    assert_int_equal(pages_of(1, 50, 1600, 0, 160), PAGES);
}

static void embeddings_count_by_what_is_read(void **state)
{
    (void)state;
    const int32_t prompt[] = { 0, 1, 2, N_VOCAB - 1, 0 };
    struct cm_memory_forecast *forecast = NULL;
    assert_int_equal(cm_memory_forecast_open(&model, 1, &forecast), CM_OK);
    assert_int_equal(cm_memory_forecast_tables_bytes(forecast), 0);
    cm_memory_forecast_add(forecast, prompt, 3, 0, 1);
    uint64_t near_bytes = cm_memory_forecast_tables_bytes(forecast);
    assert_true(near_bytes > 0 && near_bytes < model.tables_bytes / 2);
    cm_memory_forecast_add(forecast, prompt, 5, 0, 1);
    assert_int_equal(cm_memory_forecast_tables_bytes(forecast), 2 * near_bytes);
    for (int32_t token = 0; token < N_VOCAB; token++) {
        cm_memory_forecast_add(forecast, &token, 1, 0, 1);
    }
    assert_int_equal(cm_memory_forecast_tables_bytes(forecast), model.tables_bytes);
    cm_memory_forecast_close(forecast);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_in_work_count_what_they_do_not_share),
        cmocka_unit_test(beams_share_the_whole_pages_of_their_prompt),
        cmocka_unit_test(short_texts_do_not_wait_for_long_prompts),
        cmocka_unit_test(never_more_than_is_reserved),
        cmocka_unit_test(embeddings_count_by_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
