#include "jobs/bench.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct cm_engine_info INFO = {
    .variant = "cpu-avx512vnni-int8",
    .threads = 2,
    .batch = 32,
    .multiply_adds_per_token = 1e8,
    .head_multiply_adds_per_token = 2.5e7,
};
static const struct cm_engine_limits LIMITS = {
    .int8_gops = 800, .bf16_gflops = 400, .fp32_gflops = 200, .fp8_gflops = 700, .bandwidth_gbs = 30
};
static const struct cm_bench_pass PASS = {
    .copies_count = 32,
    .wall_s = 4,
    .work = { .computed_tokens = 5000,
              .prefill_tokens = 4000,
              .decode_tokens = 1000,
              .shared_tokens = 2000,
              .prompt_tokens = 6000,
              .output_tokens = 1024,
              .prefill_s = 2.5,
              .decode_s = 1.25 },
};

static void figures_follow_from_the_counters(void **state)
{
    (void)state;
    struct cm_bench_report report;
    cm_bench_report(&PASS, &INFO, &LIMITS, &report);
    assert_true(report.copies_per_s == 8);
    assert_true(report.prefill_tokens_per_s == 1600);
    assert_true(report.decode_tokens_per_s == 800);
    assert_true(report.output_tokens_per_s == 256);
    assert_true(report.cached_tokens == 2000);
    assert_string_equal(report.precision, "int8");
    assert_true(report.machine_limit_gops == 800);
    /* 2 x (5000 x 1e8 + 1024 x 2.5e7) operations in 4 s of 800e9 each */
    double expected = 2 * (5000 * 1e8 + 1024 * 2.5e7) / (4 * 800e9);
    assert_true(report.fraction_of_limit > expected * 0.999999);
    assert_true(report.fraction_of_limit < expected * 1.000001);
    assert_true(report.peak_rss_mib > 1);
}

static void the_limit_is_that_of_the_precision(void **state)
{
    (void)state;
    struct cm_bench_report report;
    struct cm_engine_info info = INFO;
    snprintf(info.variant, sizeof info.variant, "cpu-avx512bf16-bf16");
    cm_bench_report(&PASS, &info, &LIMITS, &report);
    assert_true(report.machine_limit_gops == 400);
    snprintf(info.variant, sizeof info.variant, "cpu-avx2-exact");
    cm_bench_report(&PASS, &info, &LIMITS, &report);
    assert_true(report.machine_limit_gops == 200);
    /* On CUDA integers are multiplied as bfloat16; keys and values count for nothing. */
    static const struct {
        const char *variant;
        const char *precision;
        double limit;
    } cases[] = { { "cpu-avx2-int8-kv8", "int8", 800 },
                  { "cpu-avx512bf16-bf16-kv8-tp2", "bf16", 400 },
                  { "cuda-sm90-blas130100-int8", "int8", 400 },
                  { "cuda-sm90-blas130100-fp16-tp2", "fp16", 400 },
                  { "cuda-sm90-blas130100-fp8-tp16", "fp8", 700 },
                  { "cuda-sm80-blas130100-exact", "exact", 200 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_bench_report other;
        snprintf(info.variant, sizeof info.variant, "%s", cases[i].variant);
        cm_bench_report(&PASS, &info, &LIMITS, &other);
        assert_string_equal(other.precision, cases[i].precision);
        assert_true(other.machine_limit_gops == cases[i].limit);
    }
    struct cm_bench_pass nothing = { 0 };
    cm_bench_report(&nothing, &info, &LIMITS, &report);
    assert_true(report.fraction_of_limit == 0 && report.copies_per_s == 0);
}

static void json_has_the_keys_of_the_contract_in_order(void **state)
{
    (void)state;
    static const char *const KEYS[] = {
        "copies_per_s",
        "wall_s",
        "prompt_tokens",
        "prefill_tokens",
        "cached_tokens",
        "output_tokens",
        "prefill_tokens_per_s",
        "decode_tokens_per_s",
        "output_tokens_per_s",
        "peak_rss_mib",
        "device",
        "threads",
        "precision",
        "batch",
        "machine_limit_gops",
        "machine_bandwidth_gbs",
        "fraction_of_limit",
    };
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    struct cm_bench_report report;
    cm_bench_report(&PASS, &INFO, &LIMITS, &report);
    assert_int_equal(cm_bench_print_json(stream, &report), CM_OK);
    fclose(stream);
    assert_int_equal(strcspn(text, "\n"), bytes - 1);
    json_t *object = json_loads(text, 0, NULL);
    assert_non_null(object);
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        assert_in_range(count, 0, sizeof KEYS / sizeof KEYS[0] - 1);
        assert_string_equal(key, KEYS[count++]);
    }
    assert_int_equal(count, sizeof KEYS / sizeof KEYS[0]);
    assert_int_equal(json_integer_value(json_object_get(object, "threads")), 2);
    json_decref(object);
    free(text); /* of open_memstream */
}

static void the_median_pass_is_reported_whole(void **state)
{
    (void)state;
    struct cm_bench_pass passes[] = {
        { .wall_s = 3, .copies_count = 30 },
        { .wall_s = 1, .copies_count = 10 },
        { .wall_s = 2, .copies_count = 20 },
        { .wall_s = 9, .copies_count = 90 },
    };
    assert_int_equal(cm_bench_median(passes, 3)->copies_count, 20);
    assert_int_equal(cm_bench_median(passes, 4)->copies_count, 20);
    assert_int_equal(cm_bench_median(passes, 1)->copies_count, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_follow_from_the_counters),
        cmocka_unit_test(the_limit_is_that_of_the_precision),
        cmocka_unit_test(json_has_the_keys_of_the_contract_in_order),
        cmocka_unit_test(the_median_pass_is_reported_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
