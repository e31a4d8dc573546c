#include "jobs/report/report_command.h"

#include "base/log.h"
#include "jobs/job_argument.h"
#include "jobs/output_file.h"
#include "jobs/report/report_page.h"

#include <stdio.h>
#include <string.h>

struct command_options {
    const char *out_path;
    bool overwrite;
    double hourly_cost;
};

#define FIELD(name) offsetof(struct command_options, name)

static const struct cm_option OPTIONS[] = {
    { .help = "Options" },
    { "out", "FILE", "the HTML file, or - for standard output (the job's name with .html)",
      CM_OPTION_STRING, .offset = FIELD(out_path) },
    { "overwrite", NULL, "replace that file where there is one", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "hourly-cost", "X", "what the machine costs an hour, for the cost of the copy",
      CM_OPTION_DOUBLE, .offset = FIELD(hourly_cost), .minimum = 0, .maximum = 1e9,
      .above_minimum = true },
};
enum { OPTIONS_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

static void print_help(void)
{
    printf("Usage: copymill report JOB [options]\n\n"
           "Writes a job as one HTML file: scores, flags, segments, lengths, repeated texts,\n"
           "throughput against the limit of the machine, examples, settings. JOB is the ledger\n"
           "(copy.csv.job) or the copy file beside it; it may be at work.\n");
    cm_cli_print_options(stdout, OPTIONS, OPTIONS_COUNT);
}

static enum cm_status name_output(const struct command_options *options, const char *ledger_path,
                                  char out[CM_JOB_PATH_BYTES], struct cm_error *error)
{
    const char *base = options->out_path != NULL ? options->out_path : ledger_path;
    int length =
        snprintf(out, CM_JOB_PATH_BYTES, "%s%s", base, options->out_path != NULL ? "" : ".html");
    if (length < 0 || length >= CM_JOB_PATH_BYTES) {
        return cm_error_set(error, CM_LIMIT, "--out: the path is too long");
    }
    struct cm_output_rules rules = { .path = out, .overwrite = options->overwrite };
    return cm_output_check(&rules, error);
}

static enum cm_status report_job(const char *word, const struct command_options *options,
                                 struct cm_error *error)
{
    char path[CM_JOB_PATH_BYTES];
    char out[CM_JOB_PATH_BYTES] = "";
    struct cm_ledger *ledger = NULL;
    enum cm_status status = cm_job_path(word, path, error);
    if (status == CM_OK) {
        status = name_output(options, path, out, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_open_reading(path, &ledger, error);
    }
    if (status == CM_OK) {
        const char *slash = strrchr(path, '/');
        const struct cm_report_options report = {
            .name = slash != NULL ? slash + 1 : path,
            .path = out,
            .hourly_cost = options->hourly_cost,
        };
        status = cm_report_write(ledger, &report, error);
    }
    if (status == CM_OK && strcmp(out, "-") != 0) {
        cm_log(CM_LOG_INFO, "the report is in %s", out);
    }
    cm_ledger_close(ledger);
    return status;
}

enum cm_exit cm_report_command(int argc, char **argv)
{
    struct command_options options = { 0 };
    struct cm_job_arguments arguments;
    struct cm_error error = { 0 };
    enum cm_status status =
        cm_job_arguments_parse(OPTIONS, OPTIONS_COUNT, &options, argc, argv, &arguments, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK && arguments.words_count != 1) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "expected one job: copymill report copy.csv.job");
    }
    if (status == CM_OK) {
        status = report_job(arguments.words[0], &options, &error);
    }
    if (status == CM_OK) {
        return CM_EXIT_OK;
    }
    cm_log(CM_LOG_ERROR, "%s", error.message);
    return status == CM_IO || status == CM_OUT_OF_MEMORY ? CM_EXIT_FAILED : CM_EXIT_USAGE;
}
