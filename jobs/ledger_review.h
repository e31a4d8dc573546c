/* The planned rows of a ledger as a queue for people: ordered, filtered and searched, and what they
 * decide about each row.
 *
 * The queue is a narrow copy of the plan in memory (about 100 bytes a row), made when it is opened
 * and kept up by the decisions; texts are read from the ledger itself. Nobody else writes to the
 * ledger meanwhile: it has to be open for writing, which keeps a run away. */
#ifndef CM_JOBS_LEDGER_REVIEW_H
#define CM_JOBS_LEDGER_REVIEW_H

#include "jobs/ledger_entry.h"

/* Once for a ledger. */
enum cm_status cm_ledger_queue_open(struct cm_ledger *ledger, struct cm_error *error) CM_MUST_CHECK;

/* --- Rows --- */

enum cm_queue_order {
    CM_QUEUE_WORST_FIRST,
    CM_QUEUE_BEST_FIRST,
    CM_QUEUE_AUDIT, /* in random order, the same at every call */
    CM_QUEUE_PLAN,  /* as in the output */
    CM_QUEUE_ORDER_COUNT
};

/* NULL, and -1: any. */
struct cm_queue_filter {
    const char *segment;
    const char *language;
    const char *flag;   /* the name of a rule: "wrong-language" */
    const char *search; /* in item id, title and text; letters of either case are the same */
    int status;         /* enum cm_row_status */
    int decision;       /* enum cm_decision */
    double score_min;   /* 0: any */
};

struct cm_queue_page {
    enum cm_queue_order order;
    int64_t after; /* rows after this one in the order; 0: from the start */
    bool backward; /* rows before it instead, in the order all the same; 0: up to the end */
    uint32_t rows_max;
};

struct cm_queue_row {
    int64_t row_id;
    uint64_t position;
    enum cm_row_status status;
    enum cm_decision decision;
    uint32_t version;
    double score;
    const char *item_id;
    const char *segment_id;
    const char *language;
    const char *title; /* "": unknown */
    const char *text;  /* to be published */
    const char *flags;
};

typedef enum cm_status cm_queue_visitor(const struct cm_queue_row *row, void *context,
                                        struct cm_error *error);

enum cm_status cm_ledger_queue_page(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                    const struct cm_queue_page *page, cm_queue_visitor *visitor,
                                    void *context, struct cm_error *error) CM_MUST_CHECK;

/* Rows that fit the filter. */
enum cm_status cm_ledger_queue_count(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                     uint64_t *count, struct cm_error *error) CM_MUST_CHECK;

/* What there is to filter by, each kind in its order: "segment", "language", "flag" and "status",
 * with the number of rows. */
typedef enum cm_status cm_facet_visitor(const char *kind, const char *value, uint64_t count,
                                        void *context, struct cm_error *error);
enum cm_status cm_ledger_queue_facets(struct cm_ledger *ledger, cm_facet_visitor *visitor,
                                      void *context, struct cm_error *error) CM_MUST_CHECK;

/* --- Decisions --- */

struct cm_progress_counts {
    uint64_t rows[CM_DECISION_COUNT];
    uint64_t own; /* decided by this reviewer */
    int64_t last; /* number of the latest decision of all */
};
enum cm_status cm_ledger_review_progress(struct cm_ledger *ledger, const char *reviewer,
                                         struct cm_progress_counts *counts,
                                         struct cm_error *error) CM_MUST_CHECK;

struct cm_decide {
    int64_t row_id;
    uint32_t version; /* the one that was decided upon */
    enum cm_decision state;
    const char *text;   /* edited: the new text */
    const char *reason; /* "" for none */
    const char *reviewer;
    uint32_t distance;
};

struct cm_decision_now {
    enum cm_decision state;
    uint32_t version;
};

/* Durable at return. CM_ALREADY_EXISTS, without a message: somebody else decided meanwhile; `now`
 * says what. CM_NOT_FOUND, without a message: no such row. CM_INVALID_ARGUMENT: an empty text
 * cannot be approved. */
enum cm_status cm_ledger_decide(struct cm_ledger *ledger, const struct cm_decide *decide,
                                struct cm_decision_now *now, struct cm_error *error) CM_MUST_CHECK;

/* The same, back to what an earlier version (0: none) had decided. */
enum cm_status cm_ledger_decide_back(struct cm_ledger *ledger, const struct cm_decide *decide,
                                     uint32_t earlier, struct cm_decision_now *now,
                                     struct cm_error *error) CM_MUST_CHECK;

/* Approves all open rows with a text that fit the filter, in one transaction. `batch` names them
 * for the way back, which opens those that nobody has touched since. `count` is how many there
 * were. */
enum cm_status cm_ledger_decide_many(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                     const char *reviewer, int64_t *batch, uint64_t *count,
                                     struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_ledger_decide_many_back(struct cm_ledger *ledger, int64_t batch,
                                          const char *reviewer, uint64_t *count,
                                          struct cm_error *error) CM_MUST_CHECK;

/* Rows that were decided after decision number `since`, oldest first, at most `rows_max`. Only
 * row_id, decision and version of a row are set. */
enum cm_status cm_ledger_decided_since(struct cm_ledger *ledger, int64_t since, uint32_t rows_max,
                                       cm_queue_visitor *visitor, void *context,
                                       struct cm_error *error) CM_MUST_CHECK;

#endif
