#include "loaders/csv_reader.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

struct table {
    struct cm_text_input *input;
    struct cm_csv_reader *reader;
    struct cm_csv_record record;
    struct cm_error error;
};

static void open_path(struct table *table, const char *path)
{
    assert_int_equal(cm_text_input_open(path, &table->input, &table->error), CM_OK);
    assert_int_equal(cm_csv_open(table->input, '\0', &table->reader, &table->error), CM_OK);
}

static void open_bytes(struct table *table, const char *bytes, size_t length)
{
    char path[TEMP_PATH_BYTES];
    temp_file_write(path, bytes, length);
    open_path(table, path);
    temp_file_remove(path);
}

static void open_text(struct table *table, const char *text)
{
    open_bytes(table, text, strlen(text));
}

static void close_table(struct table *table)
{
    cm_csv_close(table->reader);
    cm_text_input_close(table->input);
}

static enum cm_status next(struct table *table)
{
    return cm_csv_next(table->reader, &table->record, &table->error);
}

/* The next record is whole, starts on this line and has these cells. */
static void expect(struct table *table, uint64_t line, size_t cells_count, const char *const *cells)
{
    assert_int_equal(next(table), CM_OK);
    assert_null(table->record.problem);
    assert_int_equal(table->record.line, line);
    assert_int_equal(table->record.cells_count, cells_count);
    for (size_t i = 0; i < cells_count; i++) {
        assert_true(cm_span_equal_text(table->record.cells[i], cells[i]));
    }
}

#define EXPECT(table, line, ...)                                                  \
    expect(table, line, sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), \
           (const char *[]){ __VA_ARGS__ })

static void spectrum_file(const char *name)
{
    char path[512];
    struct table table;
    json_error_t reason;
    struct cm_span header[CM_CSV_CELLS_MAX];
    char names[4096];
    snprintf(path, sizeof path, "%s/data/torture/csv-spectrum/json/%s.json", TEST_DATA_DIR, name);
    json_t *expected = json_load_file(path, 0, &reason);
    assert_non_null(expected);
    snprintf(path, sizeof path, "%s/data/torture/csv-spectrum/csvs/%s.csv", TEST_DATA_DIR, name);
    open_path(&table, path);
    assert_int_equal(next(&table), CM_OK);
    size_t columns = table.record.cells_count;
    size_t used = 0;
    for (size_t i = 0; i < columns; i++) {
        struct cm_span cell = table.record.cells[i];
        assert_true(used + cell.length < sizeof names);
        memcpy(names + used, cell.data, cell.length);
        header[i] = (struct cm_span){ names + used, cell.length };
        used += cell.length;
    }
    for (size_t row = 0; row < json_array_size(expected); row++) {
        json_t *object = json_array_get(expected, row);
        assert_int_equal(next(&table), CM_OK);
        assert_null(table.record.problem);
        assert_int_equal(table.record.cells_count, columns);
        assert_int_equal(json_object_size(object), columns);
        for (size_t i = 0; i < columns; i++) {
            json_t *value = json_object_getn(object, header[i].data, header[i].length);
            assert_non_null(value);
            assert_true(cm_span_equal_text(table.record.cells[i], json_string_value(value)));
        }
    }
    assert_int_equal(next(&table), CM_END);
    close_table(&table);
    json_decref(expected);
}

static void csv_spectrum_reads_as_expected(void **state)
{
    (void)state;
    static const char *const names[] = {
        "comma_in_quotes",
        "empty",
        "empty_crlf",
        "escaped_quotes",
        "json",
        "newlines",
        "newlines_crlf",
        "quotes_and_newlines",
        "simple",
        "simple_crlf",
        "utf8",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        spectrum_file(names[i]);
    }
}

static void records_know_their_lines(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "a,b\r\n\r\n\"one\r\ntwo\",x\r\n  \n3,\"\n\n\"\n4,y");
    EXPECT(&table, 1, "a", "b");
    EXPECT(&table, 3, "one\r\ntwo", "x");
    EXPECT(&table, 6, "3", "\n\n");
    EXPECT(&table, 9, "4", "y");
    assert_int_equal(next(&table), CM_END);
    assert_int_equal(next(&table), CM_END);
    close_table(&table);
}

static void an_unclosed_quote_names_its_line(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "a,b\n1,2\n\"x\ny\",\"open\nmore\n5,6\n");
    EXPECT(&table, 1, "a", "b");
    EXPECT(&table, 2, "1", "2");
    assert_int_equal(next(&table), CM_INVALID_DATA);
    assert_non_null(strstr(table.error.message, ":4: the quote that opens"));
    assert_int_equal(next(&table), CM_END);
    close_table(&table);
}

static void text_behind_a_quote_costs_one_record(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "a,b\n1,\"27\" wide\", \"x\"\n\"y\nz\"z,2\nok,\"good\"\n");
    EXPECT(&table, 1, "a", "b");
    assert_int_equal(next(&table), CM_OK);
    assert_int_equal(table.record.line, 2);
    assert_int_equal(table.record.cells_count, 1);
    assert_non_null(strstr(table.record.problem, "quote of cell 2"));
    assert_int_equal(next(&table), CM_OK);
    assert_int_equal(table.record.line, 3);
    assert_non_null(strstr(table.record.problem, "quote of cell 1"));
    EXPECT(&table, 5, "ok", "good");
    assert_int_equal(next(&table), CM_END);
    close_table(&table);
}

