/* The ledger: what was committed is there, what was not is gone, one writer at a time. */
#include "jobs/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

static char folder[64];
static char path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/copymill-ledger-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/job", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const endings[] = { "", "-wal", "-shm" };
    for (size_t i = 0; i < 3; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, endings[i]);
        unlink(name);
    }
    return rmdir(folder);
}

static struct cm_copy_row a_row(const char *key, const char *text)
{
    struct cm_copy_row row = {
        .status = CM_ROW_OK,
        .item_id = "mug",
        .segment_id = "all",
        .scenario = "description",
        .channel = "generic",
        .language = "en",
        .text = text,
        .fields = "",
        .score = 0.5,
        .flags = "",
        .finish_reason = "stop",
        .prompt_tokens = 100,
        .cached_tokens = 60,
        .output_tokens = 20,
        .attempt = 2,
        .tries = 3,
        .seed = 7,
        .model = "tiny",
        .error = "",
        .judgement = "",
    };
    snprintf(row.key, sizeof row.key, "%s", key);
    return row;
}

static void begin(struct cm_ledger *ledger, const char *digest, struct cm_ledger_contents *contents)
{
    const struct cm_ledger_setting pairs[] = { { "scenario", "ad" }, { "seed", "7" } };
    struct cm_ledger_settings settings = { .digest = digest, .pairs = pairs, .pairs_count = 2 };
    assert_int_equal(cm_ledger_begin(ledger, &settings, contents, NULL), CM_OK);
}

static void put(struct cm_ledger *ledger, uint64_t position, const struct cm_copy_row *row)
{
    struct cm_ledger_place place = { .position = position, .neighbours = 11, .gate_score = 0.25 };
    assert_int_equal(cm_ledger_put(ledger, &place, row, NULL), CM_OK);
}

static void committed_rows_come_back_in_plan_order(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_ledger_contents contents;
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    begin(ledger, "aa", &contents);
    struct cm_copy_row second = a_row("k2", "zwei, \"Tassen\"\n");
    struct cm_copy_row first = a_row("k1", "杯子 🙂");
    put(ledger, 1, &second);
    put(ledger, 0, &first);
    assert_int_equal(cm_ledger_commit(ledger, NULL), CM_OK);
    cm_ledger_close(ledger);

    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    struct cm_copy_row row;
    assert_int_equal(cm_ledger_rewind(ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_OK);
    assert_string_equal(row.key, "k1");
    assert_string_equal(row.text, "杯子 🙂");
    assert_int_equal(row.tries, 3);
    assert_int_equal(row.cached_tokens, 60);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_OK);
    assert_string_equal(row.text, "zwei, \"Tassen\"\n");
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_END);

    begin(ledger, "aa", &contents);
    assert_int_equal(contents.rows_same, 2);
    assert_int_equal(contents.rows_other, 0);
    begin(ledger, "bb", &contents);
    assert_int_equal(contents.rows_same, 0);
    assert_int_equal(contents.rows_other, 2);
    assert_int_equal(cm_ledger_rewind(ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_END);
    cm_ledger_close(ledger);
}

static void an_uncommitted_batch_is_dropped(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_ledger_contents contents;
    struct cm_ledger_found found;
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    begin(ledger, "aa", &contents);
    struct cm_copy_row row = a_row("k1", "kept");
    put(ledger, 0, &row);
    assert_int_equal(cm_ledger_commit(ledger, NULL), CM_OK);
    row = a_row("k2", "lost");
    put(ledger, 1, &row);
    cm_ledger_close(ledger);
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_find(ledger, "k1", &found, NULL), CM_OK);
    assert_int_equal(found.attempt, 2);
    assert_int_equal(found.neighbours, 11);
    assert_true(found.gate_score == 0.25);
    assert_int_equal(cm_ledger_find(ledger, "k2", &found, NULL), CM_NOT_FOUND);
    cm_ledger_close(ledger);
}

