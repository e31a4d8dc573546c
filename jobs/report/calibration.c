#include "jobs/report/calibration.h"

#include <stdlib.h>

static int from_best(const void *a, const void *b)
{
    double left = ((const struct cm_calibration_case *)a)->score;
    double right = ((const struct cm_calibration_case *)b)->score;
    return (left < right) - (left > right);
}

static void measure_agreement(const struct cm_calibration_case *cases, size_t count,
                              struct cm_calibration *result)
{
    size_t same = 0;
    size_t ok = 0;
    for (size_t i = 0; i < count; i++) {
        same += cases[i].is_ok == cases[i].is_accepted;
        ok += cases[i].is_ok;
    }
    double all = (double)count;
    double yes = (double)ok / all * (double)result->accepted / all;
    double no = (double)(count - ok) / all * (double)(count - result->accepted) / all;
    result->agreement = (double)same / all;
    result->kappa = yes + no < 1 ? (result->agreement - yes - no) / (1 - yes - no) : 0;
}

static void add_point(struct cm_calibration *result, double false_share, double true_share)
{
    result->false_shares[result->points] = false_share;
    result->true_shares[result->points++] = true_share;
}

/* Goes down through the scores, equal ones at once. */
static void draw_curve(const struct cm_calibration_case *cases, size_t count,
                       struct cm_calibration *result)
{
    double accepted = (double)result->accepted;
    double others = (double)(count - result->accepted);
    double true_share = 0;
    double false_share = 0;
    double best = -1;
    double shown = 0;
    add_point(result, 0, 0);
    for (size_t begin = 0; begin < count;) {
        size_t end = begin;
        double hits = 0;
        while (end < count && cases[end].score == cases[begin].score) {
            hits += cases[end++].is_accepted;
        }
        double higher = true_share + hits / accepted;
        double wider = false_share + ((double)(end - begin) - hits) / others;
        result->area += (wider - false_share) * (true_share + higher) / 2;
        true_share = higher;
        false_share = wider;
        if (true_share - false_share > best) {
            best = true_share - false_share;
            result->threshold = cases[begin].score;
            result->kept = true_share;
            result->caught = 1 - false_share;
        }
        double share = (double)end / (double)count;
        if (end == count || share - shown >= 1.0 / CM_CALIBRATION_POINTS) {
            add_point(result, false_share, true_share);
            shown = share;
        }
        begin = end;
    }
}

bool cm_calibrate(struct cm_calibration_case *cases, size_t count, struct cm_calibration *result)
{
    *result = (struct cm_calibration){ .cases = count };
    for (size_t i = 0; i < count; i++) {
        result->accepted += cases[i].is_accepted;
    }
    if (count < CM_CALIBRATION_CASES_MIN || result->accepted == 0 || result->accepted == count) {
        return false;
    }
    qsort(cases, count, sizeof *cases, from_best);
    measure_agreement(cases, count, result);
    draw_curve(cases, count, result);
    return true;
}
