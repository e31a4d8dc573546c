#include "jobs/review/review_request.h"

#include "base/utf8.h"
#include "loaders/json_file.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* --- Parameters --- */

void cm_review_query_init(struct cm_review_query *query)
{
    *query = (struct cm_review_query){ .status = -1, .decision = -1, .rows_max = 50 };
}

static enum cm_status refuse(const char *name, const char *expected, struct cm_error *error)
{
    return cm_error_set(error, CM_INVALID_ARGUMENT, "%s: expected %s", name, expected);
}

static enum cm_status take_text(const char *name, const char *value, char *field, size_t bytes,
                                struct cm_error *error)
{
    size_t length = strlen(value);
    if (length >= bytes || !cm_utf8_valid((struct cm_span){ value, length })) {
        return refuse(name, "a shorter text, in UTF-8", error);
    }
    memcpy(field, value, length + 1);
    return CM_OK;
}

static enum cm_status take_number(const char *name, const char *value, int64_t maximum,
                                  int64_t *number, struct cm_error *error)
{
    errno = 0;
    long long found = strtoll(value, NULL, 10);
    bool digits = value[0] != '\0' && value[strspn(value, "0123456789")] == '\0';
    if (!digits || errno != 0 || found > maximum) {
        return refuse(name, "a whole number in range", error);
    }
    *number = found;
    return CM_OK;
}

static enum cm_status take_score(const char *value, double *score, struct cm_error *error)
{
    double found = strtod(value, NULL);
    bool digits = value[0] != '\0' && value[strspn(value, "0123456789.")] == '\0';
    if (!digits || !(found >= 0 && found <= 1)) {
        return refuse("score_min", "a number from 0 to 1", error);
    }
    *score = found;
    return CM_OK;
}

static enum cm_status take_switch(const char *name, const char *value, bool *field,
                                  struct cm_error *error)
{
    *field = strcmp(value, "1") == 0;
    return *field || strcmp(value, "0") == 0 ? CM_OK : refuse(name, "0 or 1", error);
}

static enum cm_status take_status(const char *value, int *field, struct cm_error *error)
{
    for (int i = CM_ROW_OK; i < CM_ROW_STATUS_COUNT; i++) {
        if (strcmp(value, cm_row_status_name((enum cm_row_status)i)) == 0) {
            *field = i;
            return CM_OK;
        }
    }
    return refuse("status", "ok, flagged or failed", error);
}

static enum cm_status take_decision(const char *value, int *field, struct cm_error *error)
{
    for (int i = 0; i < CM_DECISION_COUNT; i++) {
        if (strcmp(value, cm_decision_name((enum cm_decision)i)) == 0) {
            *field = i;
            return CM_OK;
        }
    }
    return refuse("decision", "open, approved, rejected or edited", error);
}

static enum cm_status take_order(const char *value, enum cm_queue_order *order,
                                 struct cm_error *error)
{
    static const char *const names[CM_QUEUE_ORDER_COUNT] = {
        [CM_QUEUE_WORST_FIRST] = "worst",
        [CM_QUEUE_BEST_FIRST] = "best",
        [CM_QUEUE_AUDIT] = "audit",
        [CM_QUEUE_PLAN] = "plan",
    };
    for (int i = 0; i < CM_QUEUE_ORDER_COUNT; i++) {
        if (strcmp(value, names[i]) == 0) {
            *order = (enum cm_queue_order)i;
            return CM_OK;
        }
    }
    return refuse("order", "worst, best, audit or plan", error);
}

static enum cm_status take_texts(struct cm_review_query *query, const char *name, const char *value,
                                 struct cm_error *error)
{
    const struct {
        const char *name;
        char *field;
        size_t bytes;
    } texts[] = {
        { "segment", query->segment, sizeof query->segment },
        { "language", query->language, sizeof query->language },
        { "flag", query->flag, sizeof query->flag },
        { "search", query->search, sizeof query->search },
        { "reviewer", query->reviewer, sizeof query->reviewer },
        { "format", query->format, sizeof query->format },
        { "origin", query->origin, sizeof query->origin },
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            return take_text(name, value, texts[i].field, texts[i].bytes, error);
        }
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT, "%.40s: no such parameter", name);
}

static enum cm_status take_numbers(struct cm_review_query *query, const char *name,
                                   const char *value, struct cm_error *error)
{
    int64_t rows_max = query->rows_max;
    const struct {
        const char *name;
        int64_t *field;
        int64_t maximum;
    } numbers[] = {
        { "after", &query->after, INT64_MAX },
        { "id", &query->id, INT64_MAX },
        { "since", &query->since, INT64_MAX },
        { "rows", &rows_max, CM_REVIEW_ROWS_MAX },
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0) {
            enum cm_status status =
                take_number(name, value, numbers[i].maximum, numbers[i].field, error);
            query->rows_max = (uint32_t)rows_max;
            return status;
        }
    }
    return take_texts(query, name, value, error);
}

