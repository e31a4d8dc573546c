/* Reading planned rows with their sources and decisions. */
#include "jobs/ledger_entry.h"
#include "jobs/ledger_sqlite.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_COLUMNS                                                                           \
    "SELECT copy.id, plan.position, row_key, status, copy.item_id, segment_id, scenario,"       \
    " channel, language, copy.text, fields, score, flags, finish_reason, prompt_tokens,"        \
    " cached_tokens, output_tokens, attempt, tries, seed, model, error, ifnull(judgement, '')," \
    " ifnull(item.title, ''), ifnull(item.facts, ''), ifnull(segment.attributes, ''),"          \
    " finished, ifnull(decision.state, 0), ifnull(decision.version, 0),"                        \
    " ifnull(decision.distance, 0), ifnull(decision.text, ''), ifnull(decision.reason, ''),"    \
    " ifnull(decision.reviewer, ''), ifnull(decision.decided, ''), copy.settings_id"
#define ENTRY_JOINS                                                                         \
    " LEFT JOIN item ON item.id = copy.item LEFT JOIN segment ON segment.id = copy.segment" \
    " LEFT JOIN decision ON decision.copy_id = copy.id"

static const char plan_sql[] =
    ENTRY_COLUMNS " FROM plan CROSS JOIN copy ON copy.id = plan.copy_id" ENTRY_JOINS
                  " WHERE ?1 IS NULL OR segment_id = ?1 ORDER BY plan.position";
static const char row_sql[] = ENTRY_COLUMNS
    " FROM copy JOIN plan ON plan.copy_id = copy.id" ENTRY_JOINS " WHERE copy.id = ?1";
static const char position_sql[] =
    ENTRY_COLUMNS " FROM plan JOIN copy ON copy.id = plan.copy_id" ENTRY_JOINS
                  " ORDER BY plan.position LIMIT 1 OFFSET ?1";
/* An item's id may hold a colon, so both halves are tried at every one of them. */
static const char pair_sql[] = ENTRY_COLUMNS
    " FROM copy JOIN plan ON plan.copy_id = copy.id" ENTRY_JOINS
    " WHERE copy.item_id = ?1 AND (?2 IS NULL OR segment_id = ?2) ORDER BY plan.position";
static const char key_sql[] =
    ENTRY_COLUMNS " FROM copy JOIN plan ON plan.copy_id = copy.id" ENTRY_JOINS
                  " WHERE row_key >= ?1 AND row_key < ?1 || 'g' ORDER BY plan.position";

const char *cm_decision_name(enum cm_decision decision)
{
    static const char *const names[CM_DECISION_COUNT] = { "open", "approved", "rejected",
                                                          "edited" };
    return (unsigned)decision < CM_DECISION_COUNT ? names[decision] : "unknown";
}

const char *cm_ledger_entry_text(const struct cm_ledger_entry *entry)
{
    return entry->decision.state == CM_DECISION_EDITED ? entry->decision.text : entry->row.text;
}

bool cm_ledger_entry_is_approved(const struct cm_ledger_entry *entry)
{
    return entry->decision.state == CM_DECISION_APPROVED ||
           entry->decision.state == CM_DECISION_EDITED;
}

/* Columns in order. A text that cannot be had is a conversion that found no memory. */
struct columns {
    sqlite3_stmt *statement;
    int index;
    bool complete;
};

static const char *next_text(struct columns *columns)
{
    const char *text = (const char *)sqlite3_column_text(columns->statement, columns->index++);
    columns->complete = columns->complete && text != NULL;
    return text;
}

static int64_t next_integer(struct columns *columns)
{
    return sqlite3_column_int64(columns->statement, columns->index++);
}

