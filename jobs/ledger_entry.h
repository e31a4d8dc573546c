/* Planned rows of a ledger with all that is known about them: what they were written from, how they
 * were judged, what people decided. For review, export, report and explain, from a ledger that was
 * opened either way. */
#ifndef CM_JOBS_LEDGER_ENTRY_H
#define CM_JOBS_LEDGER_ENTRY_H

#include "jobs/ledger.h"

/* The numbers are stored: never renumber. */
enum cm_decision {
    CM_DECISION_OPEN = 0,
    CM_DECISION_APPROVED = 1,
    CM_DECISION_REJECTED = 2,
    CM_DECISION_EDITED = 3, /* approved with another text */
    CM_DECISION_COUNT
};

const char *cm_decision_name(enum cm_decision decision); /* "open", "approved", ... */

struct cm_decided {
    enum cm_decision state;
    uint32_t version;     /* counts the decisions about this row; 0: none yet */
    uint32_t distance;    /* edited: characters that were changed */
    const char *text;     /* edited: the text in place of the row's; else "" */
    const char *reason;   /* rejected: why */
    const char *reviewer; /* who */
    const char *time;     /* when, UTC */
};

/* Text is borrowed and never NULL. */
struct cm_ledger_entry {
    int64_t row_id;
    int64_t settings_id; /* of the run that wrote it */
    uint64_t position;
    struct cm_copy_row row; /* as it was generated */
    const char *title;      /* of the item; "" where the ledger is too old to know */
    const char *facts;      /* JSON object: title, brand, ..., attributes; "" as above */
    const char *segment;    /* JSON object: the segment's columns; "" as above */
    const char *finished;   /* when the text was written, UTC */
    struct cm_decided decision;
};

/* What is to be published: the edited text, else the generated one. */
const char *cm_ledger_entry_text(const struct cm_ledger_entry *entry);
bool cm_ledger_entry_is_approved(const struct cm_ledger_entry *entry);

/* Sees one entry, which is valid during the call, while the ledger is locked. Anything but CM_OK
 * ends the visit and is its result. */
typedef enum cm_status cm_ledger_visitor(const struct cm_ledger_entry *entry, void *context,
                                         struct cm_error *error);

/* All planned rows in their order; of one segment where one is named. */
enum cm_status cm_ledger_visit(struct cm_ledger *ledger, const char *segment_id,
                               cm_ledger_visitor *visitor, void *context,
                               struct cm_error *error) CM_MUST_CHECK;

/* One planned row by its number. CM_NOT_FOUND, without a message. */
enum cm_status cm_ledger_visit_row(struct cm_ledger *ledger, int64_t row_id,
                                   cm_ledger_visitor *visitor, void *context,
                                   struct cm_error *error) CM_MUST_CHECK;

/* Planned rows as a person names them: ITEM, ITEM:SEGMENT, the row key or its first eight or more
 * characters, or #N for the Nth row of the output, from 1. CM_NOT_FOUND with a message. */
enum cm_status cm_ledger_visit_named(struct cm_ledger *ledger, const char *name,
                                     cm_ledger_visitor *visitor, void *context,
                                     struct cm_error *error) CM_MUST_CHECK;

/* Decisions about a row, the first one first. */
typedef enum cm_status cm_decision_visitor(const struct cm_decided *decision, void *context,
                                           struct cm_error *error);
enum cm_status cm_ledger_visit_decisions(struct cm_ledger *ledger, int64_t row_id,
                                         cm_decision_visitor *visitor, void *context,
                                         struct cm_error *error) CM_MUST_CHECK;

/* What the ledger holds for the same item, segment and scenario from before this row, of other
 * settings: the latest one's text, to be freed by the caller. CM_NOT_FOUND, without a message. */
enum cm_status cm_ledger_earlier_text(struct cm_ledger *ledger, int64_t row_id, char **text,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
