/* jobs/content/variety.h and jobs/report/calibration.h against figures worked out by hand. */
#include "jobs/content/variety.h"
#include "jobs/report/calibration.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void near(double value, double expected)
{
    if (fabs(value - expected) > 1e-9) {
        fail_msg("%.12g instead of %.12g", value, expected);
    }
}

static struct cm_variety_figures measure(const char *const *texts, size_t count)
{
    struct cm_variety *variety = NULL;
    struct cm_variety_figures figures;
    assert_int_equal(cm_variety_open(&variety), CM_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(cm_variety_add(variety, cm_span_of(texts[i])), CM_OK);
    }
    assert_int_equal(cm_variety_measure(variety, &figures), CM_OK);
    cm_variety_close(variety);
    return figures;
}

static void counts_words_and_pairs(void **state)
{
    (void)state;
    /* 7 words, 4 different; 5 pairs: a bag, bag for, for you, a bag, bag for. */
    const char *const texts[] = { "A bag for you", "a BAG for" };
    struct cm_variety_figures figures = measure(texts, 2);
    near(figures.distinct_1, 4.0 / 7);
    near(figures.distinct_2, 3.0 / 5);
    figures = measure(NULL, 0);
    near(figures.distinct_1, 1);
    near(figures.self_bleu, 0);
}

static void equal_texts_are_made_of_one_another(void **state)
{
    (void)state;
    const char *const texts[] = { "red shoes for long walks in rain",
                                  "red shoes for long walks in rain",
                                  "red shoes for long walks in rain" };
    near(measure(texts, 3).self_bleu, 1);
}

static void self_bleu_is_worked_out(void **state)
{
    (void)state;
    /* Against the other, the first has 3/4 words, 2/3 pairs, 1/2 triples and no fourth (0.1/1); so
     * has the second, and their lengths are the same. */
    const char *const texts[] = { "we sell red shoes", "we sell red hats" };
    double bleu = pow(3.0 / 4 * 2.0 / 3 * 1.0 / 2 * 0.1, 0.25);
    near(measure(texts, 2).self_bleu, bleu);
    /* The shorter one pays for its length: all its 1- to 3-word phrases are in the longer. */
    const char *const others[] = { "we sell red", "we sell red hats" };
    double longer = pow(3.0 / 4 * 2.0 / 3 * 1.0 / 2 * 0.1, 0.25);
    near(measure(others, 2).self_bleu, (exp(1 - 4.0 / 3) + longer) / 2);
}

static void a_large_job_is_sampled_evenly(void **state)
{
    (void)state;
    struct cm_variety *variety = NULL;
    struct cm_variety_figures figures;
    char text[64];
    assert_int_equal(cm_variety_open(&variety), CM_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "word%d other%d", i, i);
        assert_int_equal(cm_variety_add(variety, cm_span_of(text)), CM_OK);
    }
    assert_int_equal(cm_variety_measure(variety, &figures), CM_OK);
    assert_int_equal(figures.sample, 125); /* every eighth */
    near(figures.distinct_1, 1);
    assert_true(figures.self_bleu < 0.1);
    cm_variety_close(variety);
}

static void scores_are_held_to_decisions(void **state)
{
    (void)state;
    struct cm_calibration found;
    struct cm_calibration_case cases[20];
    for (int i = 0; i < 20; i++) {
        cases[i] = (struct cm_calibration_case){ .score = i / 20.0,
                                                 .is_ok = i >= 12,
                                                 .is_accepted = i >= 10 };
    }
    assert_true(cm_calibrate(cases, 20, &found));
    near(found.area, 1);
    near(found.threshold, 0.5);
    near(found.kept, 1);
    near(found.caught, 1);
    near(found.agreement, 0.9);
    near(found.kappa, (0.9 - 0.5) / 0.5); /* by chance: 8/20 x 1/2 + 12/20 x 1/2 */
    near(found.false_shares[0], 0);
    near(found.true_shares[found.points - 1], 1);
    for (int i = 0; i < 20; i++) {
        cases[i] = (struct cm_calibration_case){ .score = 0.5, .is_accepted = i % 2 == 0 };
    }
    assert_true(cm_calibrate(cases, 20, &found));
    near(found.area, 0.5); /* a score that says nothing */
    near(found.kappa, 0);
    assert_false(cm_calibrate(cases, 19, &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_words_and_pairs),
        cmocka_unit_test(equal_texts_are_made_of_one_another),
        cmocka_unit_test(self_bleu_is_worked_out),
        cmocka_unit_test(a_large_job_is_sampled_evenly),
        cmocka_unit_test(scores_are_held_to_decisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
