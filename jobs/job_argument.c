#include "jobs/job_argument.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether the word is an option that takes the next word as its value. */
static bool takes_next(const struct cm_option *options, size_t options_count, const char *word)
{
    for (size_t i = 0; i < options_count; i++) {
        if (options[i].name != NULL && strcmp(word + 2, options[i].name) == 0) {
            return options[i].argument != NULL;
        }
    }
    return false;
}

enum cm_status cm_job_arguments_parse(const struct cm_option *options, size_t options_count,
                                      void *target, int argc, char **argv,
                                      struct cm_job_arguments *arguments, struct cm_error *error)
{
    enum { WORDS_MAX = sizeof arguments->words / sizeof arguments->words[0] };
    *arguments = (struct cm_job_arguments){ 0 };
    char **rest = cm_alloc((size_t)argc + 1, sizeof *rest);
    enum cm_status status = CM_OK;
    int rest_count = 0;
    if (rest == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    rest[rest_count++] = argv[0];
    for (int i = 1; status == CM_OK && i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            rest[rest_count++] = argv[i];
            if (takes_next(options, options_count, argv[i]) && i + 1 < argc) {
                rest[rest_count++] = argv[++i];
            }
        } else if (arguments->words_count == WORDS_MAX) {
            status =
                cm_error_set(error, CM_INVALID_ARGUMENT, "\"%.60s\": one word too many", argv[i]);
        } else {
            arguments->words[arguments->words_count++] = argv[i];
        }
    }
    if (status == CM_OK) {
        status = cm_cli_parse(options, options_count, target, rest_count, rest, error);
    }
    cm_free(rest);
    return status;
}

enum cm_status cm_job_path(const char *word, char path[CM_JOB_PATH_BYTES], struct cm_error *error)
{
    static const char *const endings[] = { ".job", "" };
    for (size_t i = 0; i < 2; i++) {
        int length = snprintf(path, CM_JOB_PATH_BYTES, "%s%s", word, endings[i]);
        if (length < 0 || length >= CM_JOB_PATH_BYTES) {
            return cm_error_set(error, CM_LIMIT, "%.60s...: the path is too long", word);
        }
        if (access(path, F_OK) == 0) {
            return CM_OK;
        }
    }
    return cm_error_set(error, CM_NOT_FOUND,
                        "%s: there is no such job; expected the ledger that \"copymill run\" wrote "
                        "beside its output (copy.csv.job), or that output",
                        word);
}
