/* What the parts of the SQLite ledger share; for ledger_sqlite*.c only. All functions want the
 * ledger's lock held. */
#ifndef CM_JOBS_LEDGER_SQLITE_H
#define CM_JOBS_LEDGER_SQLITE_H

#include "base/text.h"
#include "jobs/ledger.h"

#include <pthread.h>
#include <sqlite3.h>

enum cm_sqlite_statement {
    CM_SQLITE_BEGIN,
    CM_SQLITE_COMMIT,
    CM_SQLITE_FIND,
    CM_SQLITE_PUT,
    CM_SQLITE_PLAN,
    CM_SQLITE_UPDATE_CACHED,
    CM_SQLITE_READ,
    CM_SQLITE_FIND_ITEM,
    CM_SQLITE_PUT_ITEM,
    CM_SQLITE_FIND_SEGMENT,
    CM_SQLITE_PUT_SEGMENT,
    CM_SQLITE_UPDATE_SOURCES,
    CM_SQLITE_PUT_SAMPLE,
    CM_SQLITE_STATEMENT_COUNT
};

struct cm_ledger {
    pthread_mutex_t lock;
    char *path;
    int lock_file; /* holds the advisory lock; closed after the database, because closing any
                      descriptor of a file drops the POSIX locks SQLite has on it */
    sqlite3 *database;
    sqlite3_stmt *statements[CM_SQLITE_STATEMENT_COUNT];
    int64_t settings_id;
    int64_t run_id;
    bool in_batch;
    bool broken; /* a write failed: `failure` is what every later call returns */
    struct cm_error failure;
    char *searched; /* what temp.found holds the rows of; NULL: nothing */
};

/* A write failed: what the log holds after a failed sync is unknown, so the batch is dropped and
 * nothing more is written. Returns the failure, which every later call gets too. */
enum cm_status cm_sqlite_breaks(struct cm_ledger *ledger, struct cm_error *error);
enum cm_status cm_sqlite_still_broken(const struct cm_ledger *ledger, struct cm_error *error);

/* Whether the file is of this version. CM_INVALID_DATA: no ledger; CM_UNSUPPORTED: a later one. */
enum cm_status cm_sqlite_check_version(struct cm_ledger *ledger, bool *current,
                                       struct cm_error *error) CM_MUST_CHECK;

/* Makes an empty file a ledger and one of an earlier version one of this version. */
enum cm_status cm_sqlite_bring_up_to_date(struct cm_ledger *ledger,
                                          struct cm_error *error) CM_MUST_CHECK;

enum cm_status cm_sqlite_execute(struct cm_ledger *ledger, const char *sql,
                                 struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_sqlite_prepare(struct cm_ledger *ledger, const char *sql,
                                 sqlite3_stmt **statement, struct cm_error *error) CM_MUST_CHECK;

/* Runs a statement to its end and resets it. */
enum cm_status cm_sqlite_run(struct cm_ledger *ledger, sqlite3_stmt *statement,
                             struct cm_error *error) CM_MUST_CHECK;

enum cm_status cm_sqlite_begin_batch(struct cm_ledger *ledger,
                                     struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_sqlite_commit_batch(struct cm_ledger *ledger,
                                      struct cm_error *error) CM_MUST_CHECK;

/* Bind at `*index` and step it. The text must live until the statement has run. */
void cm_sqlite_bind_text(sqlite3_stmt *statement, int *index, const char *text);
void cm_sqlite_bind_integer(sqlite3_stmt *statement, int *index, uint64_t value);

/* --- Of a review --- */

struct cm_queue_filter;

/* Adds the SQL function `contains`. */
enum cm_status cm_sqlite_add_search(struct cm_ledger *ledger, struct cm_error *error) CM_MUST_CHECK;

/* What to look for, as `contains` wants it; NULL: out of memory. */
char *cm_sqlite_needle(const char *search);

/* Fills temp.found with the rows that hold `search` (NULL: nothing to do). */
enum cm_status cm_sqlite_search(struct cm_ledger *ledger, const char *search,
                                struct cm_error *error) CM_MUST_CHECK;

/* Appends the WHERE that keeps what fits, parameters 1 to 6, to a query over temp.queue; leaves
 * `sql` empty where memory ends. The search must have been made. */
void cm_sqlite_filter_sql(const struct cm_queue_filter *filter, struct cm_text *sql);
void cm_sqlite_bind_filter(sqlite3_stmt *statement, const struct cm_queue_filter *filter);

#endif
