#include "jobs/review/review_api.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "jobs/review/edit_distance.h"
#include "loaders/json_memory.h"

#include <string.h>

enum { EXCERPT_BYTES = 240, NEWS_ROWS_MAX = 200 };

static enum cm_status no_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
}

static const char *reviewer_of(const struct cm_review *review, const char *given)
{
    return given[0] != '\0' ? given : review->reviewer;
}

static json_t *begin(void)
{
    cm_json_memory_begin();
    return json_object();
}

/* A part of an answer, to be filled; NULL, to which nothing can be added, where memory ended. */
static json_t *attach(json_t *built, const char *name, json_t *part)
{
    return json_object_set_new(built, name, part) == 0 ? part : NULL;
}

/* --- Progress and facets --- */

static json_t *describe_counts(const struct cm_progress_counts *counts)
{
    json_t *object = json_object();
    for (int i = 0; i < CM_DECISION_COUNT; i++) {
        json_object_set_new(object, cm_decision_name((enum cm_decision)i),
                            json_integer((json_int_t)counts->rows[i]));
    }
    json_object_set_new(object, "own", json_integer((json_int_t)counts->own));
    json_object_set_new(object, "last", json_integer((json_int_t)counts->last));
    return object;
}

static enum cm_status add_progress(const struct cm_review *review, const char *reviewer,
                                   json_t *answer, struct cm_error *error)
{
    struct cm_progress_counts counts;
    enum cm_status status =
        cm_ledger_review_progress(review->ledger, reviewer_of(review, reviewer), &counts, error);
    if (status == CM_OK && json_object_set_new(answer, "progress", describe_counts(&counts)) != 0) {
        status = no_memory(error);
    }
    return status;
}

static enum cm_status add_facet(const char *kind, const char *value, uint64_t count, void *context,
                                struct cm_error *error)
{
    json_t *facets = context;
    json_t *list = json_object_get(facets, kind);
    if (list == NULL) {
        list = attach(facets, kind, json_array());
    }
    json_t *entry = json_pack("[s, I]", value, (json_int_t)count);
    return json_array_append_new(list, entry) == 0 ? CM_OK : no_memory(error);
}

/* An answer is complete or not there at all. */
static enum cm_status finish(enum cm_status status, json_t *built, json_t **answer,
                             struct cm_error *error)
{
    if (status == CM_OK && cm_json_memory_failed()) {
        status = no_memory(error);
    }
    if (status == CM_OK) {
        *answer = built;
    } else {
        json_decref(built);
    }
    return status;
}

enum cm_status cm_review_job(const struct cm_review *review, const struct cm_review_query *query,
                             json_t **answer, struct cm_error *error)
{
    json_t *built = begin();
    json_t *facets = attach(built, "facets", json_object());
    json_object_set_new(built, "name", json_string(review->name));
    json_object_set_new(built, "key", json_string(review->key));
    json_object_set_new(built, "reviewer", json_string(review->reviewer));
    enum cm_status status = facets != NULL
                                ? cm_ledger_queue_facets(review->ledger, add_facet, facets, error)
                                : no_memory(error);
    if (status == CM_OK) {
        status = add_progress(review, query->reviewer, built, error);
    }
    return finish(status, built, answer, error);
}

/* --- The queue --- */

/* The start of a text, cut between characters. */
static json_t *excerpt(const char *text)
{
    size_t length = strlen(text);
    if (length > EXCERPT_BYTES) {
        length = cm_utf8_valid_bytes((const uint8_t *)text, EXCERPT_BYTES);
    }
    return json_stringn(text, length);
}

static enum cm_status add_row(const struct cm_queue_row *row, void *context, struct cm_error *error)
{
    json_t *object = json_pack(
        "{s:I, s:I, s:s, s:s, s:I, s:f, s:s, s:s, s:s, s:s, s:s}", "id", (json_int_t)row->row_id,
        "position", (json_int_t)row->position, "status", cm_row_status_name(row->status),
        "decision", cm_decision_name(row->decision), "version", (json_int_t)row->version, "score",
        row->score, "item", row->item_id, "segment", row->segment_id, "language", row->language,
        "title", row->title, "flags", row->flags);
    json_object_set_new(object, "text", excerpt(row->text));
    return json_array_append_new(context, object) == 0 ? CM_OK : no_memory(error);
}

enum cm_status cm_review_count(const struct cm_review *review, const struct cm_review_query *query,
                               json_t **answer, struct cm_error *error)
{
    uint64_t count = 0;
    struct cm_queue_filter filter = cm_review_query_filter(query);
    json_t *built = begin();
    enum cm_status status = cm_ledger_queue_count(review->ledger, &filter, &count, error);
    json_object_set_new(built, "count", json_integer((json_int_t)count));
    return finish(status, built, answer, error);
}

