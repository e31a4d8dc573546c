/* The ledger's view of a whole run: its settings, its plan read in order, its output files. */
#include "jobs/ledger_sqlite.h"

#include "base/clock.h"

#include <string.h>

/* --- A run --- */

static enum cm_status store_pair(struct cm_ledger *ledger, const struct cm_ledger_setting *pair,
                                 struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status =
        cm_sqlite_prepare(ledger, "INSERT INTO setting VALUES(?1, ?2, ?3)", &statement, error);
    if (status == CM_OK) {
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)ledger->settings_id);
        cm_sqlite_bind_text(statement, &index, pair->name);
        cm_sqlite_bind_text(statement, &index, pair->value);
        status = cm_sqlite_run(ledger, statement, error);
        sqlite3_finalize(statement);
    }
    return status;
}

static enum cm_status store_settings(struct cm_ledger *ledger,
                                     const struct cm_ledger_settings *settings,
                                     struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "INSERT INTO settings(digest, last_run) VALUES(?1, ?2)"
        " ON CONFLICT(digest) DO UPDATE SET last_run = excluded.last_run RETURNING id",
        &statement, error);
    if (status != CM_OK) {
        return status;
    }
    int index = 1;
    cm_sqlite_bind_text(statement, &index, settings->digest);
    cm_sqlite_bind_text(statement, &index, now);
    if (sqlite3_step(statement) == SQLITE_ROW) {
        ledger->settings_id = sqlite3_column_int64(statement, 0);
        status = cm_sqlite_run(ledger, statement, error);
    } else {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    if (status != CM_OK) {
        return status;
    }
    char *sql = sqlite3_mprintf("DELETE FROM setting WHERE settings_id = %lld",
                                (long long)ledger->settings_id);
    if (sql == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    status = cm_sqlite_execute(ledger, sql, error);
    sqlite3_free(sql);
    for (size_t i = 0; status == CM_OK && i < settings->pairs_count; i++) {
        status = store_pair(ledger, &settings->pairs[i], error);
    }
    return status;
}

static enum cm_status count_contents(struct cm_ledger *ledger, struct cm_ledger_contents *contents,
                                     struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(ledger,
                                              "SELECT settings_id, count(*) FROM copy"
                                              " WHERE status IN (2, 3) GROUP BY settings_id",
                                              &statement, error);
    if (status != CM_OK) {
        return status;
    }
    *contents = (struct cm_ledger_contents){ 0 };
    int step;
    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        uint64_t rows_count = (uint64_t)sqlite3_column_int64(statement, 1);
        if (sqlite3_column_int64(statement, 0) == ledger->settings_id) {
            contents->rows_same += rows_count;
        } else {
            contents->rows_other += rows_count;
        }
    }
    if (step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    return status;
}

static enum cm_status store_run(struct cm_ledger *ledger, struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger, "INSERT INTO run(settings_id, began) VALUES(?1, ?2)", &statement, error);
    if (status == CM_OK) {
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)ledger->settings_id);
        cm_sqlite_bind_text(statement, &index, now);
        status = cm_sqlite_run(ledger, statement, error);
        ledger->run_id = sqlite3_last_insert_rowid(ledger->database);
        sqlite3_finalize(statement);
    }
    return status;
}

enum cm_status cm_ledger_begin(struct cm_ledger *ledger, const struct cm_ledger_settings *settings,
                               struct cm_ledger_contents *contents, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, "DELETE FROM plan", error);
    }
    if (status == CM_OK) {
        status = store_settings(ledger, settings, error);
    }
    if (status == CM_OK) {
        status = store_run(ledger, error);
    }
    if (status == CM_OK) {
        status = count_contents(ledger, contents, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_put_sample(struct cm_ledger *ledger, const struct cm_ledger_sample *sample,
                                    struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        sqlite3_stmt *statement = ledger->statements[CM_SQLITE_PUT_SAMPLE];
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)ledger->run_id);
        cm_sqlite_bind_integer(statement, &index, sample->at_ms);
        cm_sqlite_bind_integer(statement, &index, sample->rows);
        cm_sqlite_bind_integer(statement, &index, sample->prefill_tokens);
        cm_sqlite_bind_integer(statement, &index, sample->shared_tokens);
        cm_sqlite_bind_integer(statement, &index, sample->output_tokens);
        cm_sqlite_bind_integer(statement, &index, sample->active);
        status = cm_sqlite_run(ledger, statement, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_end_run(struct cm_ledger *ledger, const char *figures,
                                 struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, "UPDATE run SET ended = ?2, figures = ?3 WHERE id = ?1",
                                   &statement, error);
    }
    if (status == CM_OK) {
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)ledger->run_id);
        cm_sqlite_bind_text(statement, &index, now);
        cm_sqlite_bind_text(statement, &index, figures);
        status = cm_sqlite_run(ledger, statement, error);
    }
    sqlite3_finalize(statement);
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- What rows are written from --- */

