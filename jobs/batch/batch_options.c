#include "jobs/batch/batch_options.h"

#include <string.h>

#if defined(COPYMILL_CUDA)
static const char *const PRECISIONS[] = { "auto", "exact", "bf16", "int8",
                                          "fp16", "int4",  "fp8",  NULL };
#define PRECISIONS_HELP "auto, exact, bf16, int8; fp16, int4, fp8 on CUDA (auto)"
#else
static const char *const PRECISIONS[] = { "auto", "exact", "bf16", "int8", NULL };
#define PRECISIONS_HELP "auto, exact, bf16 or int8 (auto)"
#endif
static const char *const PROGRESS_MODES[] = { "auto", "tty", "plain", "json", "none", NULL };

#define FIELD(name) offsetof(struct cm_batch_options, name)

/* Defaults in parentheses are those of cm_batch_options_init. */
const struct cm_option CM_BATCH_OPTIONS[] = {
    { .help = "Input and output" },
    { "input", "FILE", "requests, one JSON object a line; - reads standard input; also -i",
      CM_OPTION_STRING, .offset = FIELD(input_path) },
    { "out", "FILE", "the answers, in the order of the requests; also -o", CM_OPTION_STRING,
      .offset = FIELD(out_path) },
    { "errors", "FILE", "the requests that failed, with code and message (OUT.errors); also -e",
      CM_OPTION_STRING, .offset = FIELD(errors_path) },
    { "overwrite", NULL, "replace files that are there", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "job", "FILE", "the ledger of the job, which resumes it (the output file with .job)",
      CM_OPTION_STRING, .offset = FIELD(job_path) },

    { .help = "Model" },
    { "model", "NAME|FILE|DIR",
      "a known model, a GGUF file or a Hugging Face folder (qwen2.5-coder-0.5b-it); it answers "
      "whatever model a request names",
      CM_OPTION_STRING, .offset = FIELD(model) },
    { "max-tokens", "N", "most tokens of an answer whose request sets no limit (512)",
      CM_OPTION_U32, .offset = FIELD(max_tokens), .minimum = 1, .maximum = 1e6 },
    { "max-length", "N", "most tokens of prompt and answer together (the model's)", CM_OPTION_U32,
      .offset = FIELD(max_length), .minimum = 1, .maximum = 1e6 },

    { .help = "How it runs" },
    { "precision", "NAME", PRECISIONS_HELP, CM_OPTION_CHOICE, .offset = FIELD(precision),
      .choices = PRECISIONS },
    { "kv-cache", "NAME", CM_KV_HELP, CM_OPTION_CHOICE, .offset = FIELD(kv),
      .choices = CM_KV_NAMES },
    { "device", "NAME", CM_DEVICE_HELP, CM_OPTION_STRING, .offset = FIELD(device) },
    { "tp", "N", CM_TP_HELP, CM_OPTION_U32, .offset = FIELD(tp), .minimum = 1, .maximum = 16 },
    { "device-timeout", "S", CM_DEVICE_TIMEOUT_HELP, CM_OPTION_DOUBLE,
      .offset = FIELD(device_timeout_s), .minimum = 1, .maximum = 86400 },
    { "threads", "N", "threads; 0: one per core (0)", CM_OPTION_U32, .offset = FIELD(threads),
      .maximum = 4096 },
    { "batch", "N", "most answers in flight; 0: chosen for the machine (0)", CM_OPTION_U32,
      .offset = FIELD(batch), .maximum = 65536 },
    { "memory", "GiB", "most memory for keys and values; 0: chosen for the machine (0)",
      CM_OPTION_DOUBLE, .offset = FIELD(memory_gib), .maximum = 1e6 },
    { "progress", "MODE", "auto, tty, plain, json or none (auto)", CM_OPTION_CHOICE,
      .offset = FIELD(progress), .choices = PROGRESS_MODES },
};
const size_t CM_BATCH_OPTIONS_COUNT = sizeof CM_BATCH_OPTIONS / sizeof CM_BATCH_OPTIONS[0];

void cm_batch_options_init(struct cm_batch_options *options)
{
    struct cm_run_options run;
    cm_run_options_init(&run);
    *options = (struct cm_batch_options){ .model = run.model, .max_tokens = 512 };
}

static bool is_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

enum cm_status cm_batch_options_check(const struct cm_batch_options *options,
                                      struct cm_error *error)
{
    if (options->input_path == NULL || options->out_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "%s FILE is missing",
                            options->input_path == NULL ? "-i" : "-o");
    }
    bool dashes = strcmp(options->input_path, "-") == 0;
    if ((!dashes && is_same(options->input_path, options->out_path)) ||
        (!dashes && is_same(options->input_path, options->errors_path))) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%s is the input; name another file to write to", options->input_path);
    }
    if (is_same(options->out_path, options->errors_path)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "-o and -e name the same file");
    }
    if (strcmp(options->out_path, "-") == 0 && options->errors_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "-e FILE is needed where the answers go to standard output");
    }
    return CM_OK;
}
