/* The writers of the formats: one row each. For exporter.c, which chooses the rows. */
#ifndef CM_JOBS_EXPORT_EXPORT_ROW_H
#define CM_JOBS_EXPORT_EXPORT_ROW_H

#include "base/digest_count.h"
#include "base/text.h"
#include "jobs/export/exporter.h"
#include "jobs/table_writer.h"

#include <jansson.h>

enum { CM_EXPORT_CELL_BYTES_MAX = 4 << 20, CM_EXPORT_COLUMNS_MAX = 24 };

struct cm_export {
    const struct cm_export_options *options;
    FILE *stream;
    const char *name;
    struct cm_table_writer *table; /* NULL: lines are written by hand */
    struct cm_digest_count *handles;
    struct cm_text text;  /* the text with its mark */
    struct cm_text html;  /* or another form of it */
    struct cm_text aigc;  /* metadata */
    struct cm_text title; /* a generated one, as the format wants it */
    struct cm_export_counts *counts;
};

/* What an approved row says, whatever the format. */
struct cm_export_copy {
    const struct cm_ledger_entry *entry;
    const char *text; /* with its mark where one is asked for */
    const char *mark; /* NULL: not asked for */
    const char *aigc; /* metadata; NULL: not asked for */
    json_t *fields;   /* parts of the text; NULL: none */
    bool lost_parts;  /* it had parts, but was edited so that they cannot be told apart */
};

/* A part by its name, or NULL. */
const char *cm_export_field(const struct cm_export_copy *copy, const char *name);

/* A part with the mark; the whole text where there is no such part. NULL: out of memory. Valid
 * until the next row. */
const char *cm_export_marked(struct cm_export *exported, const struct cm_export_copy *copy,
                             const char *name);

/* Counts the row as refused, and keeps the reason of the first. */
void cm_export_refuse(struct cm_export *exported, const struct cm_ledger_entry *entry,
                      const char *reason);

/* Columns of a table, to which "AIGC" is added where asked; NULL ends them. */
extern const char *const CM_EXPORT_COLUMNS[];
extern const char *const CM_SHOPIFY_COLUMNS[];

enum cm_status cm_export_csv_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                 struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_export_json_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                  struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_export_pair(struct cm_export *exported, const struct cm_export_copy *copy,
                              struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_export_shopify_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                     struct cm_error *error) CM_MUST_CHECK;
void cm_export_google_header(struct cm_export *exported);
enum cm_status cm_export_google_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                    struct cm_error *error) CM_MUST_CHECK;

#endif
