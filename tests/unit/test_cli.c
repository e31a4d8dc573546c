#include "jobs/cli.h"

#include "jobs/run_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

static struct cm_run_options options;
static struct cm_error error;

/* Parses "run" and the words up to NULL. */
static enum cm_status parse(const char *const *words)
{
    char *argv[WORDS_MAX + 2] = { (char *)"run" };
    int argc = 1;
    while (words[argc - 1] != NULL) {
        argv[argc] = (char *)words[argc - 1];
        argc++;
    }
    cm_run_options_init(&options);
    error.message[0] = '\0';
    enum cm_status status =
        cm_cli_parse(CM_RUN_OPTIONS, CM_RUN_OPTIONS_COUNT, &options, argc, argv, &error);
    return status == CM_OK ? cm_run_options_check(&options, &error) : status;
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define JOB "--catalog", "items.csv", "--out", "copy.csv"

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    assert_int_equal(parse(WORDS(JOB)), CM_OK);
    assert_string_equal(options.scenario, "description");
    assert_string_equal(options.channel, "generic");
    assert_string_equal(options.language, "auto");
    assert_string_equal(options.model, "qwen2.5-coder-0.5b-it");
    assert_int_equal(options.max_tokens, 160);
    assert_int_equal(options.sampling.top_k, 50);
    assert_int_equal(options.seed, 1);
    assert_int_equal(options.attempts, 2);
    assert_true(options.min_score == 0.5);
    assert_null(options.job_path);
    assert_int_equal(options.progress, CM_PROGRESS_AUTO);
}

static void every_good_value_reaches_its_field(void **state)
{
    (void)state;
    assert_int_equal(parse(WORDS(JOB, "--segments=s.csv", "--job", "j.db", "--overwrite", "--excel",
                                 "--scenario=recommend", "--template=t.txt")),
                     CM_OK);
    assert_string_equal(options.segments_path, "s.csv");
    assert_string_equal(options.job_path, "j.db");
    assert_true(options.overwrite && options.excel && !options.dry_run);
    assert_string_equal(options.scenario, "recommend");
    assert_string_equal(options.template_path, "t.txt");

    assert_int_equal(parse(WORDS(JOB, "--map", "title=Name", "--map=id=SKU", "--limit", "12",
                                 "--only", "a:b,c", "--language=pt-br", "--model=m.gguf")),
                     CM_OK);
    assert_int_equal(options.maps_count, 2);
    assert_string_equal(options.maps[1], "id=SKU");
    assert_int_equal(options.limit, 12);
    assert_string_equal(options.only, "a:b,c");
    assert_string_equal(options.language, "pt-br");
    assert_string_equal(options.model, "m.gguf");

    assert_int_equal(parse(WORDS(JOB, "--attempts=3", "--min-score=0.25", "--max-length=900",
                                 "--max-tokens=80", "--temperature=0", "--top-k=0", "--top-p=1",
                                 "--min-p=0.05", "--repetition-penalty=1", "--seed=18446744073")),
                     CM_OK);
    assert_int_equal(options.attempts, 3);
    assert_true(options.min_score == 0.25);
    assert_int_equal(options.max_length, 900);
    assert_int_equal(options.max_tokens, 80);
    assert_true(options.sampling.temperature == 0);
    assert_int_equal(options.sampling.top_k, 0);
    assert_true(options.sampling.top_p == 1);
    assert_true(options.sampling.min_p > 0.049 && options.sampling.min_p < 0.051);
    assert_true(options.sampling.repetition_penalty == 1);
    assert_true(options.seed == 18446744073);

    assert_int_equal(
        parse(WORDS(JOB, "--threads=2", "--batch=64", "--memory=1.5", "--precision=exact",
                    "--dry-run", "--progress=json", "--no-samples", "--channel=generic")),
        CM_OK);
    assert_int_equal(options.threads, 2);
    assert_int_equal(options.batch, 64);
    assert_true(options.memory_gib == 1.5);
    assert_int_equal(options.precision, CM_ENGINE_EXACT);
    assert_int_equal(options.progress, CM_PROGRESS_JSON);
    assert_true(options.dry_run && options.quiet_samples);
}

