/* Copy of a ledger in the formats of those who take it further. Only what people approved, unless
 * told otherwise; an edited text in place of the generated one. */
#ifndef CM_JOBS_EXPORT_EXPORTER_H
#define CM_JOBS_EXPORT_EXPORTER_H

#include "jobs/ledger_entry.h"

#include <stdio.h>

enum cm_export_format {
    CM_EXPORT_CSV,             /* the copy with its decisions */
    CM_EXPORT_JSONL,           /* the same as JSON lines */
    CM_EXPORT_PAIRS,           /* facts and copy, for fine-tuning: JSON lines */
    CM_EXPORT_SHOPIFY,         /* a product CSV: handle, title, description */
    CM_EXPORT_GOOGLE_MERCHANT, /* a text feed: tab-separated, structured_title and _description */
    CM_EXPORT_FORMAT_COUNT
};
extern const char *const CM_EXPORT_FORMATS[]; /* names, then NULL */

/* How a text says that a machine wrote it (GB 45438-2025 asks for both kinds). */
enum cm_export_origin {
    CM_EXPORT_ORIGIN_NONE,
    CM_EXPORT_ORIGIN_METADATA, /* a column AIGC with the standard's members */
    CM_EXPORT_ORIGIN_MARK,     /* words at the end of the text */
    CM_EXPORT_ORIGIN_BOTH,
    CM_EXPORT_ORIGIN_COUNT
};
extern const char *const CM_EXPORT_ORIGINS[];

struct cm_export_options {
    enum cm_export_format format;
    enum cm_export_origin origin;
    const char *producer; /* who answers for the text, in the metadata; NULL: "copymill" */
    const char *segment;  /* NULL: all */
    bool everything;      /* every row with a text that was not rejected */
    bool excel;           /* CSV for spreadsheets, see copy_writer.h */
};

struct cm_export_counts {
    uint64_t written;
    uint64_t waiting;  /* not approved, so left out */
    uint64_t refused;  /* approved, but the format does not take them; `refusal` names the first */
    char refusal[320]; /* with its reason */
};

/* The file ending that fits: ".csv", ".jsonl" or ".txt". */
const char *cm_export_ending(enum cm_export_format format);

/* Writes to `stream`, called `name` in messages. CM_INVALID_ARGUMENT: the format wants a segment to
 * be chosen, or there is no such segment. CM_IO, CM_OUT_OF_MEMORY, errors of the ledger. */
enum cm_status cm_export_write(struct cm_ledger *ledger, const struct cm_export_options *options,
                               FILE *stream, const char *name, struct cm_export_counts *counts,
                               struct cm_error *error) CM_MUST_CHECK;

#endif
