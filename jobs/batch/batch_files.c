#include "jobs/batch/batch_files.h"

#include "jobs/batch/batch_answer.h"
#include "jobs/output_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum cm_status name_file(char path[PATH_MAX], const char *given, const char *base,
                                const char *ending, struct cm_error *error)
{
    int length = given != NULL ? snprintf(path, PATH_MAX, "%s", given)
                               : snprintf(path, PATH_MAX, "%s%s", base, ending);
    return length >= 0 && length < PATH_MAX
               ? CM_OK
               : cm_error_set(error, CM_LIMIT, "%s: the path is too long", base);
}

/* "out.jsonl" has its errors in "out.errors.jsonl". */
static enum cm_status name_errors(struct cm_batch_files *files, struct cm_error *error)
{
    const char *out = files->options->out_path;
    const char *dot = strrchr(out, '.');
    const char *slash = strrchr(out, '/');
    if (files->options->errors_path != NULL || dot == NULL || (slash != NULL && dot < slash)) {
        return name_file(files->errors_path, files->options->errors_path, out, ".errors", error);
    }
    char ending[PATH_MAX];
    char base[PATH_MAX];
    snprintf(base, sizeof base, "%.*s", (int)(dot - out), out);
    snprintf(ending, sizeof ending, ".errors%s", dot);
    return name_file(files->errors_path, NULL, base, ending, error);
}

enum cm_status cm_batch_files_check(struct cm_batch_files *files,
                                    const struct cm_batch_options *options, struct cm_error *error)
{
    files->options = options;
    bool to_stdout = strcmp(options->out_path, "-") == 0;
    enum cm_status status =
        name_file(files->ledger_path, options->job_path,
                  to_stdout ? "copymill-batch" : options->out_path, ".job", error);
    if (status == CM_OK) {
        status = name_errors(files, error);
    }
    if (status == CM_OK && access(files->ledger_path, F_OK) == 0) {
        status = cm_ledger_open(files->ledger_path, &files->ledger, error);
    }
    if (status == CM_OK) {
        struct cm_output_rules rules = { .path = options->out_path,
                                         .option = "-o",
                                         .overwrite = options->overwrite,
                                         .ledger = files->ledger };
        status = cm_output_check(&rules, error);
    }
    if (status == CM_OK) {
        struct cm_output_rules rules = { .path = files->errors_path,
                                         .option = "-e",
                                         .overwrite = options->overwrite,
                                         .ledger = files->ledger };
        status = cm_output_check(&rules, error);
    }
    return status;
}

enum cm_status cm_batch_files_open_ledger(struct cm_batch_files *files, struct cm_error *error)
{
    return files->ledger != NULL ? CM_OK
                                 : cm_ledger_open(files->ledger_path, &files->ledger, error);
}

/* The rows of one kind, from the plan. */
static enum cm_status write_rows(struct cm_batch_files *files, const char *path, bool failed,
                                 uint64_t expected, struct cm_error *error)
{
    struct cm_output_file *file = NULL;
    struct cm_copy_row row;
    uint64_t count = 0;
    enum cm_status status = cm_output_file_open(path, &file, error);
    if (status == CM_OK) {
        status = cm_ledger_rewind(files->ledger, error);
    }
    while (status == CM_OK) {
        status = cm_ledger_next(files->ledger, &row, error);
        if (status == CM_OK && (row.status != CM_ROW_OK) == failed) {
            count++;
            status = cm_batch_answer_write(cm_output_file_stream(file), &row);
            if (status != CM_OK) {
                cm_error_set(error, status, "%s: out of memory", path);
            }
        }
    }
    if (status == CM_END) {
        status = count == expected
                     ? cm_output_file_publish(file, files->ledger, error)
                     : cm_error_set(error, CM_INTERNAL,
                                    "%" PRIu64 " rows for %s were counted, but the ledger %s holds "
                                    "%" PRIu64,
                                    expected, path, files->ledger_path, count);
    }
    cm_output_file_close(file);
    return status;
}

enum cm_status cm_batch_files_write(struct cm_batch_files *files, uint64_t ok_count,
                                    uint64_t failed_count, struct cm_error *error)
{
    bool has_errors = failed_count > 0 || files->options->errors_path != NULL;
    enum cm_status status = CM_OK;
    if (has_errors) {
        status = write_rows(files, files->errors_path, true, failed_count, error);
    }
    return status == CM_OK ? write_rows(files, files->options->out_path, false, ok_count, error)
                           : status;
}

void cm_batch_files_deinit(struct cm_batch_files *files)
{
    cm_ledger_close(files->ledger);
    files->ledger = NULL;
}