static void bad_values_are_refused_with_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        const char *message;
    } CASES[] = {
        { "--top-p=1.5", "--top-p 1.5: expected a number above 0 and at most 1" },
        { "--top-p=0", "--top-p 0: expected a number above 0 and at most 1" },
        { "--top-p=nan", "--top-p nan: expected a number above 0 and at most 1" },
        { "--min-p=-0.1", "--min-p -0.1: expected a number from 0 to 1" },
        { "--temperature=hot", "--temperature hot: expected a number from 0 to 10" },
        { "--temperature=inf", "--temperature inf: expected a number from 0 to 10" },
        { "--temperature=0x1", "--temperature 0x1: expected a number from 0 to 10" },
        { "--repetition-penalty=0",
          "--repetition-penalty 0: expected a number above 0 and at most 10" },
        { "--top-k=-1", "--top-k -1: expected a whole number from 0 to 1000000" },
        { "--top-k=5.5", "--top-k 5.5: expected a whole number from 0 to 1000000" },
        { "--top-k= 5", "--top-k  5: expected a whole number from 0 to 1000000" },
        { "--max-tokens=0", "--max-tokens 0: expected a whole number from 1 to 1000000" },
        { "--max-tokens=99999999999999999999999",
          "--max-tokens 99999999999999999999999: expected a whole number from 1 to 1000000" },
        { "--max-length=", "--max-length : expected a whole number from 1 to 1000000" },
        { "--limit=0", "--limit 0: expected a whole number from 1 to 1000000000000" },
        { "--seed=-1", "--seed -1: expected a whole number from 0 to 1e+19" },
        { "--attempts=0", "--attempts 0: expected a whole number from 1 to 100" },
        { "--min-score=2", "--min-score 2: expected a number from 0 to 1" },
        { "--threads=0", "--threads 0: expected a whole number from 1 to 1024" },
        { "--batch=70000", "--batch 70000: expected a whole number from 1 to 65536" },
        { "--memory=0", "--memory 0: expected a number above 0 and at most 65536" },
        { "--precision=fp64", "--precision fp64: expected one of: auto, exact, bf16, int8" },
        { "--progress=loud", "--progress loud: expected one of: auto, tty, plain, json, none" },
        { "--language=english",
          "--language english: expected auto or a code such as en, zh or pt-br" },
        { "--map=title", "--map title: expected FIELD=COLUMN, such as title=Name" },
        { "--template=", "--template: expected FILE, found nothing" },
        { "--overwrite=yes", "--overwrite takes no value" },
        { "--templete=x", "unknown option --templete: did you mean --template?" },
        { "--temper=0.5", "unknown option --temper: did you mean --temperature?" },
        { "--help=me", "--help takes no value" },
        { "--zzzzzzzzz", "unknown option --zzzzzzzzz; --help lists them" },
        { "-x", "unknown option -x; --help lists them" },
        { "--seed", "--seed: expected N after it" },
        { "items2.csv", "unexpected \"items2.csv\": every value belongs to an option, such as "
                        "--catalog FILE" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(WORDS(JOB, CASES[i].word)), CM_INVALID_ARGUMENT);
        assert_string_equal(error.message, CASES[i].message);
    }
}