enum cm_status cm_review_rows(const struct cm_review *review, const struct cm_review_query *query,
                              json_t **answer, struct cm_error *error)
{
    uint64_t count = 0;
    struct cm_queue_filter filter = cm_review_query_filter(query);
    struct cm_queue_page page = {
        .order = query->order,
        .after = query->after,
        .backward = query->backward,
        .rows_max = query->rows_max,
    };
    json_t *built = begin();
    json_t *rows = attach(built, "rows", json_array());
    enum cm_status status =
        cm_ledger_queue_page(review->ledger, &filter, &page, add_row, rows, error);
    if (status == CM_OK) {
        status = cm_ledger_queue_count(review->ledger, &filter, &count, error);
    }
    json_object_set_new(built, "count", json_integer((json_int_t)count));
    return finish(status, built, answer, error);
}

/* --- One row --- */

/* JSON that the ledger keeps as text; null where there is none. */
static json_t *stored_json(const char *text)
{
    json_t *value = text[0] != '\0' ? json_loads(text, 0, NULL) : NULL;
    return value != NULL ? value : json_null();
}

static json_t *describe_decision(const struct cm_decided *decision)
{
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:I}", "state",
                     cm_decision_name(decision->state), "version", (json_int_t)decision->version,
                     "text", decision->text, "reason", decision->reason, "reviewer",
                     decision->reviewer, "time", decision->time, "distance",
                     (json_int_t)decision->distance);
}

static enum cm_status describe_entry(const struct cm_ledger_entry *entry, void *context,
                                     struct cm_error *error)
{
    json_t *object = context;
    const struct cm_copy_row *row = &entry->row;
    json_t *plain = json_pack(
        "{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:s, s:s, s:I, s:I, s:s, s:s, s:s, "
        "s:s}",
        "id", (json_int_t)entry->row_id, "position", (json_int_t)entry->position, "key", row->key,
        "status", cm_row_status_name(row->status), "item", row->item_id, "segment_id",
        row->segment_id, "language", row->language, "scenario", row->scenario, "channel",
        row->channel, "score", row->score, "flags", row->flags, "error", row->error, "attempt",
        (json_int_t)row->attempt, "tries", (json_int_t)row->tries, "model", row->model, "title",
        entry->title, "finished", entry->finished, "generated", row->text);
    if (plain == NULL || json_object_update(object, plain) != 0) {
        json_decref(plain);
        return no_memory(error);
    }
    json_decref(plain);
    json_object_set_new(object, "facts", stored_json(entry->facts));
    json_object_set_new(object, "segment", stored_json(entry->segment));
    json_object_set_new(object, "fields", stored_json(row->fields));
    json_object_set_new(object, "judgement", stored_json(row->judgement));
    json_object_set_new(object, "decision", describe_decision(&entry->decision));
    return CM_OK;
}

static enum cm_status add_decision(const struct cm_decided *decision, void *context,
                                   struct cm_error *error)
{
    return json_array_append_new(context, describe_decision(decision)) == 0 ? CM_OK
                                                                            : no_memory(error);
}

