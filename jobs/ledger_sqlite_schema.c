/* What is in the file, and how a ledger of an earlier version becomes one of this version. */
#include "jobs/ledger_sqlite.h"

enum { APPLICATION_ID = 0x434D4A42 /* "CMJB" */ };

/* Step n makes version n + 1 of version n. A step that was published is never changed: a new
 * version is a new step. */
static const char *const steps[] = {
    /* 1: settings, rows, the plan of the latest run, output files */
    "CREATE TABLE settings(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,"
    " last_run TEXT NOT NULL);"
    "CREATE TABLE setting(settings_id INTEGER NOT NULL REFERENCES settings(id),"
    " name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY(settings_id, name)) WITHOUT ROWID;"
    "CREATE TABLE copy(id INTEGER PRIMARY KEY, row_key TEXT NOT NULL UNIQUE,"
    " settings_id INTEGER NOT NULL REFERENCES settings(id),"
    " status INTEGER NOT NULL CHECK(status BETWEEN 0 AND 4),"
    " item_id TEXT NOT NULL, segment_id TEXT NOT NULL, scenario TEXT NOT NULL,"
    " channel TEXT NOT NULL, language TEXT NOT NULL, text TEXT NOT NULL, fields TEXT NOT NULL,"
    " score REAL NOT NULL, flags TEXT NOT NULL, finish_reason TEXT NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL,"
    " output_tokens INTEGER NOT NULL, attempt INTEGER NOT NULL, tries INTEGER NOT NULL,"
    " seed INTEGER NOT NULL, model TEXT NOT NULL, error TEXT NOT NULL,"
    " gate_score REAL NOT NULL, neighbours INTEGER NOT NULL, finished TEXT NOT NULL);"
    "CREATE INDEX copy_by_settings ON copy(settings_id, status);"
    "CREATE TABLE plan(position INTEGER PRIMARY KEY, copy_id INTEGER NOT NULL);"
    "CREATE TABLE output(inode INTEGER NOT NULL, file_bytes INTEGER NOT NULL,"
    " modified_ns INTEGER NOT NULL, written TEXT NOT NULL,"
    " PRIMARY KEY(inode, file_bytes, modified_ns)) WITHOUT ROWID;",

    /* 2: what the rows were written from, how they were judged, what people decided, and how the
     * runs went. A decision is about one text: where a run writes another in its place, the row
     * is open again. */
    "CREATE TABLE item(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,"
    " title TEXT NOT NULL, facts TEXT NOT NULL);"
    "CREATE TABLE segment(id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE,"
    " attributes TEXT NOT NULL);"
    "ALTER TABLE copy ADD COLUMN item INTEGER REFERENCES item(id);"
    "ALTER TABLE copy ADD COLUMN segment INTEGER REFERENCES segment(id);"
    "ALTER TABLE copy ADD COLUMN judgement TEXT;"
    "CREATE INDEX plan_by_copy ON plan(copy_id);"
    "CREATE INDEX copy_by_item ON copy(item_id, segment_id);"
    "CREATE TABLE run(id INTEGER PRIMARY KEY,"
    " settings_id INTEGER NOT NULL REFERENCES settings(id), began TEXT NOT NULL,"
    " ended TEXT, figures TEXT);"
    "CREATE TABLE sample(run_id INTEGER NOT NULL REFERENCES run(id), at_ms INTEGER NOT NULL,"
    " rows INTEGER NOT NULL, prefill_tokens INTEGER NOT NULL, shared_tokens INTEGER NOT NULL,"
    " output_tokens INTEGER NOT NULL, active INTEGER NOT NULL,"
    " PRIMARY KEY(run_id, at_ms)) WITHOUT ROWID;"
    "CREATE TABLE decision(copy_id INTEGER PRIMARY KEY REFERENCES copy(id),"
    " state INTEGER NOT NULL CHECK(state BETWEEN 0 AND 3), version INTEGER NOT NULL,"
    " text TEXT, reason TEXT NOT NULL, reviewer TEXT NOT NULL, decided TEXT NOT NULL,"
    " distance INTEGER NOT NULL, batch INTEGER NOT NULL);"
    "CREATE INDEX decision_by_reviewer ON decision(reviewer, state);"
    "CREATE INDEX decision_by_batch ON decision(batch) WHERE batch <> 0;"
    "CREATE TABLE decision_event(id INTEGER PRIMARY KEY,"
    " copy_id INTEGER NOT NULL REFERENCES copy(id), state INTEGER NOT NULL,"
    " version INTEGER NOT NULL, text TEXT, reason TEXT NOT NULL, reviewer TEXT NOT NULL,"
    " decided TEXT NOT NULL, distance INTEGER NOT NULL, batch INTEGER NOT NULL,"
    " UNIQUE(copy_id, version));"
    "CREATE TRIGGER decision_is_remembered_first AFTER INSERT ON decision BEGIN"
    " INSERT INTO decision_event(copy_id, state, version, text, reason, reviewer, decided,"
    " distance, batch) VALUES(new.copy_id, new.state, new.version, new.text, new.reason,"
    " new.reviewer, new.decided, new.distance, new.batch); END;"
    "CREATE TRIGGER decision_is_remembered AFTER UPDATE ON decision BEGIN"
    " INSERT INTO decision_event(copy_id, state, version, text, reason, reviewer, decided,"
    " distance, batch) VALUES(new.copy_id, new.state, new.version, new.text, new.reason,"
    " new.reviewer, new.decided, new.distance, new.batch); END;"
    "CREATE TRIGGER copy_is_rewritten AFTER UPDATE OF text ON copy"
    " WHEN old.text IS NOT new.text BEGIN"
    " UPDATE decision SET state = 0, version = version + 1, text = NULL, reason = 'rewritten',"
    " reviewer = '', decided = new.finished, distance = 0, batch = 0 WHERE copy_id = new.id;"
    " END;",
};
enum { SCHEMA_VERSION = sizeof steps / sizeof steps[0] };

