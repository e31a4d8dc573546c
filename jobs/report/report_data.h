/* What a report shows, gathered from a ledger in one pass over its rows. */
#ifndef CM_JOBS_REPORT_REPORT_DATA_H
#define CM_JOBS_REPORT_REPORT_DATA_H

#include "jobs/content/channel.h"
#include "jobs/content/variety.h"
#include "jobs/ledger_entry.h"
#include "jobs/ledger_history.h"
#include "jobs/report/calibration.h"

#include <jansson.h>

enum {
    CM_REPORT_SCORE_BINS = 20,
    CM_REPORT_LENGTH_BINS = 24,
    CM_REPORT_NAMES_MAX = 64, /* segments, rules and dimensions that are told apart */
    CM_REPORT_NAME_BYTES = 96,
    CM_REPORT_EXAMPLES = 9,
    CM_REPORT_COMPARED_MAX = 50000, /* rows whose texts are compared with one another */
    CM_REPORT_GROUPS = 5,
};

struct cm_report_name {
    char name[CM_REPORT_NAME_BYTES];
    uint64_t rows;
    uint64_t flagged; /* of a segment */
    uint64_t failed;
    uint64_t approved;
    uint64_t severe; /* of a rule: with high severity */
    double sum;      /* of scores */
};

struct cm_report_names {
    struct cm_report_name items[CM_REPORT_NAMES_MAX];
    size_t count;
    uint64_t others; /* rows of those that found no room */
};

/* A part of the texts against the channel's limits, in its unit. */
struct cm_report_part {
    uint64_t values;
    uint64_t over_soft;
    uint64_t over_hard;
    uint32_t longest;
};

/* Texts that say nearly the same. */
struct cm_report_group {
    size_t first; /* row, counted from 0 */
    uint64_t rows;
};

struct cm_report_data {
    uint64_t rows[CM_ROW_STATUS_COUNT];
    uint64_t decisions[CM_DECISION_COUNT];
    uint64_t rows_count;
    uint64_t texts_count; /* rows with a text */
    uint64_t characters;
    uint64_t items_count; /* rows that follow one of another item */
    uint64_t retried;
    double score_sum;
    uint64_t scores[2][CM_REPORT_SCORE_BINS]; /* ok, flagged */
    uint32_t *lengths; /* [texts_count] of each text, in the channel's unit */
    size_t lengths_capacity;
    int64_t *row_ids; /* [texts_count], as the scores */
    size_t row_ids_capacity;
    double *score_of;
    size_t score_of_capacity;
    struct cm_channel *channel; /* where the copy appears; NULL: unknown to this version */
    struct cm_report_part parts[CM_CHANNEL_FIELDS_MAX]; /* of the channel's fields */
    struct cm_report_names segments;
    struct cm_report_names rules;
    struct cm_report_names dimensions;
    struct cm_variety_figures variety;
    struct cm_calibration_case *decided; /* [decided_count] texts that people decided about */
    size_t decided_count;
    size_t decided_capacity;
    uint64_t compared; /* texts */
    uint64_t repeated; /* of these, in a group with another */
    uint64_t groups_count;
    struct cm_report_group groups[CM_REPORT_GROUPS + 1]; /* the largest; the last is spare */
    int64_t examples[CM_REPORT_EXAMPLES];                /* row ids from the best to the worst */
    size_t examples_count;

    int64_t settings_id; /* of the latest run */
    int64_t run_id;      /* of the latest run that computed something */
    size_t runs_count;
    double wall_s; /* of all runs with the same settings */
    char began[64];
    char ended[64];
    json_t *figures; /* of that run; NULL: none */
    struct cm_ledger_sample *samples;
    size_t samples_count;
    size_t samples_capacity;
};

/* Deinit in every case. */
enum cm_status cm_report_data_gather(struct cm_ledger *ledger, struct cm_report_data *data,
                                     struct cm_error *error) CM_MUST_CHECK;
void cm_report_data_deinit(struct cm_report_data *data);

/* A number of the latest run, or 0. */
double cm_report_figure(const struct cm_report_data *data, const char *name);

#endif