static void a_row_is_replaced_or_reused_not_doubled(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_ledger_contents contents;
    struct cm_ledger_found found;
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    begin(ledger, "aa", &contents);
    struct cm_copy_row row = a_row("k1", "old");
    put(ledger, 0, &row);
    begin(ledger, "aa", &contents);
    row.text = "new";
    put(ledger, 4, &row);
    begin(ledger, "aa", &contents);
    assert_int_equal(cm_ledger_find(ledger, "k1", &found, NULL), CM_OK);
    struct cm_ledger_place place = { .position = 2, .neighbours = 12 };
    assert_int_equal(cm_ledger_reuse(ledger, &place, found.row_id, true, 77, NULL), CM_OK);
    assert_int_equal(cm_ledger_rewind(ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_OK);
    assert_string_equal(row.text, "new");
    assert_int_equal(row.cached_tokens, 77);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_END);
    cm_ledger_close(ledger);
}

/* In a child process, because an advisory lock belongs to the opener. */
static enum cm_status open_in_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        struct cm_ledger *ledger = NULL;
        struct cm_error error = { 0 };
        enum cm_status status = cm_ledger_open(path, &ledger, &error);
        cm_ledger_close(ledger);
        bool named = status == CM_OK || strstr(error.message, "another copymill") != NULL;
        _exit(named ? (int)status : 99);
    }
    int outcome = 0;
    assert_int_equal(waitpid(child, &outcome, 0), child);
    return (enum cm_status)WEXITSTATUS(outcome);
}

static void a_second_writer_is_refused_until_the_first_is_gone(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    assert_int_equal(open_in_child(), CM_ALREADY_EXISTS);
    cm_ledger_close(ledger);
    assert_int_equal(open_in_child(), CM_OK);
}

static void another_file_is_not_taken_for_a_ledger(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_error error = { 0 };
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 500; i++) {
        fputs("item_id,text\n", file);
    }
    fclose(file);
    assert_int_equal(cm_ledger_open(path, &ledger, &error), CM_INVALID_DATA);
    assert_non_null(strstr(error.message, path));
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_size, 500 * 13);
}

