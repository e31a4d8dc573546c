#include "jobs/content/score_summary.h"

#include <inttypes.h>
#include <string.h>

static void count_rule(struct cm_score_summary *summary, const struct cm_rule *rule)
{
    for (size_t i = 0; i < summary->rules_count; i++) {
        if (summary->rules[i].rule == rule) {
            summary->rules[i].rows++;
            return;
        }
    }
    if (summary->rules_count < CM_SUMMARY_RULES_MAX) {
        summary->rules[summary->rules_count].rule = rule;
        summary->rules[summary->rules_count++].rows = 1;
    }
}

/* Keeps the worst rows in order; of equals the first. */
static void keep_worst(struct cm_score_summary *summary, const struct cm_worst_row *row)
{
    size_t place = summary->worst_count;
    while (place > 0 && summary->worst[place - 1].score > row->score) {
        place--;
    }
    if (place >= summary->worst_limit) {
        return;
    }
    size_t last = summary->worst_count < summary->worst_limit ? summary->worst_count++
                                                              : summary->worst_limit - 1;
    memmove(&summary->worst[place + 1], &summary->worst[place],
            (last - place) * sizeof *summary->worst);
    summary->worst[place] = *row;
}

void cm_score_summary_add(struct cm_score_summary *summary, const struct cm_judgement *judgement,
                          const struct cm_worst_row *row, bool is_low)
{
    summary->rows_flagged += judgement->findings_count > 0 || is_low;
    summary->rows_grave += cm_judgement_is_grave(judgement);
    summary->rows_low += is_low;
    summary->near_duplicates += cm_judgement_has(judgement, "near-duplicate");
    summary->score_sum += judgement->score;
    for (int i = 0; i < CM_DIMENSION_COUNT; i++) {
        summary->sums[i] += judgement->scores[i];
    }
    for (size_t i = 0; i < judgement->findings_count; i++) {
        count_rule(summary, judgement->findings[i].rule);
    }
    if (judgement->findings_count > 0 || is_low) {
        keep_worst(summary, row);
    }
}

static void print_rules(const struct cm_score_summary *summary, FILE *stream, double rows)
{
    for (size_t i = 0; i < summary->rules_count; i++) {
        fprintf(stream, "  %-22s %8" PRIu64 "  %5.1f %%  %s\n", summary->rules[i].rule->name,
                summary->rules[i].rows, 100 * (double)summary->rules[i].rows / rows,
                summary->rules[i].rule->words);
    }
}

void cm_score_summary_print(const struct cm_score_summary *summary, FILE *stream, bool comply)
{
    uint64_t judged = summary->rows - summary->rows_no_text;
    double rows = judged > 0 ? (double)judged : 1;
    fprintf(stream, "%" PRIu64 " rows", summary->rows);
    if (summary->rows_no_text > 0) {
        fprintf(stream, ", %" PRIu64 " without a text", summary->rows_no_text);
    }
    fprintf(stream, "; %" PRIu64 " flagged (%.1f %%), %" PRIu64 " of them gravely\n",
            summary->rows_flagged, 100 * (double)summary->rows_flagged / rows, summary->rows_grave);
    if (!comply) {
        fprintf(stream, "mean score %.3f:", summary->score_sum / rows);
        for (int i = 0; i < CM_DIMENSION_COUNT; i++) {
            fprintf(stream, " %s %.3f", cm_dimension_name((enum cm_dimension)i),
                    summary->sums[i] / rows);
        }
        fprintf(stream,
                "\nvariety of the whole file: distinct-1 %.3f, distinct-2 %.3f, %" PRIu64
                " near duplicates, self-BLEU %.3f of %zu texts\n",
                summary->variety.distinct_1, summary->variety.distinct_2, summary->near_duplicates,
                summary->variety.self_bleu, summary->variety.sample);
    }
    if (summary->rows_no_item > 0) {
        fprintf(stream,
                "%" PRIu64 " rows of items that the catalog does not have: their facts "
                "were not checked\n",
                summary->rows_no_item);
    }
    if (summary->rules_count > 0) {
        fputs("\nwhat was found, in rows:\n", stream);
        print_rules(summary, stream, rows);
    }
    if (summary->worst_count > 0) {
        fputs("\nthe worst rows:\n", stream);
    }
    for (size_t i = 0; i < summary->worst_count; i++) {
        const struct cm_worst_row *row = &summary->worst[i];
        fprintf(stream, "  line %" PRIu64 "  %.3f  %s\n      %s\n      %s\n", row->line, row->score,
                row->name, row->flags, row->text);
    }
}
