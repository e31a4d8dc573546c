#include "jobs/export/export_command.h"

#include "base/log.h"
#include "jobs/export/exporter.h"
#include "jobs/job_argument.h"
#include "jobs/output_file.h"

#include <inttypes.h>
#include <string.h>

struct command_options {
    enum cm_export_format format;
    enum cm_export_origin origin;
    const char *out_path;
    const char *segment;
    const char *producer;
    bool everything;
    bool excel;
    bool overwrite;
};

#define FIELD(name) offsetof(struct command_options, name)

static const struct cm_option OPTIONS[] = {
    { .help = "Options" },
    { "format", "NAME", "csv, jsonl, pairs, shopify or google-merchant (csv)", CM_OPTION_CHOICE,
      .offset = FIELD(format), .choices = CM_EXPORT_FORMATS },
    { "out", "FILE", "where it goes (-, standard output)", CM_OPTION_STRING,
      .offset = FIELD(out_path) },
    { "overwrite", NULL, "replace that file where there is one", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "segment", "ID", "only rows of this segment; a shop takes one text for each product",
      CM_OPTION_STRING, .offset = FIELD(segment) },
    { "all", NULL, "also what nobody has decided about yet; rejected rows stay out", CM_OPTION_FLAG,
      .offset = FIELD(everything) },
    { "excel", NULL, "CSV for spreadsheets: byte order mark, CRLF, no cell that executes",
      CM_OPTION_FLAG, .offset = FIELD(excel) },
    { "origin", "KIND",
      "say that a machine wrote it: none, metadata (a column AIGC), mark (words at the end of the "
      "text) or both (none)",
      CM_OPTION_CHOICE, .offset = FIELD(origin), .choices = CM_EXPORT_ORIGINS },
    { "producer", "NAME", "who answers for the text, in that metadata (copymill)", CM_OPTION_STRING,
      .offset = FIELD(producer) },
};
enum { OPTIONS_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

static void print_help(void)
{
    printf(
        "Usage: copymill export JOB [options]\n\n"
        "Writes the approved copy of a job, edited texts in place of the generated ones. JOB is\n"
        "the ledger (copy.csv.job) or the copy file beside it.\n");
    cm_cli_print_options(stdout, OPTIONS, OPTIONS_COUNT);
    printf("\nExit status: 0 written, 2 wrong usage or unreadable job, 3 written, but the format\n"
           "could not take some of the rows.\n");
}

static enum cm_status check_options(const struct command_options *options, struct cm_error *error)
{
    bool is_csv = options->format == CM_EXPORT_CSV || options->format == CM_EXPORT_SHOPIFY;
    if (options->excel && !is_csv) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--excel is for CSV: expected --format csv or shopify, found %s",
                            CM_EXPORT_FORMATS[options->format]);
    }
    struct cm_output_rules rules = {
        .path = options->out_path,
        .overwrite = options->overwrite,
    };
    return cm_output_check(&rules, error);
}

static enum cm_status write_file(struct cm_ledger *ledger, const struct command_options *options,
                                 struct cm_export_counts *counts, struct cm_error *error)
{
    const struct cm_export_options export_options = {
        .format = options->format,
        .origin = options->origin,
        .producer = options->producer,
        .segment = options->segment,
        .everything = options->everything,
        .excel = options->excel,
    };
    struct cm_output_file *file = NULL;
    enum cm_status status = cm_output_file_open(options->out_path, &file, error);
    if (status == CM_OK) {
        status = cm_export_write(ledger, &export_options, cm_output_file_stream(file),
                                 options->out_path, counts, error);
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(file, NULL, error);
    }
    cm_output_file_close(file);
    return status;
}

static void report(const struct command_options *options, const struct cm_export_counts *counts)
{
    cm_log(CM_LOG_INFO, "%" PRIu64 " rows written to %s", counts->written,
           strcmp(options->out_path, "-") == 0 ? "standard output" : options->out_path);
    if (counts->waiting > 0) {
        cm_log(CM_LOG_INFO,
               "%" PRIu64 " rows are not approved and stay out; \"copymill review\" is where that "
               "is done, and --all takes them as they are",
               counts->waiting);
    }
    if (counts->refused > 0) {
        cm_log(CM_LOG_WARNING, "%" PRIu64 " rows cannot go into this format; the first: %s",
               counts->refused, counts->refusal);
    }
}

static enum cm_status export_job(const char *word, const struct command_options *options,
                                 struct cm_export_counts *counts, struct cm_error *error)
{
    char path[CM_JOB_PATH_BYTES];
    struct cm_ledger *ledger = NULL;
    enum cm_status status = cm_job_path(word, path, error);
    if (status == CM_OK) {
        status = cm_ledger_open_reading(path, &ledger, error);
    }
    if (status == CM_OK) {
        status = write_file(ledger, options, counts, error);
    }
    cm_ledger_close(ledger);
    return status;
}

enum cm_exit cm_export_command(int argc, char **argv)
{
    struct command_options options = { .out_path = "-" };
    struct cm_job_arguments arguments;
    struct cm_export_counts counts = { 0 };
    struct cm_error error = { 0 };
    enum cm_status status =
        cm_job_arguments_parse(OPTIONS, OPTIONS_COUNT, &options, argc, argv, &arguments, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK && arguments.words_count != 1) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "expected one job: copymill export copy.csv.job");
    }
    if (status == CM_OK) {
        status = check_options(&options, &error);
    }
    if (status == CM_OK) {
        status = export_job(arguments.words[0], &options, &counts, &error);
    }
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
        return status == CM_IO || status == CM_OUT_OF_MEMORY ? CM_EXIT_FAILED : CM_EXIT_USAGE;
    }
    report(&options, &counts);
    return counts.refused > 0 ? CM_EXIT_PARTIAL : CM_EXIT_OK;
}
