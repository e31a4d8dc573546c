#include "jobs/batch/batch_command.h"

#include "base/log.h"
#include "base/memory.h"
#include "jobs/batch/batch.h"

#include <stdio.h>
#include <string.h>

static void print_help(void)
{
    printf("Usage: copymill batch -i in.jsonl -o out.jsonl [-e err.jsonl] [options]\n\n"
           "Answers the requests of an OpenAI Batch file, /v1/chat/completions and\n"
           "/v1/completions. The same command again resumes an interrupted job.\n");
    cm_cli_print_options(stdout, CM_BATCH_OPTIONS, CM_BATCH_OPTIONS_COUNT);
    printf("\nParameters of a request: model, messages or prompt, max_tokens,\n"
           "max_completion_tokens, temperature, top_p, n, stop, seed; also top_k, min_p and\n"
           "repetition_penalty. One that is not supported makes the request an error.\n"
           "\nExit status: 0 every request answered, 1 none, 2 wrong usage or unreadable input,\n"
           "3 some failed, 4 interrupted and can be resumed.\n");
}

/* The short names that batch tools have in common. */
static char *long_name(char *word)
{
    static char input[] = "--input";
    static char out[] = "--out";
    static char errors[] = "--errors";
    return strcmp(word, "-i") == 0   ? input
           : strcmp(word, "-o") == 0 ? out
           : strcmp(word, "-e") == 0 ? errors
                                     : word;
}

enum cm_exit cm_batch_command(int argc, char **argv)
{
    struct cm_batch_options options;
    struct cm_error error = { 0 };
    char **words = cm_alloc((size_t)argc + 1, sizeof *words);
    if (words == NULL) {
        cm_log(CM_LOG_ERROR, "out of memory");
        return CM_EXIT_FAILED;
    }
    for (int i = 0; i < argc; i++) {
        words[i] = i == 0 ? argv[i] : long_name(argv[i]);
    }
    cm_batch_options_init(&options);
    enum cm_exit result = CM_EXIT_USAGE;
    enum cm_status status =
        cm_cli_parse(CM_BATCH_OPTIONS, CM_BATCH_OPTIONS_COUNT, &options, argc, words, &error);
    if (status == CM_OK) {
        status = cm_batch_options_check(&options, &error);
    }
    if (status == CM_END) {
        print_help();
        result = CM_EXIT_OK;
    } else if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
    } else {
        result = cm_batch_run(&options);
    }
    cm_free(words);
    return result;
}
