/* The parts of the report's page, one function each; for report_page.c. Errors of the stream stay
 * set in it. */
#ifndef CM_JOBS_REPORT_REPORT_SECTIONS_H
#define CM_JOBS_REPORT_REPORT_SECTIONS_H

#include "jobs/report/report_data.h"
#include "jobs/report/svg_plot.h"

/* "3 h 12 min" */
void cm_report_duration(double seconds, char out[64]);

void cm_report_write_scores(FILE *stream, const struct cm_report_data *data);
void cm_report_write_calibration(FILE *stream, const struct cm_report_data *data);
void cm_report_write_rules(FILE *stream, const struct cm_report_data *data);
void cm_report_write_segments(FILE *stream, const struct cm_report_data *data);
void cm_report_write_work(FILE *stream, const struct cm_report_data *data, double hourly_cost);

void cm_report_write_course(FILE *stream, const struct cm_report_data *data);

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_report_write_lengths(FILE *stream, const struct cm_report_data *data,
                                       struct cm_error *error) CM_MUST_CHECK;

/* These read rows and settings again. */
enum cm_status cm_report_write_groups(struct cm_ledger *ledger, const struct cm_report_data *data,
                                      FILE *stream, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_report_write_examples(struct cm_ledger *ledger, const struct cm_report_data *data,
                                        FILE *stream, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_report_write_settings(struct cm_ledger *ledger, const struct cm_report_data *data,
                                        FILE *stream, struct cm_error *error) CM_MUST_CHECK;

#endif
