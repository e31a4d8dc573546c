/* The queue of a review: a narrow copy of the plan in tables of the connection, kept in memory. */
#include "jobs/flags.h"
#include "jobs/ledger_review.h"
#include "jobs/ledger_sqlite.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* Segments and languages are numbers here. The indices hold all that a filter looks at, so that a
 * page needs no other table; the counts follow the decisions by themselves. Row keys are hashes, so
 * their order is a random one. */
static const char queue_sql[] =
    "PRAGMA temp_store = MEMORY;"
    "PRAGMA mmap_size = 8589934592;"
    "CREATE TEMP TABLE name(id INTEGER PRIMARY KEY, value TEXT NOT NULL UNIQUE);"
    "INSERT OR IGNORE INTO temp.name(value) SELECT DISTINCT segment_id"
    " FROM plan CROSS JOIN copy ON copy.id = plan.copy_id;"
    "INSERT OR IGNORE INTO temp.name(value) SELECT DISTINCT language"
    " FROM plan CROSS JOIN copy ON copy.id = plan.copy_id;"
    "CREATE TEMP TABLE queue(copy_id INTEGER PRIMARY KEY, position INTEGER NOT NULL,"
    " score REAL NOT NULL, audit INTEGER NOT NULL, status INTEGER NOT NULL,"
    " decision INTEGER NOT NULL, segment INTEGER NOT NULL, language INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO temp.queue SELECT copy.id, position, score,"
    " row_number() OVER (ORDER BY row_key), status, ifnull(decision.state, 0),"
    " (SELECT id FROM temp.name WHERE value = segment_id),"
    " (SELECT id FROM temp.name WHERE value = language)"
    " FROM plan CROSS JOIN copy ON copy.id = plan.copy_id"
    " LEFT JOIN decision ON decision.copy_id = copy.id;"
    "CREATE INDEX temp.queue_by_score"
    " ON queue(score, position, segment, language, status, decision);"
    "CREATE INDEX temp.queue_by_audit"
    " ON queue(audit, position, segment, language, status, decision, score);"
    "CREATE INDEX temp.queue_by_position"
    " ON queue(position, segment, language, status, decision, score);"
    "CREATE TEMP TABLE queue_flag(flag TEXT NOT NULL, copy_id INTEGER NOT NULL,"
    " PRIMARY KEY(flag, copy_id)) WITHOUT ROWID;"
    "CREATE TEMP TABLE found(copy_id INTEGER PRIMARY KEY);"
    "CREATE TEMP TABLE decision_count(decision INTEGER PRIMARY KEY, rows INTEGER NOT NULL);"
    "INSERT INTO temp.decision_count VALUES(0, 0), (1, 0), (2, 0), (3, 0);"
    "UPDATE temp.decision_count SET rows = (SELECT count(*) FROM temp.queue"
    " WHERE queue.decision = decision_count.decision);"
    "CREATE TEMP TRIGGER decision_is_counted AFTER UPDATE OF decision ON temp.queue BEGIN"
    " UPDATE decision_count SET rows = rows - 1 WHERE decision = old.decision;"
    " UPDATE decision_count SET rows = rows + 1 WHERE decision = new.decision; END;"
    "CREATE TEMP TABLE facet(kind TEXT NOT NULL, value, rows INTEGER NOT NULL,"
    " place INTEGER PRIMARY KEY);";

static const char facet_sql[] =
    "INSERT INTO temp.facet(kind, value, rows)"
    " SELECT 'segment', value, n FROM (SELECT segment, count(*) AS n, min(position) AS first"
    " FROM temp.queue GROUP BY segment) JOIN temp.name ON name.id = segment ORDER BY first;"
    "INSERT INTO temp.facet(kind, value, rows)"
    " SELECT 'language', value, n FROM (SELECT language, count(*) AS n FROM temp.queue"
    " GROUP BY language) JOIN temp.name ON name.id = language ORDER BY n DESC, value;"
    "INSERT INTO temp.facet(kind, value, rows) SELECT 'flag', flag, count(*) AS n"
    " FROM temp.queue_flag GROUP BY flag ORDER BY n DESC, flag;"
    "INSERT INTO temp.facet(kind, value, rows) SELECT 'status', status, count(*)"
    " FROM temp.queue GROUP BY status ORDER BY status;";

