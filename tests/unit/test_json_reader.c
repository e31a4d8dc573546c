#include "loaders/json_reader.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "temp_file.h"

struct file {
    struct cm_text_input *input;
    struct cm_json_reader *reader;
    struct cm_json_record record;
    struct cm_error error;
};

static void open_path(struct file *file, const char *path)
{
    assert_int_equal(cm_text_input_open(path, &file->input, &file->error), CM_OK);
    assert_int_equal(cm_json_reader_open(file->input, &file->reader, &file->error), CM_OK);
}

static void open_text(struct file *file, const char *text)
{
    char path[TEMP_PATH_BYTES];
    temp_file_write_text(path, text);
    open_path(file, path);
    temp_file_remove(path);
}

static void close_file(struct file *file)
{
    cm_json_reader_close(file->reader);
    cm_text_input_close(file->input);
}

static enum cm_status next(struct file *file)
{
    return cm_json_reader_next(file->reader, &file->record, &file->error);
}

static void expect(const struct file *file, size_t index, const char *name, const char *value)
{
    assert_true(index < file->record.pairs_count);
    assert_true(cm_span_equal_text(file->record.pairs[index].name, name));
    assert_true(cm_span_equal_text(file->record.pairs[index].value, value));
}

/* Whether all of a file is well-formed; that an element is no object is another matter. */
static bool is_accepted(const char *path)
{
    struct file file;
    enum cm_status status;
    bool whole = true;
    open_path(&file, path);
    while ((status = next(&file)) == CM_OK) {
        const char *problem = file.record.problem;
        whole = whole && (problem == NULL || strstr(problem, "is no JSON object") != NULL);
    }
    close_file(&file);
    return whole && status == CM_END;
}

static void json_test_suite_is_kept(void **state)
{
    (void)state;
    static const char folder[] = TEST_DATA_DIR "/data/torture/JSONTestSuite";
    size_t files_count = 0;
    DIR *directory = opendir(folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        char kind = entry->d_name[0];
        if (kind == '.') {
            continue;
        }
        files_count++;
        bool accepted = is_accepted(path);
        /* jansson has no keys with a NUL. */
        bool wanted =
            kind == 'y' && strcmp(entry->d_name, "y_object_escaped_null_in_key.json") != 0;
        if (kind != 'i' && accepted != wanted) {
            fail_msg("%s is %s", entry->d_name, accepted ? "accepted" : "refused");
        }
    }
    closedir(directory);
    assert_int_equal(files_count, 160);
}

static void nested_values_are_flattened(void **state)
{
    (void)state;
    struct file file;
    open_text(&file,
              "[{\"id\": 7, \"price\": 49.99, \"big\": 1e21, \"dimensions\": {\"width\": 1.5, "
              "\"unit\": {\"name\": \"cm\"}}, \"tags\": [\"a\", 2, null, true], "
              "\"reviews\": [{\"text\": \"x\"}], \"none\": null, \"empty\": [], "
              "\"attributes\": [{\"name\": \"Color\", \"value\": \"red\"}, "
              "{\"name\": \"Size\", \"options\": [\"S\", \"M\"]}], \"id\": 8}]");
    assert_int_equal(next(&file), CM_OK);
    assert_null(file.record.problem);
    assert_int_equal(file.record.pairs_count, 8);
    expect(&file, 0, "id", "8");
    expect(&file, 1, "price", "49.99");
    expect(&file, 2, "big", "1e+21");
    expect(&file, 3, "dimensions.width", "1.5");
    expect(&file, 4, "dimensions.unit.name", "cm");
    expect(&file, 5, "tags", "a, 2, true");
    expect(&file, 6, "Color", "red");
    expect(&file, 7, "Size", "S, M");
    assert_int_equal(next(&file), CM_END);
    close_file(&file);
}

static void a_bad_line_costs_one_record(void **state)
{
    (void)state;
    struct file file;
    open_text(&file, "{\"a\": 1}\n\n{\"a\": \"open\n{\"a\": 3} x\n[4]\n{\"a\": 5}");
    assert_int_equal(next(&file), CM_OK);
    assert_null(file.record.problem);
    static const char *const problems[] = { "not valid JSON", "not valid JSON", "no JSON object" };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(next(&file), CM_OK);
        assert_int_equal(file.record.line, i + 3);
        assert_non_null(strstr(file.record.problem, problems[i]));
    }
    assert_int_equal(next(&file), CM_OK);
    assert_null(file.record.problem);
    assert_int_equal(file.record.line, 6);
    assert_int_equal(file.record.element, 5);
    expect(&file, 0, "a", "5");
    assert_int_equal(next(&file), CM_END);
    close_file(&file);
}

static void a_bad_element_costs_one_record(void **state)
{
    (void)state;
    struct file file;
    open_text(&file, "[{\"a\": 1},\n {\"a\": tru}, , {\"b\": \"]},{\"}\n]\n");
    assert_int_equal(next(&file), CM_OK);
    assert_null(file.record.problem);
    assert_int_equal(next(&file), CM_OK);
    assert_int_equal(file.record.line, 2);
    assert_non_null(strstr(file.record.problem, "not valid JSON"));
    assert_int_equal(next(&file), CM_OK);
    assert_non_null(strstr(file.record.problem, "a comma too many"));
    assert_int_equal(next(&file), CM_OK);
    expect(&file, 0, "b", "]},{");
    assert_int_equal(next(&file), CM_END);
    close_file(&file);
}

static void broken_structures_end_with_their_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        { "[{\"a\": 1},\n{\"a\": 2", ":2: the element that starts here" },
        { "[{\"a\": 1},\n", "after a comma" },
        { "[{\"a\": 1}\n}", ":2: a closing bracket" },
        { "[{\"a\": 1}]\n[]", ":2: text behind" },
        { "{\n\"a\": 1,\n", ":1: the value that starts here" },
        { " \n ", "empty" },
        { "", "empty" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct file file;
        enum cm_status status;
        open_text(&file, cases[i].text);
        while ((status = next(&file)) == CM_OK) {
        }
        assert_int_equal(status, CM_INVALID_DATA);
        assert_non_null(strstr(file.error.message, cases[i].message));
        close_file(&file);
    }
}

static void depth_is_limited(void **state)
{
    (void)state;
    enum { DEPTH = 1000 };
    char text[2 * DEPTH + 32];
    struct file file;
    text[0] = '[';
    memset(text + 1, '[', DEPTH);
    memset(text + 1 + DEPTH, ']', DEPTH);
    strncpy(text + 1 + (size_t)2 * DEPTH, ",{\"a\":1}]", 16);
    open_text(&file, text);
    assert_int_equal(next(&file), CM_OK);
    assert_non_null(strstr(file.record.problem, "levels"));
    assert_int_equal(next(&file), CM_OK);
    assert_null(file.record.problem);
    close_file(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_test_suite_is_kept),
        cmocka_unit_test(nested_values_are_flattened),
        cmocka_unit_test(a_bad_line_costs_one_record),
        cmocka_unit_test(a_bad_element_costs_one_record),
        cmocka_unit_test(broken_structures_end_with_their_line),
        cmocka_unit_test(depth_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
