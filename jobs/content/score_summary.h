/* What the rows of a copy file add up to, for people. */
#ifndef CM_JOBS_CONTENT_SCORE_SUMMARY_H
#define CM_JOBS_CONTENT_SCORE_SUMMARY_H

#include "jobs/content/judgement.h"
#include "jobs/content/variety.h"

#include <stdio.h>

enum { CM_WORST_MAX = 1000, CM_SUMMARY_RULES_MAX = 64, CM_WORST_TEXT_BYTES = 160 };

struct cm_worst_row {
    double score;
    uint64_t line;
    char name[96]; /* "item, segment" */
    char flags[CM_FLAGS_BYTES];
    char text[CM_WORST_TEXT_BYTES];
};

struct cm_score_summary {
    uint64_t rows;
    uint64_t rows_flagged;
    uint64_t rows_grave;   /* with a finding of high severity */
    uint64_t rows_low;     /* under --min-score */
    uint64_t rows_no_text; /* nothing to judge */
    uint64_t rows_no_item; /* the catalog has no such item */
    uint64_t near_duplicates;
    struct cm_variety_figures variety; /* of all texts; the caller's */
    double score_sum;
    double sums[CM_DIMENSION_COUNT];
    struct {
        const struct cm_rule *rule;
        uint64_t rows;
    } rules[CM_SUMMARY_RULES_MAX];
    size_t rules_count;
    struct cm_worst_row *worst; /* [worst_limit], the worst first; the caller's memory */
    size_t worst_count;
    size_t worst_limit;
};

void cm_score_summary_add(struct cm_score_summary *summary, const struct cm_judgement *judgement,
                          const struct cm_worst_row *row, bool is_low);

void cm_score_summary_print(const struct cm_score_summary *summary, FILE *stream, bool comply);

#endif
