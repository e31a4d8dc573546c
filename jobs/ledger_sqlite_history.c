/* Reading what is known of the runs. */
#include "jobs/ledger_history.h"
#include "jobs/ledger_sqlite.h"

static enum cm_status no_memory(const struct cm_ledger *ledger, struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
}

/* Ends a visit: what the last step was, unless a visitor ended it. */
static enum cm_status finish(struct cm_ledger *ledger, sqlite3_stmt *statement,
                             enum cm_status status, int step, struct cm_error *error)
{
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    return status;
}

enum cm_status cm_ledger_visit_runs(struct cm_ledger *ledger, cm_run_visitor *visitor,
                                    void *context, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT id, settings_id, began, ifnull(ended, ''), ifnull(figures, '') FROM run"
        " ORDER BY id",
        &statement, error);
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_ledger_run run = {
            .run_id = sqlite3_column_int64(statement, 0),
            .settings_id = sqlite3_column_int64(statement, 1),
            .began = (const char *)sqlite3_column_text(statement, 2),
            .ended = (const char *)sqlite3_column_text(statement, 3),
            .figures = (const char *)sqlite3_column_text(statement, 4),
        };
        bool whole = run.began != NULL && run.ended != NULL && run.figures != NULL;
        status = whole ? visitor(&run, context, error) : no_memory(ledger, error);
    }
    status = finish(ledger, statement, status, step, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_visit_settings(struct cm_ledger *ledger, int64_t settings_id,
                                        cm_setting_visitor *visitor, void *context,
                                        struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger, "SELECT name, value FROM setting WHERE settings_id = ?1 ORDER BY name", &statement,
        error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, settings_id);
    }
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_ledger_setting setting = {
            .name = (const char *)sqlite3_column_text(statement, 0),
            .value = (const char *)sqlite3_column_text(statement, 1),
        };
        bool whole = setting.name != NULL && setting.value != NULL;
        status = whole ? visitor(&setting, context, error) : no_memory(ledger, error);
    }
    status = finish(ledger, statement, status, step, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_visit_samples(struct cm_ledger *ledger, int64_t run_id,
                                       cm_sample_visitor *visitor, void *context,
                                       struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT at_ms, rows, prefill_tokens, shared_tokens, output_tokens, active FROM sample"
        " WHERE run_id = ?1 ORDER BY at_ms",
        &statement, error);
    if (status == CM_OK) {
        sqlite3_bind_int64(statement, 1, run_id);
    }
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_ledger_sample sample = {
            .at_ms = (uint64_t)sqlite3_column_int64(statement, 0),
            .rows = (uint64_t)sqlite3_column_int64(statement, 1),
            .prefill_tokens = (uint64_t)sqlite3_column_int64(statement, 2),
            .shared_tokens = (uint64_t)sqlite3_column_int64(statement, 3),
            .output_tokens = (uint64_t)sqlite3_column_int64(statement, 4),
            .active = (uint32_t)sqlite3_column_int64(statement, 5),
        };
        status = visitor(&sample, context, error);
    }
    status = finish(ledger, statement, status, step, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