/* Version 1 as it was written then. */
static void write_old_ledger(void)
{
    static const char sql[] =
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
        " PRIMARY KEY(inode, file_bytes, modified_ns)) WITHOUT ROWID;"
        "INSERT INTO settings VALUES(1, 'aa', '2026-01-01T00:00:00Z');"
        "INSERT INTO copy VALUES(7, 'k1', 1, 2, 'mug', 'all', 'description', 'generic', 'en',"
        " 'A mug.', '', 0.5, '', 'stop', 100, 60, 20, 1, 1, 7, 'tiny', '', 0.25, 11,"
        " '2026-01-01T00:00:00Z');"
        "INSERT INTO plan VALUES(0, 7);"
        "PRAGMA application_id = 1129138754; PRAGMA user_version = 1;";
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void an_old_ledger_opens_and_learns_what_is_new(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_ledger_contents contents;
    struct cm_ledger_found found;
    struct cm_copy_row row;
    write_old_ledger();
    assert_int_equal(cm_ledger_open_reading(path, &ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_rewind(ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_next(ledger, &row, NULL), CM_OK);
    assert_string_equal(row.text, "A mug.");
    assert_string_equal(row.judgement, "");
    cm_ledger_close(ledger);

    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    begin(ledger, "aa", &contents);
    assert_int_equal(contents.rows_same, 1);
    assert_int_equal(cm_ledger_find(ledger, "k1", &found, NULL), CM_OK);
    assert_false(found.has_sources);
    struct cm_ledger_source source = { "d1", "Mug", "{\"title\":\"Mug\"}" };
    struct cm_ledger_place place = { .position = 0 };
    assert_int_equal(cm_ledger_put_item(ledger, &source, &place.item, NULL), CM_OK);
    assert_int_equal(cm_ledger_put_segment(ledger, &source, &place.segment, NULL), CM_OK);
    int64_t again = 0;
    assert_int_equal(cm_ledger_put_item(ledger, &source, &again, NULL), CM_OK);
    assert_int_equal(again, place.item);
    assert_int_equal(cm_ledger_reuse(ledger, &place, found.row_id, false, 0, NULL), CM_OK);
    assert_int_equal(cm_ledger_find(ledger, "k1", &found, NULL), CM_OK);
    assert_true(found.has_sources);
    cm_ledger_close(ledger);
}

static void a_ledger_can_be_read_while_it_is_written(void **state)
{
    (void)state;
    struct cm_ledger *writer = NULL;
    struct cm_ledger *reader = NULL;
    struct cm_ledger_contents contents;
    struct cm_copy_row row = a_row("k1", "kept");
    assert_int_equal(cm_ledger_open_reading(path, &reader, NULL), CM_NOT_FOUND);
    assert_int_equal(cm_ledger_open(path, &writer, NULL), CM_OK);
    begin(writer, "aa", &contents);
    put(writer, 0, &row);
    assert_int_equal(cm_ledger_commit(writer, NULL), CM_OK);
    assert_int_equal(cm_ledger_open_reading(path, &reader, NULL), CM_OK);
    assert_int_equal(cm_ledger_rewind(reader, NULL), CM_OK);
    assert_int_equal(cm_ledger_next(reader, &row, NULL), CM_OK);
    assert_string_equal(row.text, "kept");
    struct cm_ledger_sample sample = { .at_ms = 1, .rows = 2 };
    assert_int_equal(cm_ledger_put_sample(writer, &sample, NULL), CM_OK);
    assert_int_equal(cm_ledger_end_run(writer, "{}", NULL), CM_OK);
    assert_int_not_equal(cm_ledger_end_run(reader, "{}", NULL), CM_OK);
    cm_ledger_close(reader);
    cm_ledger_close(writer);
}

static void a_later_version_is_left_alone(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    struct cm_error error = { 0 };
    sqlite3 *database = NULL;
    write_old_ledger();
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, "PRAGMA user_version = 99", NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(database);
    assert_int_equal(cm_ledger_open(path, &ledger, &error), CM_UNSUPPORTED);
    assert_non_null(strstr(error.message, "99"));
}

static void an_output_is_known_until_it_changes(void **state)
{
    (void)state;
    struct cm_ledger *ledger = NULL;
    bool known = true;
    struct cm_ledger_output output = { .inode = 5, .file_bytes = 100, .modified_ns = 12345 };
    assert_int_equal(cm_ledger_open(path, &ledger, NULL), CM_OK);
    assert_int_equal(cm_ledger_knows_output(ledger, &output, &known, NULL), CM_OK);
    assert_false(known);
    assert_int_equal(cm_ledger_remember_output(ledger, &output, NULL), CM_OK);
    assert_int_equal(cm_ledger_knows_output(ledger, &output, &known, NULL), CM_OK);
    assert_true(known);
    output.modified_ns++;
    assert_int_equal(cm_ledger_knows_output(ledger, &output, &known, NULL), CM_OK);
    assert_false(known);
    cm_ledger_close(ledger);
}

#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(committed_rows_come_back_in_plan_order),
        WITH_FOLDER(an_uncommitted_batch_is_dropped),
        WITH_FOLDER(a_row_is_replaced_or_reused_not_doubled),
        WITH_FOLDER(a_second_writer_is_refused_until_the_first_is_gone),
        WITH_FOLDER(another_file_is_not_taken_for_a_ledger),
        WITH_FOLDER(an_old_ledger_opens_and_learns_what_is_new),
        WITH_FOLDER(a_ledger_can_be_read_while_it_is_written),
        WITH_FOLDER(a_later_version_is_left_alone),
        WITH_FOLDER(an_output_is_known_until_it_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
