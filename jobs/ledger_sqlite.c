/* The ledger in one SQLite file, in WAL mode with a synced log, so that a commit survives a crash
 * of the process and of the machine. */
#include "jobs/ledger_sqlite.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum {
    /* A killed process gives its lock back only after its memory, which may be many gigabytes. */
    LOCK_PAUSE_MS = 50,
    LOCK_TRIES_MAX = 40,
};

static const char *const statement_sql[CM_SQLITE_STATEMENT_COUNT] = {
    [CM_SQLITE_BEGIN] = "BEGIN IMMEDIATE",
    [CM_SQLITE_COMMIT] = "COMMIT",
    [CM_SQLITE_FIND] =
        "SELECT id, status, score, gate_score, attempt, tries, cached_tokens, neighbours,"
        " item IS NOT NULL AND segment IS NOT NULL FROM copy WHERE row_key = ?1",
    [CM_SQLITE_PUT] =
        "INSERT INTO copy(row_key, settings_id, status, item_id, segment_id, scenario, channel,"
        " language, text, fields, score, flags, finish_reason, prompt_tokens, cached_tokens,"
        " output_tokens, attempt, tries, seed, model, error, gate_score, neighbours, finished,"
        " item, segment, judgement)"
        " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,"
        "?22,?23,?24,nullif(?25,0),nullif(?26,0),nullif(?27,''))"
        " ON CONFLICT(row_key) DO UPDATE SET settings_id=excluded.settings_id,"
        " status=excluded.status, text=excluded.text, fields=excluded.fields,"
        " score=excluded.score, flags=excluded.flags, finish_reason=excluded.finish_reason,"
        " prompt_tokens=excluded.prompt_tokens, cached_tokens=excluded.cached_tokens,"
        " output_tokens=excluded.output_tokens, attempt=excluded.attempt,"
        " tries=excluded.tries, model=excluded.model, error=excluded.error,"
        " gate_score=excluded.gate_score, neighbours=excluded.neighbours,"
        " finished=excluded.finished, item=excluded.item, segment=excluded.segment,"
        " judgement=excluded.judgement"
        " RETURNING id",
    [CM_SQLITE_PLAN] = "INSERT INTO plan(position, copy_id) VALUES(?1, ?2)",
    [CM_SQLITE_UPDATE_CACHED] = "UPDATE copy SET cached_tokens=?2, neighbours=?3 WHERE id=?1",
    [CM_SQLITE_READ] =
        "SELECT row_key, status, item_id, segment_id, scenario, channel, language, text,"
        " fields, score, flags, finish_reason, prompt_tokens, cached_tokens, output_tokens,"
        " attempt, tries, seed, model, error, ifnull(judgement, '')"
        " FROM plan JOIN copy ON copy.id = plan.copy_id ORDER BY position",
    [CM_SQLITE_FIND_ITEM] = "SELECT id FROM item WHERE digest = ?1",
    [CM_SQLITE_PUT_ITEM] = "INSERT INTO item(digest, title, facts) VALUES(?1, ?2, ?3) RETURNING id",
    [CM_SQLITE_FIND_SEGMENT] = "SELECT id FROM segment WHERE digest = ?1",
    [CM_SQLITE_PUT_SEGMENT] = "INSERT INTO segment(digest, attributes) VALUES(?1, ?3) RETURNING id",
    [CM_SQLITE_UPDATE_SOURCES] = "UPDATE copy SET item=?2, segment=?3 WHERE id=?1",
    [CM_SQLITE_PUT_SAMPLE] = "INSERT OR REPLACE INTO sample VALUES(?1,?2,?3,?4,?5,?6,?7)",
};

/* --- Errors --- */

static enum cm_status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return CM_OUT_OF_MEMORY;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return CM_INVALID_DATA;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return CM_ALREADY_EXISTS;
    default:
        return CM_IO;
    }
}

static const char *remedy_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return "; free some space on that disk and run the same command again";
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return "; choose a place that can be written to with --job";
    case SQLITE_NOTADB:
        return "; it is no copymill ledger: name another file with --job";
    case SQLITE_CORRUPT:
        return "; the ledger is damaged: put it aside and start again, or restore a copy";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "; another program has it open";
    default:
        return "";
    }
}

static enum cm_status report(struct cm_ledger *ledger, struct cm_error *error)
{
    int code = sqlite3_extended_errcode(ledger->database);
    return cm_error_set(error, status_of(code), "%s: %s (SQLite %d)%s", ledger->path,
                        sqlite3_errmsg(ledger->database), code, remedy_of(code));
}

/* A write failed. What the log holds after a failed sync is unknown, so nothing more is written:
 * the batch is dropped, and closing must not copy the log into the database either. */