/* --- Opening --- */

static enum cm_status add_flags(struct cm_ledger *ledger, sqlite3_stmt *insert, int64_t row_id,
                                const char *flags, struct cm_error *error)
{
    struct cm_flag flag;
    enum cm_status status = CM_OK;
    while (status == CM_OK && cm_flag_next(&flags, &flag)) {
        sqlite3_bind_text(insert, 1, flag.name.data, (int)flag.name.length, SQLITE_STATIC);
        sqlite3_bind_int64(insert, 2, row_id);
        status = cm_sqlite_run(ledger, insert, error);
    }
    return status;
}

static enum cm_status fill_flags(struct cm_ledger *ledger, struct cm_error *error)
{
    sqlite3_stmt *read = NULL;
    sqlite3_stmt *insert = NULL;
    enum cm_status status = cm_sqlite_prepare(
        ledger,
        "SELECT id, flags FROM temp.queue CROSS JOIN copy ON copy.id = copy_id WHERE flags <> ''",
        &read, error);
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, "INSERT OR IGNORE INTO temp.queue_flag VALUES(?1, ?2)",
                                   &insert, error);
    }
    int step = SQLITE_DONE;
    while (status == CM_OK && (step = sqlite3_step(read)) == SQLITE_ROW) {
        const char *flags = (const char *)sqlite3_column_text(read, 1);
        status = flags != NULL
                     ? add_flags(ledger, insert, sqlite3_column_int64(read, 0), flags, error)
                     : cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(insert);
    sqlite3_finalize(read);
    return status;
}

enum cm_status cm_ledger_queue_open(struct cm_ledger *ledger, struct cm_error *error)
{
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_add_search(ledger, error);
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, queue_sql, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, "BEGIN", error);
    }
    if (status == CM_OK) {
        status = fill_flags(ledger, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, facet_sql, error);
    }
    if (status == CM_OK) {
        status = cm_sqlite_execute(ledger, "COMMIT", error);
    }
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

/* --- Filters --- */

/* Numbers of the parameters in filter_sql and around it. */
enum { P_SEGMENT = 1, P_LANGUAGE, P_FLAG, P_STATUS, P_DECISION, P_SCORE, P_AFTER, P_ROWS };

void cm_sqlite_filter_sql(const struct cm_queue_filter *filter, struct cm_text *sql)
{
    const struct {
        bool wanted;
        const char *condition;
    } parts[] = {
        { filter->segment != NULL,
          " AND queue.segment = (SELECT id FROM temp.name WHERE value = ?1)" },
        { filter->language != NULL,
          " AND queue.language = (SELECT id FROM temp.name WHERE value = ?2)" },
        { filter->flag != NULL,
          " AND queue.copy_id IN (SELECT copy_id FROM temp.queue_flag WHERE flag = ?3)" },
        { filter->status >= 0, " AND queue.status = ?4" },
        { filter->decision >= 0, " AND queue.decision = ?5" },
        { filter->score_min > 0, " AND queue.score >= ?6" },
        { filter->search != NULL, " AND queue.copy_id IN (SELECT copy_id FROM temp.found)" },
    };
    enum cm_status status = cm_text_append_string(sql, " WHERE 1");
    for (size_t i = 0; status == CM_OK && i < sizeof parts / sizeof parts[0]; i++) {
        status = parts[i].wanted ? cm_text_append_string(sql, parts[i].condition) : CM_OK;
    }
    if (status != CM_OK) {
        cm_text_clear(sql);
    }
}

void cm_sqlite_bind_filter(sqlite3_stmt *statement, const struct cm_queue_filter *filter)
{
    const struct {
        int number;
        const char *text;
    } texts[] = {
        { P_SEGMENT, filter->segment },
        { P_LANGUAGE, filter->language },
        { P_FLAG, filter->flag },
    };
    /* Binding a parameter that the statement does not have is refused and harmless. */
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        sqlite3_bind_text(statement, texts[i].number, texts[i].text, -1, SQLITE_STATIC);
    }
    sqlite3_bind_int(statement, P_STATUS, filter->status);
    sqlite3_bind_int(statement, P_DECISION, filter->decision);
    sqlite3_bind_double(statement, P_SCORE, filter->score_min);
}