/* One number from a query without parameters. */
static enum cm_status query_number(struct cm_ledger *ledger, const char *sql, int64_t *number,
                                   struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    enum cm_status status = cm_sqlite_prepare(ledger, sql, &statement, error);
    if (status != CM_OK) {
        return status;
    }
    if (sqlite3_step(statement) == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
    } else {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    return status;
}

/* All steps after `version` in one transaction: a ledger is of one version or of another. */
static enum cm_status upgrade(struct cm_ledger *ledger, int64_t version, struct cm_error *error)
{
    enum cm_status status = cm_sqlite_execute(ledger, "BEGIN IMMEDIATE", error);
    for (int64_t i = version; status == CM_OK && i < SCHEMA_VERSION; i++) {
        status = cm_sqlite_execute(ledger, steps[i], error);
    }
    if (status != CM_OK) {
        return status;
    }
    char *sql = sqlite3_mprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
                                APPLICATION_ID, SCHEMA_VERSION);
    if (sql == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    status = cm_sqlite_execute(ledger, sql, error);
    sqlite3_free(sql);
    return status;
}

enum cm_status cm_sqlite_check_version(struct cm_ledger *ledger, bool *current,
                                       struct cm_error *error)
{
    int64_t application_id = 0;
    int64_t version = 0;
    int64_t tables_count = 0;
    enum cm_status status = query_number(ledger, "PRAGMA application_id", &application_id, error);
    if (status == CM_OK) {
        status = query_number(ledger, "PRAGMA user_version", &version, error);
    }
    if (status == CM_OK) {
        status = query_number(ledger, "SELECT count(*) FROM sqlite_schema", &tables_count, error);
    }
    if (status != CM_OK) {
        return status;
    }
    bool is_new = application_id == 0 && version == 0 && tables_count == 0;
    if (!is_new && application_id != APPLICATION_ID) {
        return cm_error_set(error, CM_INVALID_DATA,
                            "%s: a database of another program, not a copymill ledger; name "
                            "another file with --job",
                            ledger->path);
    }
    if (version < 0 || version > SCHEMA_VERSION) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "%s: written by a later version of copymill (ledger version %lld, this "
                            "program reads up to %d); name another file with --job",
                            ledger->path, (long long)version, SCHEMA_VERSION);
    }
    *current = version == SCHEMA_VERSION;
    return CM_OK;
}

enum cm_status cm_sqlite_bring_up_to_date(struct cm_ledger *ledger, struct cm_error *error)
{
    bool current = false;
    int64_t version = 0;
    enum cm_status status = cm_sqlite_check_version(ledger, &current, error);
    if (status == CM_OK && !current) {
        status = query_number(ledger, "PRAGMA user_version", &version, error);
    }
    return status == CM_OK && !current ? upgrade(ledger, version, error) : status;
}