enum cm_status cm_review_query_set(struct cm_review_query *query, const char *name,
                                   const char *value, struct cm_error *error)
{
    if (strcmp(name, "order") == 0) {
        return take_order(value, &query->order, error);
    }
    if (strcmp(name, "score_min") == 0) {
        return take_score(value, &query->score_min, error);
    }
    if (strcmp(name, "status") == 0) {
        return take_status(value, &query->status, error);
    }
    if (strcmp(name, "decision") == 0) {
        return take_decision(value, &query->decision, error);
    }
    if (strcmp(name, "backward") == 0) {
        return take_switch(name, value, &query->backward, error);
    }
    if (strcmp(name, "excel") == 0) {
        return take_switch(name, value, &query->excel, error);
    }
    if (strcmp(name, "all") == 0) {
        return take_switch(name, value, &query->everything, error);
    }
    return take_numbers(query, name, value, error);
}

static const char *or_any(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

struct cm_queue_filter cm_review_query_filter(const struct cm_review_query *query)
{
    return (struct cm_queue_filter){
        .segment = or_any(query->segment),
        .language = or_any(query->language),
        .flag = or_any(query->flag),
        .search = or_any(query->search),
        .status = query->status,
        .decision = query->decision,
        .score_min = query->score_min,
    };
}

/* --- Bodies --- */

static enum cm_status take_action(const json_t *document, enum cm_review_action *action,
                                  struct cm_error *error)
{
    static const char *const names[] = { "accept", "reject", "edit", "back" };
    const char *found = json_string_value(json_object_get(document, "action"));
    for (size_t i = 0; found != NULL && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(found, names[i]) == 0) {
            *action = (enum cm_review_action)i;
            return CM_OK;
        }
    }
    return refuse("action", "accept, reject, edit or back", error);
}

/* 0 where it is not there. */
static enum cm_status take_integer(const json_t *document, const char *name, int64_t maximum,
                                   int64_t *number, struct cm_error *error)
{
    const json_t *value = json_object_get(document, name);
    *number = value != NULL ? (int64_t)json_integer_value(value) : 0;
    bool right = value == NULL || (json_is_integer(value) && *number >= 0 && *number <= maximum);
    return right ? CM_OK : refuse(name, "a whole number in range", error);
}

/* "" where it is not there. Line ends and tabs are the only control characters of a text. */
static enum cm_status take_string(const json_t *document, const char *name, size_t bytes_max,
                                  const char **text, struct cm_error *error)
{
    const json_t *value = json_object_get(document, name);
    *text = value != NULL ? json_string_value(value) : "";
    if (*text == NULL || strlen(*text) > bytes_max) {
        return refuse(name, "a text that is not so long", error);
    }
    for (const char *at = *text; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;
        if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
            return refuse(name, "a text without control characters", error);
        }
    }
    return CM_OK;
}

static enum cm_status take_filter(const json_t *document, struct cm_review_query *query,
                                  struct cm_error *error)
{
    const char *name;
    json_t *value;
    json_t *filter = json_object_get(document, "filter");
    if (filter != NULL && !json_is_object(filter)) {
        return refuse("filter", "an object", error);
    }
    json_object_foreach(filter, name, value)
    {
        if (!json_is_string(value)) {
            return refuse(name, "a text", error);
        }
        enum cm_status status = cm_review_query_set(query, name, json_string_value(value), error);
        if (status != CM_OK) {
            return status;
        }
    }
    return CM_OK;
}

enum cm_status cm_review_body_parse(struct cm_span bytes, struct cm_review_body *body,
                                    struct cm_error *error)
{
    int64_t version = 0;
    int64_t earlier = 0;
    *body = (struct cm_review_body){ .text = "", .reason = "", .reviewer = "" };
    cm_review_query_init(&body->filter);
    enum cm_status status =
        cm_json_parse(bytes.data, bytes.length, "the request", &body->document, error);
    if (status == CM_OK) {
        status = take_action(body->document, &body->action, error);
    }
    if (status == CM_OK) {
        status = take_integer(body->document, "id", INT64_MAX, &body->id, error);
    }
    if (status == CM_OK) {
        status = take_integer(body->document, "version", UINT32_MAX - 1, &version, error);
    }
    if (status == CM_OK) {
        status = take_integer(body->document, "earlier", UINT32_MAX, &earlier, error);
    }
    if (status == CM_OK) {
        status = take_integer(body->document, "batch", INT64_MAX, &body->batch, error);
    }
    if (status == CM_OK) {
        status = take_string(body->document, "text", CM_REVIEW_TEXT_BYTES_MAX, &body->text, error);
    }
    if (status == CM_OK) {
        status =
            take_string(body->document, "reason", CM_REVIEW_REASON_BYTES_MAX, &body->reason, error);
    }
    if (status == CM_OK) {
        status = take_string(body->document, "reviewer", CM_REVIEW_NAME_BYTES - 1, &body->reviewer,
                             error);
    }
    if (status == CM_OK) {
        status = take_filter(body->document, &body->filter, error);
    }
    body->version = (uint32_t)version;
    body->earlier = (uint32_t)earlier;
    return status;
}

void cm_review_body_deinit(struct cm_review_body *body)
{
    cm_json_close(body->document);
    body->document = NULL;
}