/* Lets temp.found hold the rows with these words, planned or not: reading all rows as they lie is
 * quicker than looking up the planned ones. The same words again, as for the next page, cost
 * nothing. */
enum cm_status cm_sqlite_search(struct cm_ledger *ledger, const char *search,
                                struct cm_error *error)
{
    static const char find_sql[] =
        "INSERT INTO temp.found SELECT copy.id FROM copy WHERE contains(copy.text, ?1) OR "
        "contains(copy.item_id, ?1)"
        " OR copy.item IN (SELECT id FROM item WHERE contains(title, ?1))"
        " OR copy.id IN (SELECT copy_id FROM decision WHERE contains(text, ?1))";
    sqlite3_stmt *statement = NULL;
    if (search == NULL || (ledger->searched != NULL && strcmp(ledger->searched, search) == 0)) {
        return CM_OK;
    }
    char *needle = cm_sqlite_needle(search);
    char *searched = cm_strdup(search);
    enum cm_status status = CM_OK;
    if (needle == NULL || searched == NULL) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
        goto release;
    }
    cm_free(ledger->searched);
    ledger->searched = NULL;
    status = cm_sqlite_execute(ledger, "DELETE FROM temp.found", error);
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, find_sql, &statement, error);
    }
    if (status == CM_OK) {
        sqlite3_bind_text(statement, 1, needle, -1, SQLITE_STATIC);
        status = cm_sqlite_run(ledger, statement, error);
    }
    if (status == CM_OK) {
        ledger->searched = searched;
        searched = NULL;
    }
release:
    sqlite3_finalize(statement);
    cm_free(searched);
    cm_free(needle);
    return status;
}

/* --- Pages --- */

enum { QUERY_BYTES_MAX = 4096 };

struct order {
    const char *key;
    bool descending;
};

static const struct order orders[CM_QUEUE_ORDER_COUNT] = {
    [CM_QUEUE_WORST_FIRST] = { "queue.score, queue.position", false },
    [CM_QUEUE_BEST_FIRST] = { "queue.score, queue.position", true },
    [CM_QUEUE_AUDIT] = { "queue.audit, queue.position", false },
    [CM_QUEUE_PLAN] = { "queue.position, queue.copy_id", false },
};

static const char page_sql[] =
    "SELECT queue.copy_id, queue.position, queue.status, queue.decision,"
    " ifnull(decision.version, 0), queue.score, copy.item_id, segment_id, copy.language,"
    " ifnull(item.title, ''),"
    " CASE WHEN decision.state = 3 THEN decision.text ELSE copy.text END, flags"
    " FROM temp.queue CROSS JOIN copy ON copy.id = queue.copy_id"
    " LEFT JOIN item ON item.id = copy.item LEFT JOIN decision ON decision.copy_id = copy.id";

/* Of a key with two columns, "a, b". */
static void append_order(struct cm_text *sql, const struct order *order, bool descending,
                         bool *complete)
{
    int first = (int)strcspn(order->key, ",");
    const char *direction = descending ? " DESC" : "";
    *complete = *complete && cm_text_printf(sql, " ORDER BY %.*s%s%s%s", first, order->key,
                                            direction, order->key + first, direction) == CM_OK;
}

static bool write_page_sql(const struct cm_queue_filter *filter, const struct cm_queue_page *page,
                           struct cm_text *sql)
{
    const struct order *order = &orders[page->order];
    bool descending = order->descending != page->backward;
    bool complete = cm_text_append_string(sql, page_sql) == CM_OK;
    cm_sqlite_filter_sql(filter, sql);
    if (page->after != 0) {
        complete =
            complete &&
            cm_text_printf(sql, " AND (%s) %s (SELECT %s FROM temp.queue WHERE copy_id = ?7)",
                           order->key, descending ? "<" : ">", order->key) == CM_OK;
    }
    append_order(sql, order, descending, &complete);
    return complete && cm_text_append_string(sql, " LIMIT ?8") == CM_OK && sql->length > 0;
}

