/* The output files: columns, quoting, spreadsheet safety, and never half a file. */
#include "jobs/copy_writer.h"
#include "jobs/ledger.h"
#include "jobs/output_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char header[] =
    "item_id,segment_id,scenario,channel,language,status,text,fields,score,flags,finish_reason,"
    "prompt_tokens,cached_tokens,output_tokens,attempt,seed,model,row_key,error";

static struct cm_copy_row a_row(const char *text)
{
    return (struct cm_copy_row){
        .key = "00ff",
        .status = CM_ROW_FLAGGED,
        .item_id = "mug",
        .segment_id = "all",
        .scenario = "ad",
        .channel = "x",
        .language = "en",
        .text = text,
        .fields = "{\"title\":\"A\"}",
        .score = 0.8123,
        .flags = "too-short: 3",
        .finish_reason = "stop",
        .prompt_tokens = 10,
        .cached_tokens = 4,
        .output_tokens = 3,
        .attempt = 1,
        .seed = 42,
        .model = "tiny",
        .error = "",
    };
}

/* What the writer makes of one row; the caller frees it. */
static char *written(enum cm_copy_format format, bool excel, const struct cm_copy_row *row)
{
    char *bytes = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&bytes, &length);
    struct cm_copy_writer *writer = NULL;
    struct cm_copy_writer_options options = { .format = format, .excel = excel };
    assert_int_equal(cm_copy_writer_open(stream, "memory", &options, &writer, NULL), CM_OK);
    assert_int_equal(cm_copy_writer_add(writer, row, NULL), CM_OK);
    cm_copy_writer_close(writer);
    fclose(stream);
    return bytes;
}

static void csv_has_the_columns_of_the_contract(void **state)
{
    (void)state;
    struct cm_copy_row row = a_row("A \"fine\" mug,\nreally");
    char *bytes = written(CM_COPY_CSV, false, &row);
    char expected[1024];
    snprintf(expected, sizeof expected,
             "%s\nmug,all,ad,x,en,flagged,\"A \"\"fine\"\" mug,\nreally\",\"{\"\"title\"\":"
             "\"\"A\"\"}\",0.8123,too-short: 3,stop,10,4,3,1,42,tiny,00ff,\n",
             header);
    assert_string_equal(bytes, expected);
    free(bytes);
}

static void jsonl_has_the_same_keys_in_order(void **state)
{
    (void)state;
    struct cm_copy_row row = a_row("杯\t=1");
    row.score = 1;
    char *bytes = written(CM_COPY_JSONL, false, &row);
    assert_string_equal(
        bytes, "{\"item_id\":\"mug\",\"segment_id\":\"all\",\"scenario\":\"ad\",\"channel\":\"x\","
               "\"language\":\"en\",\"status\":\"flagged\",\"text\":\"杯\\t=1\","
               "\"fields\":{\"title\":\"A\"},\"score\":1.0,\"flags\":\"too-short: 3\","
               "\"finish_reason\":\"stop\",\"prompt_tokens\":10,\"cached_tokens\":4,"
               "\"output_tokens\":3,\"attempt\":1,\"seed\":42,\"model\":\"tiny\","
               "\"row_key\":\"00ff\",\"error\":\"\"}\n");
    free(bytes);
}

static void excel_disarms_formulas(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "=1+1", ",'=1+1," },
        { " @SUM(A1)", ",\" '@SUM(A1)\"," },
        { "-2", ",'-2," },
        { "ok;=cmd()", ",\"ok;'=cmd()\"," },
        { "ok, \"=cmd()", ",\"ok, \"\"'=cmd()\"," },
        { "＝1", ",'＝1," },
        { "\tx", ",\"'\tx\"," },
        { "well-known a=b", ",well-known a=b," },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cm_copy_row row = a_row(cases[i][0]);
        char *bytes = written(CM_COPY_CSV, true, &row);
        assert_memory_equal(bytes, "\xEF\xBB\xBFitem_id,", 11);
        assert_non_null(strstr(bytes, ",error\r\n"));
        if (strstr(bytes, cases[i][1]) == NULL) {
            fail_msg("%s became %s", cases[i][0], bytes);
        }
        free(bytes);
        bytes = written(CM_COPY_CSV, false, &row);
        assert_null(strstr(bytes, "'"));
        free(bytes);
    }
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    FILE *stream = fopen("/dev/full", "w");
    if (stream == NULL) {
        skip();
    }
    setvbuf(stream, NULL, _IONBF, 0);
    struct cm_copy_writer *writer = NULL;
    struct cm_copy_writer_options options = { .format = CM_COPY_CSV };
    struct cm_error error = { 0 };
    assert_int_equal(cm_copy_writer_open(stream, "full.csv", &options, &writer, &error), CM_IO);
    assert_non_null(strstr(error.message, "full.csv"));
    fclose(stream);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static enum cm_status check(struct cm_ledger *ledger, const char *path, bool overwrite)
{
    struct cm_output_rules rules = { .path = path, .overwrite = overwrite, .ledger = ledger };
    return cm_output_check(&rules, NULL);
}

static void outputs_are_replaced_only_with_leave(void **state)
{
    (void)state;
    char folder[] = "/tmp/copymill-output-XXXXXX";
    char *before = getcwd(NULL, 0);
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chdir(folder), 0);
    struct cm_ledger *ledger = NULL;
    assert_int_equal(cm_ledger_open("job", &ledger, NULL), CM_OK);

    assert_int_equal(check(ledger, "copy.csv", false), CM_OK);
    assert_int_equal(check(ledger, "nowhere/copy.csv", false), CM_IO);
    assert_int_equal(check(ledger, "/dev/null", true), CM_INVALID_ARGUMENT);

    struct cm_output_file *file = NULL;
    assert_int_equal(cm_output_file_open("copy.csv", &file, NULL), CM_OK);
    fputs("half", cm_output_file_stream(file));
    cm_output_file_close(file);
    assert_int_not_equal(access("copy.csv", F_OK), 0);
    assert_int_not_equal(access("copy.csv.copymill-part", F_OK), 0);

    assert_int_equal(cm_output_file_open("copy.csv", &file, NULL), CM_OK);
    fputs("whole", cm_output_file_stream(file));
    assert_int_equal(cm_output_file_publish(file, ledger, NULL), CM_OK);
    cm_output_file_close(file);
    assert_int_equal(check(ledger, "copy.csv", false), CM_OK);
    assert_int_equal(check(NULL, "copy.csv", false), CM_ALREADY_EXISTS);

    write_file("copy.csv", "edited by hand");
    assert_int_equal(check(ledger, "copy.csv", false), CM_ALREADY_EXISTS);
    assert_int_equal(check(ledger, "copy.csv", true), CM_OK);

    cm_ledger_close(ledger);
    unlink("copy.csv");
    unlink("job");
    assert_int_equal(chdir(before), 0);
    free(before);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_has_the_columns_of_the_contract),
        cmocka_unit_test(jsonl_has_the_same_keys_in_order),
        cmocka_unit_test(excel_disarms_formulas),
        cmocka_unit_test(a_full_disk_is_an_error),
        cmocka_unit_test(outputs_are_replaced_only_with_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