static bool read_entry(sqlite3_stmt *statement, struct cm_ledger_entry *entry)
{
    struct columns at = { .statement = statement, .complete = true };
    struct cm_copy_row *row = &entry->row;
    entry->row_id = next_integer(&at);
    entry->position = (uint64_t)next_integer(&at);
    const char *key = next_text(&at);
    snprintf(row->key, sizeof row->key, "%s", key != NULL ? key : "");
    row->status = (enum cm_row_status)next_integer(&at);
    row->item_id = next_text(&at);
    row->segment_id = next_text(&at);
    row->scenario = next_text(&at);
    row->channel = next_text(&at);
    row->language = next_text(&at);
    row->text = next_text(&at);
    row->fields = next_text(&at);
    row->score = sqlite3_column_double(statement, at.index++);
    row->flags = next_text(&at);
    row->finish_reason = next_text(&at);
    row->prompt_tokens = (uint32_t)next_integer(&at);
    row->cached_tokens = (uint32_t)next_integer(&at);
    row->output_tokens = (uint32_t)next_integer(&at);
    row->attempt = (uint32_t)next_integer(&at);
    row->tries = (uint32_t)next_integer(&at);
    row->seed = (uint64_t)next_integer(&at);
    row->model = next_text(&at);
    row->error = next_text(&at);
    row->judgement = next_text(&at);
    entry->title = next_text(&at);
    entry->facts = next_text(&at);
    entry->segment = next_text(&at);
    entry->finished = next_text(&at);
    entry->decision.state = (enum cm_decision)next_integer(&at);
    entry->decision.version = (uint32_t)next_integer(&at);
    entry->decision.distance = (uint32_t)next_integer(&at);
    entry->decision.text = next_text(&at);
    entry->decision.reason = next_text(&at);
    entry->decision.reviewer = next_text(&at);
    entry->decision.time = next_text(&at);
    entry->settings_id = next_integer(&at);
    return at.complete;
}

static enum cm_status no_memory(const struct cm_ledger *ledger, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
}

/* Hands all rows of a bound statement to the visitor and counts them. Finalizes it. */
static enum cm_status visit_all(struct cm_ledger *ledger, sqlite3_stmt *statement,
                                cm_ledger_visitor *visitor, void *context, uint64_t *count,
                                struct cm_error *error)
{
    enum cm_status status = CM_OK;
    int step = SQLITE_DONE;
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_ledger_entry entry;
        status = read_entry(statement, &entry) ? visitor(&entry, context, error)
                                               : no_memory(ledger, error);
        *count += 1;
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    return status;
}

