/* The questions of the page and their answers, as JSON. Knows nothing of HTTP. */
#ifndef CM_JOBS_REVIEW_REVIEW_API_H
#define CM_JOBS_REVIEW_REVIEW_API_H

#include "jobs/review/review_request.h"

struct cm_review {
    struct cm_ledger *ledger; /* open for writing, with its queue */
    const char *name;         /* of the ledger, for people */
    char key[33];             /* of the ledger, for what the browser keeps */
    const char *reviewer;     /* who it is when the page does not say */
};

/* All give an object, which the caller releases, and errors of the ledger or CM_OUT_OF_MEMORY. */

/* Name, reviewer, facets and progress. */
enum cm_status cm_review_job(const struct cm_review *review, const struct cm_review_query *query,
                             json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* {rows: [...], count}: a page of the queue. Texts are cut to what a list shows. */
enum cm_status cm_review_rows(const struct cm_review *review, const struct cm_review_query *query,
                              json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* {count}: rows that fit. */
enum cm_status cm_review_count(const struct cm_review *review, const struct cm_review_query *query,
                               json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* Everything about one row. CM_NOT_FOUND. */
enum cm_status cm_review_row(const struct cm_review *review, const struct cm_review_query *query,
                             json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* Progress, and the rows that were decided since number `since`. */
enum cm_status cm_review_news(const struct cm_review *review, const struct cm_review_query *query,
                              json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* Decides about one row, or takes it back. CM_ALREADY_EXISTS: somebody else did meanwhile; the
 * answer says what. CM_INVALID_ARGUMENT. Durable at return. */
enum cm_status cm_review_decide(const struct cm_review *review, const struct cm_review_body *body,
                                json_t **answer, struct cm_error *error) CM_MUST_CHECK;

/* Accepts all open rows that fit the body's filter: {batch, count}; or takes a batch back. */
enum cm_status cm_review_decide_many(const struct cm_review *review,
                                     const struct cm_review_body *body, json_t **answer,
                                     struct cm_error *error) CM_MUST_CHECK;

#endif
