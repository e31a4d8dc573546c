/* What people decide. The tables' triggers keep every decision that ever was. */
#include "jobs/ledger_review.h"
#include "jobs/ledger_sqlite.h"

#include "base/clock.h"
#include "base/memory.h"

#include <string.h>

static enum cm_status no_memory(const struct cm_ledger *ledger, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
}

/* --- One row --- */

/* What the row is now, and whether it has a text of its own. */
static enum cm_status look_up(struct cm_ledger *ledger, int64_t row_id, struct cm_decision_now *now,
                              bool *has_text, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT ifnull(state, 0), ifnull(version, 0), copy.text <> '' FROM temp.queue"
        " JOIN copy ON copy.id = queue.copy_id LEFT JOIN decision ON decision.copy_id = copy.id"
        " WHERE queue.copy_id = ?1",
        &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, row_id);
        int step = sqlite3_step(statement);
        if (step == SQLITE_ROW) {
            now->state = (enum cm_decision)sqlite3_column_int(statement, 0);
            now->version = (uint32_t)sqlite3_column_int64(statement, 1);
            *has_text = sqlite3_column_int(statement, 2) != 0;
        } else {
            status = step == SQLITE_DONE ? CM_NOT_FOUND : cm_sqlite_breaks(ledger, error);
        }
    }
    sqlite3_finalize(statement);
    return status;
}

static enum cm_status update_queue(struct cm_ledger *ledger, int64_t row_id, enum cm_decision state,
                                   struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger, "UPDATE temp.queue SET decision = ?2 WHERE copy_id = ?1", &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, row_id);
        sqlite3_bind_int(statement, 2, (int)state);
        status = cm_sqlite_run(ledger, statement, error);
    }
    sqlite3_finalize(statement);
    return status;
}