enum cm_status cm_ledger_visit(struct cm_ledger *ledger, const char *segment_id,
                               cm_ledger_visitor *visitor, void *context, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    uint64_t count = 0;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(ledger, plan_sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_text(statement, 1, segment_id, -1, SQLITE_STATIC);
        status = visit_all(ledger, statement, visitor, context, &count, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_visit_row(struct cm_ledger *ledger, int64_t row_id,
                                   cm_ledger_visitor *visitor, void *context,
                                   struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    uint64_t count = 0;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(ledger, row_sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, row_id);
        status = visit_all(ledger, statement, visitor, context, &count, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status == CM_OK && count == 0 ? CM_NOT_FOUND : status;
}

/* --- Rows as people name them --- */

/* `segment` NULL: any. */
static enum cm_status visit_pair(struct cm_ledger *ledger, struct cm_span item, const char *segment,
                                 cm_ledger_visitor *visitor, void *context, uint64_t *count,
                                 struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(ledger, pair_sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_text(statement, 1, item.data, (int)item.length, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, segment, -1, SQLITE_STATIC);
        status = visit_all(ledger, statement, visitor, context, count, error);
    }
    return status;
}

static enum cm_status visit_key(struct cm_ledger *ledger, const char *name,
                                cm_ledger_visitor *visitor, void *context, uint64_t *count,
                                struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum { KEY_START_MIN = 8 };
    size_t length = strspn(name, "0123456789abcdef");
    if (name[length] != '\0' || length < KEY_START_MIN) {
        return CM_OK;
    }
    enum cm_status status = cm_sqlite_prepare(ledger, key_sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC);
        status = visit_all(ledger, statement, visitor, context, count, error);
    }
    return status;
}

static enum cm_status visit_position(struct cm_ledger *ledger, const char *name,
                                     cm_ledger_visitor *visitor, void *context, uint64_t *count,
                                     struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    char *end = NULL;
    long long number = name[0] == '#' ? strtoll(name + 1, &end, 10) : 0;
    if (number < 1 || *end != '\0') {
        return CM_OK;
    }
    enum cm_status status = cm_sqlite_prepare(ledger, position_sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, number - 1);
        status = visit_all(ledger, statement, visitor, context, count, error);
    }
    return status;
}

enum cm_status cm_ledger_visit_named(struct cm_ledger *ledger, const char *name,
                                     cm_ledger_visitor *visitor, void *context,
                                     struct cm_error *error)
{
    uint64_t count = 0;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status =
        visit_pair(ledger, cm_span_of(name), NULL, visitor, context, &count, error);
    for (const char *colon = strchr(name, ':'); status == CM_OK && count == 0 && colon != NULL;
         colon = strchr(colon + 1, ':')) {
        struct cm_span item = { name, (size_t)(colon - name) };
        status = visit_pair(ledger, item, colon + 1, visitor, context, &count, error);
    }
    if (status == CM_OK && count == 0) {
        status = visit_key(ledger, name, visitor, context, &count, error);
    }
    if (status == CM_OK && count == 0) {
        status = visit_position(ledger, name, visitor, context, &count, error);
    }
    if (status == CM_OK && count == 0) {
        status = cm_error_set(error, CM_NOT_FOUND,
                              "%s: no row \"%.200s\": expected ITEM, ITEM:SEGMENT, the row_key of "
                              "copy.csv or its beginning, or #N for the Nth row",
                              ledger->path, name);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- Decisions and earlier texts --- */

enum cm_status cm_ledger_visit_decisions(struct cm_ledger *ledger, int64_t row_id,
                                         cm_decision_visitor *visitor, void *context,
                                         struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT state, version, distance, ifnull(text, ''), reason, reviewer, decided"
        " FROM decision_event WHERE copy_id = ?1 ORDER BY version",
        &statement, error);
    int step = SQLITE_DONE;
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, row_id);
    }
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct columns at = { .statement = statement, .complete = true };
        struct cm_decided decision;
        decision.state = (enum cm_decision)next_integer(&at);
        decision.version = (uint32_t)next_integer(&at);
        decision.distance = (uint32_t)next_integer(&at);
        decision.text = next_text(&at);
        decision.reason = next_text(&at);
        decision.reviewer = next_text(&at);
        decision.time = next_text(&at);
        status = at.complete ? visitor(&decision, context, error) : no_memory(ledger, error);
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_earlier_text(struct cm_ledger *ledger, int64_t row_id, char **text,
                                      struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT CASE WHEN decision.state = 3 THEN decision.text ELSE old.text END"
        " FROM copy JOIN copy AS old ON old.item_id = copy.item_id"
        " AND old.segment_id = copy.segment_id AND old.scenario = copy.scenario"
        " AND old.channel = copy.channel AND old.language = copy.language"
        " LEFT JOIN decision ON decision.copy_id = old.id"
        " WHERE copy.id = ?1 AND old.settings_id <> copy.settings_id AND old.text <> ''"
        " AND old.finished <= copy.finished ORDER BY old.finished DESC, old.id DESC LIMIT 1",
        &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, row_id);
        int step = sqlite3_step(statement);
        if (step == SQLITE_ROW) {
            const char *found = (const char *)sqlite3_column_text(statement, 0);
            *text = found != NULL ? cm_strdup(found) : NULL;
            status = *text != NULL ? CM_OK : no_memory(ledger, error);
        } else {
            status = step == SQLITE_DONE ? CM_NOT_FOUND : cm_sqlite_breaks(ledger, error);
        }
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
