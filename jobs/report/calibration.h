/* How far scores agree with what people decided, so that --min-score can be set from data.
 *
 * A text is accepted where it was approved as it was written, and not where it was rejected or
 * edited. Kappa (Cohen 1960) is the agreement of the gate (ok or flagged) with people beyond
 * chance. The ROC curve shows, for every threshold, the share of accepted texts at or above it
 * against that of the others; the area under it is the chance that an accepted text scores higher
 * than one that was not. */
#ifndef CM_JOBS_REPORT_CALIBRATION_H
#define CM_JOBS_REPORT_CALIBRATION_H

#include <stdbool.h>
#include <stddef.h>

enum { CM_CALIBRATION_POINTS = 64, CM_CALIBRATION_CASES_MIN = 20 };

struct cm_calibration_case {
    double score;
    bool is_ok; /* the gate flagged nothing */
    bool is_accepted;
};

struct cm_calibration {
    size_t cases;
    size_t accepted;
    double agreement; /* share of cases in which gate and people say the same */
    double kappa;
    double area;
    double threshold; /* the score that tells them apart best (Youden 1950) */
    double kept;      /* share of accepted texts at or above it */
    double caught;    /* share of the others under it */
    double false_shares[CM_CALIBRATION_POINTS + 2]; /* the curve, rising */
    double true_shares[CM_CALIBRATION_POINTS + 2];
    size_t points;
};

/* Sorts `cases`. False where there are too few, or all of one kind: only the counts are set. */
bool cm_calibrate(struct cm_calibration_case *cases, size_t count, struct cm_calibration *result);

#endif