static bool read_row(sqlite3_stmt *statement, struct cm_queue_row *row)
{
    *row = (struct cm_queue_row){
        .row_id = sqlite3_column_int64(statement, 0),
        .position = (uint64_t)sqlite3_column_int64(statement, 1),
        .status = (enum cm_row_status)sqlite3_column_int(statement, 2),
        .decision = (enum cm_decision)sqlite3_column_int(statement, 3),
        .version = (uint32_t)sqlite3_column_int(statement, 4),
        .score = sqlite3_column_double(statement, 5),
        .item_id = (const char *)sqlite3_column_text(statement, 6),
        .segment_id = (const char *)sqlite3_column_text(statement, 7),
        .language = (const char *)sqlite3_column_text(statement, 8),
        .title = (const char *)sqlite3_column_text(statement, 9),
        .text = (const char *)sqlite3_column_text(statement, 10),
        .flags = (const char *)sqlite3_column_text(statement, 11),
    };
    return row->item_id != NULL && row->segment_id != NULL && row->language != NULL &&
           row->title != NULL && row->text != NULL && row->flags != NULL;
}

static enum cm_status visit_page(struct cm_ledger *ledger, sqlite3_stmt *statement,
                                 cm_queue_visitor *visitor, void *context, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    int step = SQLITE_DONE;
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct cm_queue_row row;
        status = read_row(statement, &row)
                     ? visitor(&row, context, error)
                     : cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    return status == CM_OK && step != SQLITE_DONE ? cm_sqlite_breaks(ledger, error) : status;
}

enum cm_status cm_ledger_queue_page(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                    const struct cm_queue_page *page, cm_queue_visitor *visitor,
                                    void *context, struct cm_error *error)
{
    struct cm_text sql = CM_TEXT_INIT(QUERY_BYTES_MAX);
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_search(ledger, filter->search, error);
    if (status == CM_OK && !write_page_sql(filter, page, &sql)) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, cm_text_string(&sql), &statement, error);
    }
    if (status == CM_OK) {
        cm_sqlite_bind_filter(statement, filter);
        sqlite3_bind_int64(statement, P_AFTER, page->after);
        sqlite3_bind_int64(statement, P_ROWS, page->rows_max);
        status = visit_page(ledger, statement, visitor, context, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    cm_text_deinit(&sql);
    return status;
}

enum cm_status cm_ledger_queue_count(struct cm_ledger *ledger, const struct cm_queue_filter *filter,
                                     uint64_t *count, struct cm_error *error)
{
    struct cm_text sql = CM_TEXT_INIT(QUERY_BYTES_MAX);
    sqlite3_stmt *statement = NULL;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_search(ledger, filter->search, error);
    if (status == CM_OK) {
        bool complete = cm_text_append_string(&sql, "SELECT count(*) FROM temp.queue") == CM_OK;
        cm_sqlite_filter_sql(filter, &sql);
        if (!complete || sql.length == 0) {
            status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
        }
    }
    if (status == CM_OK) {
        status = cm_sqlite_prepare(ledger, cm_text_string(&sql), &statement, error);
    }
    if (status == CM_OK) {
        cm_sqlite_bind_filter(statement, filter);
        if (sqlite3_step(statement) == SQLITE_ROW) {
            *count = (uint64_t)sqlite3_column_int64(statement, 0);
        } else {
            status = cm_sqlite_breaks(ledger, error);
        }
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    cm_text_deinit(&sql);
    return status;
}

/* --- Facets --- */

enum cm_status cm_ledger_queue_facets(struct cm_ledger *ledger, cm_facet_visitor *visitor,
                                      void *context, struct cm_error *error)
{
    sqlite3_stmt *statement = NULL;
    int step = SQLITE_DONE;
    pthread_mutex_lock(&ledger->lock);
    enum cm_status status = cm_sqlite_prepare(
        ledger, "SELECT kind, value, rows FROM temp.facet ORDER BY place", &statement, error);
    while (status == CM_OK && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *kind = (const char *)sqlite3_column_text(statement, 0);
        bool is_status = kind != NULL && strcmp(kind, "status") == 0;
        const char *value =
            is_status ? cm_row_status_name((enum cm_row_status)sqlite3_column_int(statement, 1))
                      : (const char *)sqlite3_column_text(statement, 1);
        uint64_t count = (uint64_t)sqlite3_column_int64(statement, 2);
        status = kind != NULL && value != NULL
                     ? visitor(kind, value, count, context, error)
                     : cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", ledger->path);
    }
    if (status == CM_OK && step != SQLITE_DONE) {
        status = cm_sqlite_breaks(ledger, error);
    }
    sqlite3_finalize(statement);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}