static void options_that_do_not_go_together_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *words[WORDS_MAX];
        const char *message;
    } CASES[] = {
        { { "--out", "copy.csv" }, "--catalog is missing: expected --catalog FILE, the products" },
        { { "--catalog", "a.csv" }, "--out is missing: expected --out FILE, where the copy goes" },
        { { "--catalog", "a.csv", "--out", "copy.txt" },
          "--out copy.txt: expected a name that ends in .csv or .jsonl, or -" },
        { { "--catalog", "a.csv", "--out", "c.jsonl", "--excel" },
          "--excel is for CSV: expected --out with a .csv file, found c.jsonl" },
        { { "--catalog", "a.csv", "--out", "a.csv" },
          "--out a.csv: the same file as --catalog: expected another name, so that the input is "
          "not overwritten" },
        { { JOB, "--segments", "copy.csv" },
          "--out copy.csv: the same file as --segments: expected another name, so that the input "
          "is not overwritten" },
        { { JOB, "--job", "items.csv" },
          "--job items.csv: the same file as --catalog: expected another name, so that the input "
          "is not overwritten" },
        { { JOB, "--job", "copy.csv" },
          "--job copy.csv: the same file as --out: expected a file of its own" },
        { { JOB, "--segments", "-" },
          "--segments -: expected a file; only --catalog reads standard input" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(parse(CASES[i].words), CM_INVALID_ARGUMENT);
        assert_string_equal(error.message, CASES[i].message);
    }
    assert_int_equal(parse(WORDS("--catalog=-", "--out=-")), CM_OK);
    assert_int_equal(parse(WORDS("--catalog=a.csv", "--dry-run")), CM_OK);
}

static void the_input_is_safe_under_another_name(void **state)
{
    (void)state;
    char folder[] = "/tmp/copymill-cli-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char input[64];
    char other[64];
    snprintf(input, sizeof input, "%s/items.csv", folder);
    snprintf(other, sizeof other, "%s/link.csv", folder);
    FILE *file = fopen(input, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(symlink("items.csv", other), 0);
    assert_int_equal(parse(WORDS("--catalog", input, "--out", other)), CM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "the same file as --catalog"));
    unlink(other);
    unlink(input);
    rmdir(folder);
}

static void too_many_maps_and_help(void **state)
{
    (void)state;
    char *argv[CM_MAPS_MAX + 3] = { (char *)"run" };
    for (int i = 1; i < CM_MAPS_MAX + 2; i++) {
        argv[i] = (char *)"--map=a=b";
    }
    cm_run_options_init(&options);
    assert_int_equal(
        cm_cli_parse(CM_RUN_OPTIONS, CM_RUN_OPTIONS_COUNT, &options, CM_MAPS_MAX + 2, argv, &error),
        CM_INVALID_ARGUMENT);
    assert_string_equal(error.message, "--map: expected at most 64 of them");
    assert_int_equal(parse(WORDS("--help")), CM_END);
}

static void help_names_every_option_within_100_columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    cm_cli_print_options(stream, CM_RUN_OPTIONS, CM_RUN_OPTIONS_COUNT);
    fclose(stream);
    for (size_t i = 0; i < CM_RUN_OPTIONS_COUNT; i++) {
        char wanted[64];
        if (CM_RUN_OPTIONS[i].name != NULL) {
            snprintf(wanted, sizeof wanted, "\n  --%s", CM_RUN_OPTIONS[i].name);
            assert_true((strstr(text, wanted) != NULL) == (CM_RUN_OPTIONS[i].help != NULL));
        }
    }
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        assert_in_range(length, 0, 100);
        line += length + 1;
    }
    free(text); /* of open_memstream */
}

static void mistyped_words_find_their_neighbour(void **state)
{
    (void)state;
    static const char *const NAMES[] = { "run", "bench", "model" };
    assert_string_equal(cm_cli_closest("bnech", NAMES, 3), "bench");
    assert_string_equal(cm_cli_closest("rnu", NAMES, 3), "run");
    assert_null(cm_cli_closest("frobnicate", NAMES, 3));
    assert_null(cm_cli_closest("", NAMES, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_those_of_the_contract),
        cmocka_unit_test(every_good_value_reaches_its_field),
        cmocka_unit_test(bad_values_are_refused_with_what_would_be_right),
        cmocka_unit_test(options_that_do_not_go_together_are_refused),
        cmocka_unit_test(the_input_is_safe_under_another_name),
        cmocka_unit_test(too_many_maps_and_help),
        cmocka_unit_test(help_names_every_option_within_100_columns),
        cmocka_unit_test(mistyped_words_find_their_neighbour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
