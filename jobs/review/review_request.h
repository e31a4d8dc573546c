/* What the page asks for: the parameters of an address and the JSON body of a decision, checked.
 * Everything here comes from outside. */
#ifndef CM_JOBS_REVIEW_REVIEW_REQUEST_H
#define CM_JOBS_REVIEW_REVIEW_REQUEST_H

#include "base/text.h"
#include "jobs/ledger_review.h"

#include <jansson.h>

enum {
    CM_REVIEW_VALUE_BYTES = 1024, /* of a parameter */
    CM_REVIEW_NAME_BYTES = 128,   /* of a reviewer */
    CM_REVIEW_TEXT_BYTES_MAX = 100000,
    CM_REVIEW_REASON_BYTES_MAX = 2000,
    CM_REVIEW_BODY_BYTES_MAX = 256 << 10,
    CM_REVIEW_ROWS_MAX = 200,
};

struct cm_review_query {
    char segment[CM_REVIEW_VALUE_BYTES]; /* "": any; so are the next ones */
    char language[CM_REVIEW_VALUE_BYTES];
    char flag[CM_REVIEW_VALUE_BYTES];
    char search[CM_REVIEW_VALUE_BYTES];
    char reviewer[CM_REVIEW_NAME_BYTES];
    char format[CM_REVIEW_NAME_BYTES];
    char origin[CM_REVIEW_NAME_BYTES];
    int status;   /* -1: any */
    int decision; /* -1: any */
    double score_min;
    enum cm_queue_order order;
    int64_t after;
    int64_t id;
    int64_t since;
    uint32_t rows_max;
    bool backward;
    bool excel;
    bool everything; /* of an export: not only what is approved */
};

void cm_review_query_init(struct cm_review_query *query);

/* Takes one parameter. CM_INVALID_ARGUMENT: unknown, or a value that cannot be. */
enum cm_status cm_review_query_set(struct cm_review_query *query, const char *name,
                                   const char *value, struct cm_error *error) CM_MUST_CHECK;

/* The filter, which borrows from the query. */
struct cm_queue_filter cm_review_query_filter(const struct cm_review_query *query);

enum cm_review_action {
    CM_REVIEW_ACCEPT,
    CM_REVIEW_REJECT,
    CM_REVIEW_EDIT,
    CM_REVIEW_BACK, /* to an earlier version, or a whole batch */
};

/* Text is borrowed from the document. */
struct cm_review_body {
    json_t *document;
    enum cm_review_action action;
    int64_t id;
    uint32_t version;
    uint32_t earlier;
    int64_t batch;
    const char *text;
    const char *reason;
    const char *reviewer;
    struct cm_review_query filter;
};

/* CM_INVALID_DATA: no JSON object; CM_INVALID_ARGUMENT: a member that cannot be. Deinit in every
 * case. */
enum cm_status cm_review_body_parse(struct cm_span bytes, struct cm_review_body *body,
                                    struct cm_error *error) CM_MUST_CHECK;
void cm_review_body_deinit(struct cm_review_body *body);

#endif