enum cm_status cm_review_row(const struct cm_review *review, const struct cm_review_query *query,
                             json_t **answer, struct cm_error *error)
{
    char *earlier = NULL;
    json_t *built = begin();
    json_t *history = attach(built, "history", json_array());
    enum cm_status status =
        cm_ledger_visit_row(review->ledger, query->id, describe_entry, built, error);
    if (status == CM_NOT_FOUND) {
        cm_error_set(error, CM_NOT_FOUND, "there is no such row");
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_decisions(review->ledger, query->id, add_decision, history, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_earlier_text(review->ledger, query->id, &earlier, error);
        json_object_set_new(built, "earlier", json_string(status == CM_OK ? earlier : ""));
        status = status == CM_NOT_FOUND ? CM_OK : status;
    }
    cm_free(earlier);
    return finish(status, built, answer, error);
}

/* --- News --- */

static enum cm_status add_news(const struct cm_queue_row *row, void *context,
                               struct cm_error *error)
{
    json_t *object =
        json_pack("{s:I, s:s, s:I}", "id", (json_int_t)row->row_id, "decision",
                  cm_decision_name(row->decision), "version", (json_int_t)row->version);
    return json_array_append_new(context, object) == 0 ? CM_OK : no_memory(error);
}

enum cm_status cm_review_news(const struct cm_review *review, const struct cm_review_query *query,
                              json_t **answer, struct cm_error *error)
{
    json_t *built = begin();
    json_t *rows = attach(built, "rows", json_array());
    enum cm_status status =
        cm_ledger_decided_since(review->ledger, query->since, NEWS_ROWS_MAX, add_news, rows, error);
    if (status == CM_OK) {
        status = add_progress(review, query->reviewer, built, error);
    }
    return finish(status, built, answer, error);
}

/* --- Decisions --- */

static enum cm_status check_reviewer(const char *reviewer, struct cm_error *error)
{
    return cm_utf8_valid_name(cm_span_of(reviewer))
               ? CM_OK
               : cm_error_set(error, CM_INVALID_ARGUMENT, "reviewer: expected a name");
}

static enum cm_status find_text(const struct cm_ledger_entry *entry, void *context,
                                struct cm_error *error)
{
    char **text = context;
    *text = cm_strdup(entry->row.text);
    return *text != NULL ? CM_OK : no_memory(error);
}

/* Counts what was changed; an edit that changes nothing is an approval. */
static enum cm_status weigh_edit(const struct cm_review *review, struct cm_decide *decide,
                                 struct cm_error *error)
{
    char *generated = NULL;
    enum cm_status status =
        cm_ledger_visit_row(review->ledger, decide->row_id, find_text, &generated, error);
    if (status == CM_OK && cm_edit_distance(cm_span_of(generated), cm_span_of(decide->text),
                                            &decide->distance) != CM_OK) {
        status = no_memory(error);
    }
    if (status == CM_OK && strcmp(generated, decide->text) == 0) {
        decide->state = CM_DECISION_APPROVED;
    }
    cm_free(generated);
    return status;
}

static enum cm_status decide(const struct cm_review *review, const struct cm_review_body *body,
                             struct cm_decision_now *now, struct cm_error *error)
{
    static const enum cm_decision states[] = {
        [CM_REVIEW_ACCEPT] = CM_DECISION_APPROVED,
        [CM_REVIEW_REJECT] = CM_DECISION_REJECTED,
        [CM_REVIEW_EDIT] = CM_DECISION_EDITED,
        [CM_REVIEW_BACK] = CM_DECISION_OPEN,
    };
    struct cm_decide decided = {
        .row_id = body->id,
        .version = body->version,
        .state = states[body->action],
        .text = body->text,
        .reason = body->reason,
        .reviewer = reviewer_of(review, body->reviewer),
    };
    enum cm_status status = check_reviewer(decided.reviewer, error);
    if (status == CM_OK && body->action == CM_REVIEW_EDIT) {
        status = weigh_edit(review, &decided, error);
    }
    if (status != CM_OK) {
        return status;
    }
    return body->action == CM_REVIEW_BACK
               ? cm_ledger_decide_back(review->ledger, &decided, body->earlier, now, error)
               : cm_ledger_decide(review->ledger, &decided, now, error);
}

enum cm_status cm_review_decide(const struct cm_review *review, const struct cm_review_body *body,
                                json_t **answer, struct cm_error *error)
{
    struct cm_decision_now now = { 0 };
    enum cm_status outcome = decide(review, body, &now, error);
    if (outcome == CM_NOT_FOUND) {
        return cm_error_set(error, CM_NOT_FOUND, "there is no such row");
    }
    if (outcome != CM_OK && outcome != CM_ALREADY_EXISTS) {
        return outcome;
    }
    json_t *built = begin();
    json_object_set_new(built, "state", json_string(cm_decision_name(now.state)));
    json_object_set_new(built, "version", json_integer((json_int_t)now.version));
    enum cm_status status = add_progress(review, body->reviewer, built, error);
    status = finish(status, built, answer, error);
    return status == CM_OK ? outcome : status;
}

enum cm_status cm_review_decide_many(const struct cm_review *review,
                                     const struct cm_review_body *body, json_t **answer,
                                     struct cm_error *error)
{
    uint64_t count = 0;
    int64_t batch = body->batch;
    const char *reviewer = reviewer_of(review, body->reviewer);
    enum cm_status status = check_reviewer(reviewer, error);
    if (status != CM_OK) {
        return status;
    }
    if (body->action == CM_REVIEW_ACCEPT) {
        struct cm_queue_filter filter = cm_review_query_filter(&body->filter);
        status = cm_ledger_decide_many(review->ledger, &filter, reviewer, &batch, &count, error);
    } else if (body->action == CM_REVIEW_BACK && batch > 0) {
        status = cm_ledger_decide_many_back(review->ledger, batch, reviewer, &count, error);
    } else {
        status = cm_error_set(error, CM_INVALID_ARGUMENT,
                              "action: expected accept, or back with a batch");
    }
    if (status != CM_OK) {
        return status;
    }
    json_t *built = begin();
    json_object_set_new(built, "batch", json_integer((json_int_t)batch));
    json_object_set_new(built, "count", json_integer((json_int_t)count));
    status = add_progress(review, body->reviewer, built, error);
    return finish(status, built, answer, error);
}