enum cm_status cm_sqlite_breaks(struct cm_ledger *ledger, struct cm_error *error)
{
    ledger->broken = true;
    enum cm_status status = report(ledger, &ledger->failure);
    sqlite3_db_config(ledger->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    for (int i = 0; i < CM_SQLITE_STATEMENT_COUNT; i++) {
        sqlite3_reset(ledger->statements[i]);
    }
    if (sqlite3_get_autocommit(ledger->database) == 0) {
        sqlite3_exec(ledger->database, "ROLLBACK", NULL, NULL, NULL);
    }
    ledger->in_batch = false;
    if (error != NULL) {
        *error = ledger->failure;
    }
    return status;
}

enum cm_status cm_sqlite_still_broken(const struct cm_ledger *ledger, struct cm_error *error)
{
    if (error != NULL) {
        *error = ledger->failure;
    }
    return ledger->failure.status;
}

/* --- Opening --- */

static enum cm_status lock_path(struct cm_ledger *ledger, struct cm_error *error)
{
    ledger->lock_file = open(ledger->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (ledger->lock_file < 0) {
        return cm_error_set(error, CM_IO,
                            "%s: cannot open the ledger for writing: %s; choose another place with "
                            "--job",
                            ledger->path, strerror(errno));
    }
    const struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000 };
    int outcome = flock(ledger->lock_file, LOCK_EX | LOCK_NB);
    for (int i = 0; outcome != 0 && errno == EWOULDBLOCK && i < LOCK_TRIES_MAX; i++) {
        nanosleep(&pause, NULL);
        outcome = flock(ledger->lock_file, LOCK_EX | LOCK_NB);
    }
    if (outcome != 0 && errno == EWOULDBLOCK) {
        return cm_error_set(error, CM_ALREADY_EXISTS,
                            "%s: another copymill process is working on this job; wait for it to "
                            "end, or name another ledger with --job",
                            ledger->path);
    }
    if (outcome != 0) {
        return cm_error_set(error, CM_IO, "%s: cannot lock the ledger: %s", ledger->path,
                            strerror(errno));
    }
    return CM_OK;
}

enum cm_status cm_sqlite_execute(struct cm_ledger *ledger, const char *sql, struct cm_error *error)
{
    if (sqlite3_exec(ledger->database, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return cm_sqlite_breaks(ledger, error);
    }
    return CM_OK;
}

enum cm_status cm_sqlite_prepare(struct cm_ledger *ledger, const char *sql,
                                 sqlite3_stmt **statement, struct cm_error *error)
{
    if (sqlite3_prepare_v3(ledger->database, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) !=
        SQLITE_OK) {
        return cm_sqlite_breaks(ledger, error);
    }
    return CM_OK;
}

static enum cm_status open_database(struct cm_ledger *ledger, struct cm_error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(ledger->path, &ledger->database, flags, NULL) != SQLITE_OK) {
        return ledger->database != NULL
                   ? report(ledger, error)
                   : cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    sqlite3_busy_timeout(ledger->database, 2000); /* a reader may hold a lock for a moment */
    return CM_OK;
}

static enum cm_status open_for_writing(struct cm_ledger *ledger, struct cm_error *error)
{
    enum cm_status status = lock_path(ledger, error);
    if (status == CM_OK) {
        status = open_database(ledger, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_bring_up_to_date(ledger, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
                                   error);
    }
    return status;
}

static enum cm_status open_for_reading(struct cm_ledger *ledger, struct cm_error *error)
{
    bool current = false;
    if (access(ledger->path, F_OK) != 0) {
        return cm_error_set(error, CM_NOT_FOUND,
                            "%s: there is no such ledger; \"copymill run\" writes one beside its "
                            "output, copy.csv.job beside copy.csv",
                            ledger->path);
    }
    enum cm_status status = open_database(ledger, error);
    if (status == CM_OK) {
        status = cm_sqlite_check_version(ledger, &current, error);
    }
    if (status == CM_OK && !current) {
        sqlite3_close(ledger->database);
        ledger->database = NULL;
        status = open_for_writing(ledger, error); /* upgrades it */
    }
    return status == CM_OK ? cm_sqlite_execute(ledger, "PRAGMA query_only = ON", error) : status;
}

static enum cm_status
open_ledger(const char *path, enum cm_status (*open_file)(struct cm_ledger *, struct cm_error *),
            struct cm_ledger **ledger, struct cm_error *error)
{
    struct cm_ledger *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    pthread_mutex_init(&opened->lock, NULL);
    opened->lock_file = -1;
    opened->path = cm_strdup(path);
    enum cm_status status = CM_OK;
    if (opened->path == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    if (status == CM_OK) {
        status = open_file(opened, error);
    }
    for (int i = 0; status == CM_OK && i < CM_SQLITE_STATEMENT_COUNT; i++) {
        status = cm_sqlite_prepare(opened, statement_sql[i], &opened->statements[i], error);
    }
    if (status != CM_OK) {
        cm_ledger_close(opened);
        return status;
    }
    *ledger = opened;
    return CM_OK;
}

enum cm_status cm_ledger_open(const char *path, struct cm_ledger **ledger, struct cm_error *error)
{
    return open_ledger(path, open_for_writing, ledger, error);
}

enum cm_status cm_ledger_open_reading(const char *path, struct cm_ledger **ledger,
                                      struct cm_error *error)
{
    return open_ledger(path, open_for_reading, ledger, error);
}

void cm_ledger_close(struct cm_ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    for (int i = 0; i < CM_SQLITE_STATEMENT_COUNT; i++) {
        sqlite3_finalize(ledger->statements[i]);
    }
    sqlite3_close(ledger->database);
    if (ledger->lock_file >= 0) {
        close(ledger->lock_file);
    }
    pthread_mutex_destroy(&ledger->lock);
    cm_free(ledger->path);
    cm_free(ledger->searched);
    cm_free(ledger);
}

/* --- Statements --- */

void cm_sqlite_bind_text(sqlite3_stmt *statement, int *index, const char *text)
{
    sqlite3_bind_text(statement, (*index)++, text, -1, SQLITE_STATIC);
}

void cm_sqlite_bind_integer(sqlite3_stmt *statement, int *index, uint64_t value)
{
    sqlite3_bind_int64(statement, (*index)++, (int64_t)value);
}

/* Runs a statement that returns nothing. */
enum cm_status cm_sqlite_run(struct cm_ledger *ledger, sqlite3_stmt *statement,
                             struct cm_error *error)
{
    if (sqlite3_step(statement) != SQLITE_DONE) {
        return cm_sqlite_breaks(ledger, error);
    }
    /* With the step done the reset has nothing left to report. */
    sqlite3_reset(statement);
    return CM_OK;
}

enum cm_status cm_sqlite_begin_batch(struct cm_ledger *ledger, struct cm_error *error)
{
    if (ledger->broken) {
        return cm_sqlite_still_broken(ledger, error);
    }
    if (ledger->in_batch) {
        return CM_OK;
    }
    enum cm_status status = cm_sqlite_run(ledger, ledger->statements[CM_SQLITE_BEGIN], error);
    ledger->in_batch = status == CM_OK;
    return status;
}

enum cm_status cm_sqlite_commit_batch(struct cm_ledger *ledger, struct cm_error *error)
{
    if (ledger->broken) {
        return cm_sqlite_still_broken(ledger, error);
    }
    if (!ledger->in_batch) {
        return CM_OK;
    }
    enum cm_status status = cm_sqlite_run(ledger, ledger->statements[CM_SQLITE_COMMIT], error);
    ledger->in_batch = false;
    return status;
}

/* --- Rows --- */

enum cm_status cm_ledger_find(struct cm_ledger *ledger, const char *key,
                              struct cm_ledger_found *found, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = CM_OK;
    if (ledger->broken) {
        status = cm_sqlite_still_broken(ledger, error);
        goto unlock;
    }
    sqlite3_stmt *statement = ledger->statements[CM_SQLITE_FIND];
    int index = 1;
    cm_sqlite_bind_text(statement, &index, key);
    int step = sqlite3_step(statement);
    if (step == SQLITE_ROW) {
        found->row_id = sqlite3_column_int64(statement, 0);
        found->status = (enum cm_row_status)sqlite3_column_int(statement, 1);
        found->score = sqlite3_column_double(statement, 2);
        found->gate_score = sqlite3_column_double(statement, 3);
        found->attempt = (uint32_t)sqlite3_column_int64(statement, 4);
        found->tries = (uint32_t)sqlite3_column_int64(statement, 5);
        found->cached_tokens = (uint32_t)sqlite3_column_int64(statement, 6);
        found->neighbours = (uint64_t)sqlite3_column_int64(statement, 7);
        found->has_sources = sqlite3_column_int(statement, 8) != 0;
    } else {
        status = step == SQLITE_DONE ? CM_NOT_FOUND : cm_sqlite_breaks(ledger, error);
    }
    sqlite3_reset(statement);
unlock:
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* With the lock held and a batch open. */
static enum cm_status plan_row(struct cm_ledger *ledger, uint64_t position, int64_t row_id,
                               struct cm_error *error)
{
    sqlite3_stmt *statement = ledger->statements[CM_SQLITE_PLAN];
    int index = 1;
    cm_sqlite_bind_integer(statement, &index, position);
    cm_sqlite_bind_integer(statement, &index, (uint64_t)row_id);
    return cm_sqlite_run(ledger, statement, error);
}

static void bind_row(struct cm_ledger *ledger, sqlite3_stmt *statement,
                     const struct cm_ledger_place *place, const struct cm_copy_row *row)
{
    char now[CM_TIMESTAMP_BYTES];
    cm_clock_timestamp(now);
    int index = 1;
    cm_sqlite_bind_text(statement, &index, row->key);
    cm_sqlite_bind_integer(statement, &index, (uint64_t)ledger->settings_id);
    cm_sqlite_bind_integer(statement, &index, row->status);
    cm_sqlite_bind_text(statement, &index, row->item_id);
    cm_sqlite_bind_text(statement, &index, row->segment_id);
    cm_sqlite_bind_text(statement, &index, row->scenario);
    cm_sqlite_bind_text(statement, &index, row->channel);
    cm_sqlite_bind_text(statement, &index, row->language);
    cm_sqlite_bind_text(statement, &index, row->text);
    cm_sqlite_bind_text(statement, &index, row->fields);
    sqlite3_bind_double(statement, index++, row->score);
    cm_sqlite_bind_text(statement, &index, row->flags);
    cm_sqlite_bind_text(statement, &index, row->finish_reason);
    cm_sqlite_bind_integer(statement, &index, row->prompt_tokens);
    cm_sqlite_bind_integer(statement, &index, row->cached_tokens);
    cm_sqlite_bind_integer(statement, &index, row->output_tokens);
    cm_sqlite_bind_integer(statement, &index, row->attempt);
    cm_sqlite_bind_integer(statement, &index, row->tries);
    cm_sqlite_bind_integer(statement, &index, row->seed);
    cm_sqlite_bind_text(statement, &index, row->model);
    cm_sqlite_bind_text(statement, &index, row->error);
    sqlite3_bind_double(statement, index++, place->gate_score);
    cm_sqlite_bind_integer(statement, &index, place->neighbours);
    sqlite3_bind_text(statement, index++, now, -1, SQLITE_TRANSIENT);
    cm_sqlite_bind_integer(statement, &index, (uint64_t)place->item);
    cm_sqlite_bind_integer(statement, &index, (uint64_t)place->segment);
    cm_sqlite_bind_text(statement, &index, row->judgement);
}

enum cm_status cm_ledger_put(struct cm_ledger *ledger, const struct cm_ledger_place *place,
                             const struct cm_copy_row *row, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    sqlite3_stmt *statement = ledger->statements[CM_SQLITE_PUT];
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status != CM_OK) {
        goto unlock;
    }
    bind_row(ledger, statement, place, row);
    if (sqlite3_step(statement) != SQLITE_ROW) {
        status = cm_sqlite_breaks(ledger, error);
        goto unlock;
    }
    int64_t row_id = sqlite3_column_int64(statement, 0);
    status = cm_sqlite_run(ledger, statement, error);
    if (status == CM_OK) {
        status = plan_row(ledger, place->position, row_id, error);
    }
    sqlite3_clear_bindings(statement);
unlock:
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_reuse(struct cm_ledger *ledger, const struct cm_ledger_place *place,
                               int64_t row_id, bool update, uint32_t cached_tokens,
                               struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_begin_batch(ledger, error);
    if (status == CM_OK && update) {
        sqlite3_stmt *statement = ledger->statements[CM_SQLITE_UPDATE_CACHED];
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)row_id);
        cm_sqlite_bind_integer(statement, &index, cached_tokens);
        cm_sqlite_bind_integer(statement, &index, place->neighbours);
        status = cm_sqlite_run(ledger, statement, error);
    }
    if (status == CM_OK && place->item != 0 && place->segment != 0) {
        sqlite3_stmt *statement = ledger->statements[CM_SQLITE_UPDATE_SOURCES];
        int index = 1;
        cm_sqlite_bind_integer(statement, &index, (uint64_t)row_id);
        cm_sqlite_bind_integer(statement, &index, (uint64_t)place->item);
        cm_sqlite_bind_integer(statement, &index, (uint64_t)place->segment);
        status = cm_sqlite_run(ledger, statement, error);
    }
    if (status == CM_OK) {
        status = plan_row(ledger, place->position, row_id, error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

enum cm_status cm_ledger_commit(struct cm_ledger *ledger, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_commit_batch(ledger, error);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