static enum cm_status store(struct cm_ledger *ledger, const struct cm_decide *decide,
                            struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "INSERT INTO decision(copy_id, state, version, text, reason, reviewer, decided, distance,"
        " batch) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0) ON CONFLICT(copy_id) DO UPDATE SET"
        " state = excluded.state, version = excluded.version, text = excluded.text,"
        " reason = excluded.reason, reviewer = excluded.reviewer, decided = excluded.decided,"
        " distance = excluded.distance, batch = 0",
        &statement, error);
    if (status == CM_OK) {
        bool edited = decide->state == CM_DECISION_EDITED;
        sqlite3_bind_int64(statement, 1, decide->row_id);
        sqlite3_bind_int(statement, 2, (int)decide->state);
        sqlite3_bind_int64(statement, 3, (int64_t)decide->version + 1);
        sqlite3_bind_text(statement, 4, edited ? decide->text : NULL, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 5, decide->reason, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 6, decide->reviewer, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 7, now, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 8, edited ? decide->distance : 0);
        status = cm_sqlite_run(ledger, statement, error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* With the lock held. */
static enum cm_status decide_row(struct cm_ledger *ledger, const struct cm_decide *decide,
                                 struct cm_decision_now *now, struct cm_error *error)
{
    bool has_text = false;
    if (ledger->broken) {
        return cm_sqlite_still_broken(ledger, error);
    }
    enum cm_status status = look_up(ledger, decide->row_id, now, &has_text, error);
    if (status != CM_OK) {
        return status;
    }
    if (now->version != decide->version) {
        return CM_ALREADY_EXISTS;
    }
    bool empty = (decide->state == CM_DECISION_APPROVED && !has_text) ||
                 (decide->state == CM_DECISION_EDITED && decide->text[0] == '\0');
    if (empty) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "an empty text cannot be approved");
    }
    status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        status = store(ledger, decide, error);
    }
    if (status == CM_OK) {
        status = update_queue(ledger, decide->row_id, decide->state, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    if (status == CM_OK) {
        *now = (struct cm_decision_now){ decide->state, decide->version + 1 };
        cm_free(ledger->searched); /* an edited text is found by other words */
        ledger->searched = NULL;
    }
    return status;
}

enum cm_status cm_ledger_decide(struct cm_ledger *ledger, const struct cm_decide *decide,
                                struct cm_decision_now *now, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = decide_row(ledger, decide, now, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_decide_back(struct cm_ledger *ledger, const struct cm_decide *decide,
                                     uint32_t earlier, struct cm_decision_now *now,
                                     struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    struct cm_decide back = *decide;
    back.state = CM_DECISION_OPEN;
    back.reason = "";
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status =
        cm_sqlite_prepare(ledger,
                          "SELECT state, ifnull(text, ''), reason, distance FROM decision_event"
                          " WHERE copy_id = ?1 AND version = ?2",
                          &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, decide->row_id);
        sqlite3_bind_int64(statement, 2, earlier);
        int step = sqlite3_step(statement);
        if (step == SQLITE_ROW) {
            back.state = (enum cm_decision)sqlite3_column_int(statement, 0);
            back.text = (const char *)sqlite3_column_text(statement, 1);
            back.reason = (const char *)sqlite3_column_text(statement, 2);
            back.distance = (uint32_t)sqlite3_column_int64(statement, 3);
            if (back.text == NULL || back.reason == NULL) {
                status = no_memory(ledger, error);
            }
        } else if (step != SQLITE_DONE) {
            status = cm_sqlite_breaks(ledger, error);
        } else if (earlier != 0) {
            status = CM_NOT_FOUND;
        }
    }
    if (status == CM_OK) {
        status = decide_row(ledger, &back, now, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- Many rows --- */

static enum cm_status next_batch(struct cm_ledger *ledger, int64_t *batch, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger, "SELECT ifnull(max(id), 0) + 1 FROM decision_event", &statement, error);
    if (status == CM_OK && sqlite3_step(statement) == SQLITE_ROW) {
        *batch = sqlite3_column_int64(statement, 0);
    } else if (status == CM_OK) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* Numbers of parameters beside those of the filter. */
enum { P_REVIEWER = 11, P_NOW, P_BATCH };

static enum cm_status store_many(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                 const char *reviewer, int64_t batch, uint64_t *count,
                                 struct cm_error *error)
{
    enum { QUERY_BYTES_MAX = 4096 };
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    struct cm_text sql = CM_TEXT_INIT(QUERY_BYTES_MAX);
    sqlite3_stmt *statement = NULL;
    bool complete =
        cm_text_append_string(
            &sql, "INSERT INTO decision(copy_id, state, version, text, reason, reviewer, decided,"
                  " distance, batch) SELECT copy.id, 1, ifnull(decision.version, 0) + 1, NULL, '',"
                  " ?11, ?12, 0, ?13 FROM temp.queue CROSS JOIN copy ON copy.id = queue.copy_id"
                  " LEFT JOIN decision ON decision.copy_id = copy.id") == CM_OK;
    cm_sqlite_filter_sql(filter, &sql);
    complete =
        complete && sql.length > 0 &&
        cm_text_append_string(
            &sql, " AND queue.decision = 0 AND copy.text <> '' ON CONFLICT(copy_id) DO UPDATE SET"
                  " state = 1, version = excluded.version, text = NULL, reason = '',"
                  " reviewer = excluded.reviewer, decided = excluded.decided, distance = 0,"
                  " batch = excluded.batch") == CM_OK;
    enum cm_status status = complete
                                ? cm_sqlite_prepare(ledger, cm_text_string(&sql), &statement, error)
                                : no_memory(ledger, error);
    if (status == CM_OK) {
        cm_sqlite_bind_filter(statement, filter);
        sqlite3_bind_text(statement, P_REVIEWER, reviewer, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, P_NOW, now, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, P_BATCH, batch);
        status = cm_sqlite_run(ledger, statement, error);
        *count = (uint64_t)sqlite3_changes64(ledger->database);
    }
    sqlite3_finalize(statement);
    cm_text_deinit(&sql);
    return status;
}

/* ?1: the batch, ?2: the reviewer, ?3: the time; those that a statement does not name are ignored.
 */
static enum cm_status run_for_batch(struct cm_ledger *ledger, const char *sql, int64_t batch,
                                    const char *reviewer, uint64_t *count, struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(ledger, sql, &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, batch);
        sqlite3_bind_text(statement, 2, reviewer, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, now, -1, SQLITE_STATIC);
        status = cm_sqlite_run(ledger, statement, error);
        *count = (uint64_t)sqlite3_changes64(ledger->database);
    }
    sqlite3_finalize(statement);
    return status;
}

enum cm_status cm_ledger_decide_many(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                     const char *reviewer, int64_t *batch, uint64_t *count,
                                     struct cm_error *error)
{
    uint64_t marked = 0;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_search(ledger, filter->search, error);
    if (status == CM_OK) {
        status = cm_sqlite_begin_batch(ledger, error);
    }
    if (status == CM_OK) {
        status = next_batch(ledger, batch, error);
    }
    if (status == CM_OK) {
        status = store_many(ledger, filter, reviewer, *batch, count, error);
    }
    if (status == CM_OK) {
        status = run_for_batch(ledger,
                               "UPDATE temp.queue SET decision = 1 WHERE copy_id IN"
                               " (SELECT copy_id FROM decision WHERE batch = ?1 AND batch <> 0)",
                               *batch, reviewer, &marked, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_decide_many_back(struct cm_ledger *ledger, int64_t batch,
                                          const char *reviewer, uint64_t *count,
                                          struct cm_error *error)
{
    uint64_t marked = 0;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        status = run_for_batch(ledger,
                               "UPDATE temp.queue SET decision = 0 WHERE copy_id IN"
                               " (SELECT copy_id FROM decision WHERE batch = ?1 AND batch <> 0)",
                               batch, reviewer, &marked, error);
    }
    if (status == CM_OK) {
        status = run_for_batch(ledger,
                               "UPDATE decision SET state = 0, version = version + 1,"
                               " reviewer = ?2, decided = ?3, batch = 0"
                               " WHERE batch = ?1 AND batch <> 0",
                               batch, reviewer, count, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- Progress --- */

enum cm_status cm_ledger_review_progress(struct cm_ledger *ledger, const char *reviewer,
                                         struct cm_progress_counts *counts, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    *counts = (struct cm_progress_counts){ 0 };
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT decision, rows FROM temp.decision_count"
        " UNION ALL SELECT -1, count(*) FROM decision WHERE reviewer = ?1 AND state <> 0"
        " UNION ALL SELECT -2, ifnull(max(id), 0) FROM decision_event",
        &statement, error);
    int step = SQLITE_DONE;
    if (status == CM_OK) {
        sqlite3_bind_text(statement, 1, reviewer, -1, SQLITE_STATIC);
    }
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        int kind = sqlite3_column_int(statement, 0);
        int64_t number = sqlite3_column_int64(statement, 1);
        if (kind == -1) {
            counts->own = (uint64_t)number;
        } else if (kind == -2) {
            counts->last = number;
        } else if (kind >= 0 && kind < CM_DECISION_COUNT) {
            counts->rows[kind] = (uint64_t)number;
        }
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_decided_since(struct cm_ledger *ledger, int64_t since, uint32_t rows_max,
                                       cm_queue_visitor *visitor, void *context,
                                       struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status =
        cm_sqlite_prepare(ledger,
                          "SELECT copy_id, state, version FROM decision_event WHERE id > ?1"
                          " ORDER BY id LIMIT ?2",
                          &statement, error);
    int step = SQLITE_DONE;
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, since);
        sqlite3_bind_int64(statement, 2, rows_max);
    }
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_queue_row row = {
            .row_id = sqlite3_column_int64(statement, 0),
            .decision = (enum cm_decision)sqlite3_column_int(statement, 1),
            .version = (uint32_t)sqlite3_column_int64(statement, 2),
        };
        status = visitor(&row, context, error);
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