/* `find` and `put` give one number each. */
static enum cm_status put_source(struct cm_ledger *ledger, enum cm_sqlite_statement find,
                                 enum cm_sqlite_statement put,
                                 const struct cm_ledger_source *source, int64_t *number,
                                 struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = ledger->statements[find];
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status != CM_OK) {
        goto unlock;
    }
    sqlite3_bind_text(statement, 1, source->digest, -1, SQLITE_STATIC);
    int step = sqlite3_step(statement);
    if (step == SQLITE_DONE) {
        sqlite3_reset(statement);
        statement = ledger->statements[put];
        sqlite3_bind_text(statement, 1, source->digest, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 2, source->title, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, source->attributes, -1, SQLITE_STATIC);
        step = sqlite3_step(statement);
    }
    if (step != SQLITE_ROW) {
        status = cm_sqlite_breaks(ledger, error);
        goto unlock;
    }
    *number = sqlite3_column_int64(statement, 0);
    if (sqlite3_step(statement) != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
        goto unlock;
    }
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
unlock:
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_put_item(struct cm_ledger *ledger, const struct cm_ledger_source *item,
                                  int64_t *number, struct cm_error *error)
{
    return put_source(ledger, CM_SQLITE_FIND_ITEM, CM_SQLITE_PUT_ITEM, item, number, error);
}

enum cm_status cm_ledger_put_segment(struct cm_ledger *ledger,
                                     const struct cm_ledger_source *segment, int64_t *number,
                                     struct cm_error *error)
{
    return put_source(ledger, CM_SQLITE_FIND_SEGMENT, CM_SQLITE_PUT_SEGMENT, segment, number,
                      error);
}

/* --- Reading the plan --- */

enum cm_status cm_ledger_rewind(struct cm_ledger *ledger, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_reset(ledger->statements[CM_SQLITE_READ]);
    enum cm_status status = cm_sqlite_commit_batch(ledger, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

static const char *column_text(sqlite3_stmt *statement, int *index)
{
    return (const char *)sqlite3_column_text(statement, (*index)++);
}

static bool read_row(sqlite3_stmt *statement, struct cm_copy_row *row)
{
    int index = 0;
    const char *key = column_text(statement, &index);
    row->status = (enum cm_row_status)sqlite3_column_int(statement, index++);
    const char **first[] = { &row->item_id,  &row->segment_id, &row->scenario, &row->channel,
                             &row->language, &row->text,       &row->fields };
    const char **last[] = { &row->model, &row->error, &row->judgement };
    bool complete = key != NULL;
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        *first[i] = column_text(statement, &index);
        complete = complete && *first[i] != NULL;
    }
    row->score = sqlite3_column_double(statement, index++);
    row->flags = column_text(statement, &index);
    row->finish_reason = column_text(statement, &index);
    row->prompt_tokens = (uint32_t)sqlite3_column_int64(statement, index++);
    row->cached_tokens = (uint32_t)sqlite3_column_int64(statement, index++);
    row->output_tokens = (uint32_t)sqlite3_column_int64(statement, index++);
    row->attempt = (uint32_t)sqlite3_column_int64(statement, index++);
    row->tries = (uint32_t)sqlite3_column_int64(statement, index++);
    row->seed = (uint64_t)sqlite3_column_int64(statement, index++);
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++) {
        *last[i] = column_text(statement, &index);
        complete = complete && *last[i] != NULL;
    }
    complete = complete && row->flags != NULL && row->finish_reason != NULL;
    if (complete) {
        strncpy(row->key, key, sizeof row->key - 1);
        row->key[sizeof row->key - 1] = '\0';
    }
    return complete;
}

enum cm_status cm_ledger_next(struct cm_ledger *ledger, struct cm_copy_row *row,
                              struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = ledger->statements[CM_SQLITE_READ];
    enum cm_status status = CM_OK;
    if (ledger->broken) {
        status = cm_sqlite_still_broken(ledger, error);
    } else {
        int step = sqlite3_step(statement);
        if (step == SQLITE_DONE) {
            status = CM_END;
        } else if (step != SQLITE_ROW) {
            status = cm_sqlite_breaks(ledger, error);
        } else if (!read_row(statement, row)) {
            /* The columns are NOT NULL, so a NULL here is a conversion that found no memory. */
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
        }
        if (status != CM_OK) {
            sqlite3_reset(statement);
        }
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- Output files --- */

static void bind_output(sqlite3_stmt *statement, const struct cm_ledger_output *output)
{
    int index = 1;
    cm_sqlite_bind_integer(statement, &index, output->inode);
    cm_sqlite_bind_integer(statement, &index, output->file_bytes);
    cm_sqlite_bind_integer(statement, &index, (uint64_t)output->modified_ns);
}

enum cm_status cm_ledger_remember_output(struct cm_ledger *ledger,
                                         const struct cm_ledger_output *output,
                                         struct cm_error *error)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, "INSERT OR REPLACE INTO output VALUES(?1, ?2, ?3, ?4)",
                                   &statement, error);
    }
    if (status == CM_OK) {
        bind_output(statement, output);
        sqlite3_bind_text(statement, 4, now, -1, SQLITE_STATIC);
        status = cm_sqlite_run(ledger, statement, error);
    }
    sqlite3_finalize(statement);
    if (status == CM_OK) {
        status = cm_sqlite_commit_batch(ledger, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_knows_output(struct cm_ledger *ledger,
                                      const struct cm_ledger_output *output, bool *known,
                                      struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = NULL;
    enum cm_status status = ledger->broken ? cm_sqlite_still_broken(ledger, error) : CM_OK;
    if (status == CM_OK) {
        status = cm_sqlite_prepare(
            ledger, "SELECT 1 FROM output WHERE inode=?1 AND file_bytes=?2 AND modified_ns=?3",
            &statement, error);
    }
    if (status == CM_OK) {
        bind_output(statement, output);
        int step = sqlite3_step(statement);
        *known = step == SQLITE_ROW;
        if (step != SQLITE_ROW && step != SQLITE_DONE) {
            status = cm_sqlite_breaks(ledger, error);
        }
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