static void unquoted_cells_may_hold_quotes(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "name\tsize\nTV\t27\" or 32\"\n\"a\tb\"\t\n\tx\n");
    EXPECT(&table, 1, "name", "size");
    EXPECT(&table, 2, "TV", "27\" or 32\"");
    EXPECT(&table, 3, "a\tb", "");
    EXPECT(&table, 4, "", "x");
    close_table(&table);
    /* csv-spectrum's location_coordinates; its JSON disagrees with its own first cell. */
    open_path(&table, TEST_DATA_DIR "/data/torture/csv-spectrum/csvs/location_coordinates.csv");
    assert_int_equal(next(&table), CM_OK);
    EXPECT(&table, 2, "2095257564",
           "37\xEF\xBF\xBD"
           "36'37.8\"N 121\xEF\xBF\xBD"
           "2'17.9\"W",
           "Modesto", "Stanislaus");
    close_table(&table);
}

static void ragged_rows_are_handed_out(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "a,b,c\n1\n1,2,3,4\n,,\n");
    EXPECT(&table, 1, "a", "b", "c");
    EXPECT(&table, 2, "1");
    EXPECT(&table, 3, "1", "2", "3", "4");
    EXPECT(&table, 4, "", "", "");
    close_table(&table);
}

static void delimiters_are_detected(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        char delimiter;
    } cases[] = {
        { "a,b,c\n1,2,3\n", ',' },
        { "a;b;c\n1,5;2,5;3,5\n", ';' },
        { "a\tb\n1, 2, 3\t2\n", '\t' },
        { "a|b|c\n1|2|3", '|' },
        { "id;Categories (x,y,z,...);Name\n1;2;3\n", ';' },
        { "\"a;b;c;d\",e\n1,2\n", ',' },
        { "one column\nx;y\n", ',' },
        { "", ',' },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(cm_csv_detect_delimiter(cm_span_of(cases[i].text)), cases[i].delimiter);
    }
}

static void long_cells_are_dropped(void **state)
{
    (void)state;
    enum { LENGTH = CM_CSV_CELL_BYTES_MAX + 1 };
    struct table table;
    char *text = malloc(LENGTH + 20);
    assert_non_null(text);
    memset(text, 'x', LENGTH);
    memcpy(text + LENGTH, ",b\n1,2\n", sizeof ",b\n1,2\n");
    open_text(&table, text);
    assert_int_equal(next(&table), CM_OK);
    assert_non_null(strstr(table.record.problem, "cell 1 is longer than 1 MiB"));
    assert_int_equal(table.record.cells_count, 2);
    assert_true(cm_span_equal_text(table.record.cells[1], "b"));
    EXPECT(&table, 2, "1", "2");
    close_table(&table);
    free(text);
}

static void too_many_cells_are_counted_out(void **state)
{
    (void)state;
    char text[2 * CM_CSV_CELLS_MAX + 3];
    struct table table;
    memset(text, ',', sizeof text);
    text[sizeof text - 1] = '\0';
    open_text(&table, text);
    assert_int_equal(next(&table), CM_OK);
    assert_non_null(strstr(table.record.problem, "more than 1024 cells"));
    assert_int_equal(table.record.cells_count, CM_CSV_CELLS_MAX);
    close_table(&table);
}

static void invalid_bytes_mark_their_record(void **state)
{
    (void)state;
    struct table table;
    open_text(&table, "é,é,é\nüö,äöü,ß\n1,b\xFFz,3\n4,5,6\n");
    EXPECT(&table, 1, "é", "é", "é");
    EXPECT(&table, 2, "üö", "äöü", "ß");
    assert_int_equal(next(&table), CM_OK);
    assert_non_null(strstr(table.record.problem, "cell 2"));
    assert_true(cm_span_equal_text(table.record.cells[1], "b\xEF\xBF\xBDz"));
    EXPECT(&table, 4, "4", "5", "6");
    close_table(&table);
}

static void standard_input_is_read(void **state)
{
    (void)state;
    struct table table;
    int ends[2];
    int saved = dup(STDIN_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "a,b\n1,2\n", 8), 8);
    close(ends[1]);
    assert_int_equal(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    open_path(&table, "-");
    EXPECT(&table, 1, "a", "b");
    EXPECT(&table, 2, "1", "2");
    assert_int_equal(next(&table), CM_END);
    close_table(&table);
    dup2(saved, STDIN_FILENO);
    close(saved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_spectrum_reads_as_expected),
        cmocka_unit_test(records_know_their_lines),
        cmocka_unit_test(an_unclosed_quote_names_its_line),
        cmocka_unit_test(text_behind_a_quote_costs_one_record),
        cmocka_unit_test(unquoted_cells_may_hold_quotes),
        cmocka_unit_test(ragged_rows_are_handed_out),
        cmocka_unit_test(delimiters_are_detected),
        cmocka_unit_test(long_cells_are_dropped),
        cmocka_unit_test(too_many_cells_are_counted_out),
        cmocka_unit_test(invalid_bytes_mark_their_record),
        cmocka_unit_test(standard_input_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
