#include "jobs/run_options.h"

#include "jobs/language.h"

#include <string.h>
#include <sys/stat.h>

const char *const CM_PRECISION_NAMES[] = { "auto", "exact", "bf16", "int8",
                                           "fp16", "int4",  "fp8",  NULL };
#if defined(COPYMILL_CUDA)
#define PRECISIONS CM_PRECISION_NAMES
#define PRECISIONS_HELP "auto, exact, bf16, int8; fp16, int4, fp8 on CUDA (auto)"
#else
static const char *const PRECISIONS[] = { "auto", "exact", "bf16", "int8", NULL };
#define PRECISIONS_HELP "auto, exact, bf16 or int8 (auto)"
#endif
const char *const CM_KV_NAMES[] = { "auto", "int8", NULL };
const char *const CM_FACT_LOCK_MODES[] = { "off", "on", "words", NULL };
static const char *const PROGRESS_MODES[] = { "auto", "tty", "plain", "json", "none", NULL };

#define FIELD(name) offsetof(struct cm_run_options, name)

/* Defaults in parentheses are those of cm_run_options_init. */
const struct cm_option CM_RUN_OPTIONS[] = {
    { .help = "Input and output" },
    { "catalog", "FILE", "products: CSV, TSV, JSON or JSONL; - reads standard input",
      CM_OPTION_STRING, .offset = FIELD(catalog_path) },
    { "segments", "FILE", "customer segments: CSV or JSON (one neutral segment)", CM_OPTION_STRING,
      .offset = FIELD(segments_path) },
    { "questions", "FILE", "customers' questions for the scenario answer: CSV or JSON",
      CM_OPTION_STRING, .offset = FIELD(questions_path) },
    { "out", "FILE", "the copy: a .csv or .jsonl file, or - for CSV on standard output",
      CM_OPTION_STRING, .offset = FIELD(out_path) },
    { "overwrite", NULL, "replace the output file where there is one", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "excel", NULL, "CSV for spreadsheets: byte order mark, CRLF, no cell that executes",
      CM_OPTION_FLAG, .offset = FIELD(excel) },
    { "job", "FILE", "the ledger of the job, which resumes it (the output file with .job)",
      CM_OPTION_STRING, .offset = FIELD(job_path) },
    { "map", "FIELD=COLUMN", "read a field of the catalog from this column; may be repeated",
      CM_OPTION_STRINGS, .offset = FIELD(maps), .count_offset = FIELD(maps_count),
      .count_max = CM_MAPS_MAX },
    { "limit", "N", "only the first N items", CM_OPTION_U64, .offset = FIELD(limit), .minimum = 1,
      .maximum = 1e12 },
    { "only", "ITEM[:SEGMENT],...", "only these items, or these rows of theirs", CM_OPTION_STRING,
      .offset = FIELD(only) },

    { .help = "What to write" },
    { "scenario", "NAME", "description, ad, social, answer or recommend (description)",
      CM_OPTION_STRING, .offset = FIELD(scenario) },
    { "channel", "NAME",
      "where the copy appears: generic, shopify, google-merchant, google-ads, amazon, meta, x, "
      "instagram, taobao, xiaohongshu or aliexpress (generic)",
      CM_OPTION_STRING, .offset = FIELD(channel) },
    { "template", "FILE", "a prompt template of your own in place of the scenario's",
      CM_OPTION_STRING, .offset = FIELD(template_path) },
    { "language", "CODE", "en, zh, ... or auto: the segment's, else the item's (auto)",
      CM_OPTION_STRING, .offset = FIELD(language) },
    { "attempts", "N", "tries for each copy that scores under --min-score (2)", CM_OPTION_U32,
      .offset = FIELD(attempts), .minimum = 1, .maximum = 100 },
    { "min-score", "X", "score from 0 to 1 under which a copy is flagged (0.5)", CM_OPTION_DOUBLE,
      .offset = FIELD(min_score), .minimum = 0, .maximum = 1 },

    { .help = "Model and decoding" },
    { "model", "NAME|FILE|DIR",
      "a known model, a GGUF file or a Hugging Face folder (qwen2.5-coder-0.5b-it)",
      CM_OPTION_STRING, .offset = FIELD(model) },
    { "max-length", "N", "most tokens of prompt and copy together (no limit)", CM_OPTION_U32,
      .offset = FIELD(max_length), .minimum = 1, .maximum = 1e6 },
    { "max-tokens", "N", "most tokens of a copy (160; with --max-length no limit)", CM_OPTION_U32,
      .offset = FIELD(max_tokens), .minimum = 1, .maximum = 1e6 },
    { "temperature", "X", "0 always takes the likeliest token (0.7; with --beams 0)",
      CM_OPTION_FLOAT, .offset = FIELD(sampling.temperature), .minimum = 0, .maximum = 10 },
    { "top-k", "N", "choose among the N likeliest tokens; 0: off (50)", CM_OPTION_U32,
      .offset = FIELD(sampling.top_k), .minimum = 0, .maximum = 1e6 },
    { "top-p", "X", "choose among the likeliest tokens of this total share; 1: off (0.9)",
      CM_OPTION_FLOAT, .offset = FIELD(sampling.top_p), .minimum = 0, .maximum = 1,
      .above_minimum = true },
    { "min-p", "X", "leave out tokens under this share of the likeliest one; 0: off (0)",
      CM_OPTION_FLOAT, .offset = FIELD(sampling.min_p), .minimum = 0, .maximum = 1 },
    { "repetition-penalty", "X", "above 1 avoids what prompt and copy already hold (1.05)",
      CM_OPTION_FLOAT, .offset = FIELD(sampling.repetition_penalty), .minimum = 0, .maximum = 10,
      .above_minimum = true },
    { "beams", "N", "search over N texts at a time for the likeliest; 1: off (1)", CM_OPTION_U32,
      .offset = FIELD(sampling.beams), .minimum = 1, .maximum = CM_BEAMS_MAX },
    { "best-of", "N", "write each copy N times and keep the one with the best score (1)",
      CM_OPTION_U32, .offset = FIELD(best_of), .minimum = 1, .maximum = 100 },
    { "no-repeat-ngram", "N", "no N tokens twice in prompt and copy; 0: off (0)", CM_OPTION_U32,
      .offset = FIELD(sampling.no_repeat_ngram), .minimum = 0, .maximum = 1000 },
    { "stop", "TEXT", "end the copy where this text would begin; may be repeated",
      CM_OPTION_STRINGS, .offset = FIELD(stops), .count_offset = FIELD(stops_count),
      .count_max = CM_STOP_STRINGS_MAX },
    { "ban", "FILE", "words and phrases, one a line, that no copy may hold", CM_OPTION_STRING,
      .offset = FIELD(ban_path) },
    { "fact-lock", "MODE",
      "on: only numbers that the facts hold, with their units; words: number "
      "words (six) too; off (on)",
      CM_OPTION_CHOICE, .offset = FIELD(fact_lock), .choices = CM_FACT_LOCK_MODES },
    { "seed", "N", "the same seed gives the same copy (1)", CM_OPTION_U64, .offset = FIELD(seed),
      .minimum = 0, .maximum = 1e19 },

    { .help = "Where and how it runs" },
    { "device", "NAME", CM_DEVICE_HELP, CM_OPTION_STRING, .offset = FIELD(device) },
    { "tp", "N", CM_TP_HELP, CM_OPTION_U32, .offset = FIELD(tp), .minimum = 1, .maximum = 16 },
    { "device-timeout", "S", CM_DEVICE_TIMEOUT_HELP, CM_OPTION_DOUBLE,
      .offset = FIELD(device_timeout_s), .minimum = 1, .maximum = 86400 },
    { "threads", "N", "processor threads (one per core)", CM_OPTION_U32, .offset = FIELD(threads),
      .minimum = 1, .maximum = 1024 },
    { "batch", "N", "most copies in work at a time (chosen to fit)", CM_OPTION_U32,
      .offset = FIELD(batch), .minimum = 1, .maximum = 65536 },
    { "memory", "GIB", "most memory for the copies in work (what --batch needs)", CM_OPTION_DOUBLE,
      .offset = FIELD(memory_gib), .minimum = 0, .maximum = 65536, .above_minimum = true },
    { "precision", "NAME", PRECISIONS_HELP, CM_OPTION_CHOICE, .offset = FIELD(precision),
      .choices = PRECISIONS },
    { "kv-cache", "NAME", CM_KV_HELP, CM_OPTION_CHOICE, .offset = FIELD(kv),
      .choices = CM_KV_NAMES },
    { "dry-run", NULL, "check everything, estimate tokens, time and memory; write nothing",
      CM_OPTION_FLAG, .offset = FIELD(dry_run) },
    { "progress", "MODE", "auto, tty, plain, json or none (auto)", CM_OPTION_CHOICE,
      .offset = FIELD(progress), .choices = PROGRESS_MODES },
    { "report", "FILE.html", "also write the job as one HTML file", CM_OPTION_STRING,
      .offset = FIELD(report_path) },
    { "metrics", "FILE", "keep the run's figures in this file, in Prometheus' text format",
      CM_OPTION_STRING, .offset = FIELD(metrics_path) },
    { "no-samples", NULL, "show no sample copies at the end", CM_OPTION_FLAG,
      .offset = FIELD(quiet_samples) },
};
const size_t CM_RUN_OPTIONS_COUNT = sizeof CM_RUN_OPTIONS / sizeof CM_RUN_OPTIONS[0];

enum { DEFAULT_MAX_TOKENS = 160 };
static const float default_temperature = 0.7F;
#define TEMPERATURE_NOT_GIVEN (-1.0F)

void cm_run_options_init(struct cm_run_options *options)
{
    *options = (struct cm_run_options){
        .scenario = "description",
        .channel = "generic",
        .language = "auto",
        .model = "qwen2.5-coder-0.5b-it",
        .attempts = 2,
        .best_of = 1,
        .min_score = 0.5,
        .sampling = { .temperature = TEMPERATURE_NOT_GIVEN,
                      .top_k = 50,
                      .top_p = 0.9F,
                      .repetition_penalty = 1.05F,
                      .beams = 1 },
        .seed = 1,
        .fact_lock = CM_FACT_LOCK_ON,
    };
}

/* --- Checks over several options --- */

static bool is_dash(const char *path)
{
    return strcmp(path, "-") == 0;
}

/* The same file, under whatever name; also for a path that does not exist yet. */
static bool same_file(const char *a, const char *b)
{
    struct stat a_stat;
    struct stat b_stat;
    if (strcmp(a, b) == 0) {
        return true;
    }
    return stat(a, &a_stat) == 0 && stat(b, &b_stat) == 0 && a_stat.st_dev == b_stat.st_dev &&
           a_stat.st_ino == b_stat.st_ino;
}

/* What a run writes must be none of what it reads. */
static enum cm_status check_paths_differ(const struct cm_run_options *options,
                                         struct cm_error *error)
{
    const struct {
        const char *option;
        const char *path;
    } inputs[] = {
        { "--catalog", options->catalog_path },
        { "--segments", options->segments_path },
        { "--questions", options->questions_path },
        { "--template", options->template_path },
        { "--ban", options->ban_path },
        { "--model", options->model },
    }, outputs[] = {
        { "--out", options->out_path },
        { "--job", options->job_path },
        { "--report", options->report_path },
        { "--metrics", options->metrics_path },
    };
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        for (size_t j = 0; j < sizeof inputs / sizeof inputs[0]; j++) {
            const char *output = outputs[i].path;
            const char *input = inputs[j].path;
            if (output != NULL && input != NULL && !is_dash(output) && same_file(output, input)) {
                return cm_error_set(error, CM_INVALID_ARGUMENT,
                                    "%s %s: the same file as %s: expected another name, so that "
                                    "the input is not overwritten",
                                    outputs[i].option, output, inputs[j].option);
            }
        }
    }
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *one = outputs[i].path;
            const char *other = outputs[j].path;
            if (one != NULL && other != NULL && !is_dash(one) && same_file(one, other)) {
                return cm_error_set(error, CM_INVALID_ARGUMENT,
                                    "%s %s: the same file as %s: expected a file of its own",
                                    outputs[i].option, one, outputs[j].option);
            }
        }
    }
    return CM_OK;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text);
    size_t ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

static enum cm_status check_output(const struct cm_run_options *options, struct cm_error *error)
{
    const char *out = options->out_path;
    bool jsonl = ends_with(out, ".jsonl");
    if (!is_dash(out) && !jsonl && !ends_with(out, ".csv")) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--out %s: expected a name that ends in .csv or .jsonl, or -", out);
    }
    if (options->excel && jsonl) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--excel is for CSV: expected --out with a .csv file, found %s", out);
    }
    return CM_OK;
}

static enum cm_status check_texts(const struct cm_run_options *options, struct cm_error *error)
{
    if (strcmp(options->language, "auto") != 0 && !cm_language_is_code(options->language)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--language %s: expected auto or a code such as en, zh or pt-br",
                            options->language);
    }
    for (size_t i = 0; i < options->maps_count; i++) {
        const char *equals = strchr(options->maps[i], '=');
        if (equals == NULL || equals == options->maps[i] || equals[1] == '\0') {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "--map %s: expected FIELD=COLUMN, such as title=Name",
                                options->maps[i]);
        }
    }
    return CM_OK;
}

static enum cm_status check_questions(const struct cm_run_options *options, struct cm_error *error)
{
    bool answers = strcmp(options->scenario, "answer") == 0;
    if (answers && options->questions_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--questions is missing: --scenario answer expects --questions FILE, "
                            "with question_id, item_id and question");
    }
    if (!answers && options->questions_path != NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--questions is for --scenario answer: leave it out, or choose that "
                            "scenario instead of %s",
                            options->scenario);
    }
    if (answers && is_dash(options->questions_path)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--questions -: expected a file; only --catalog reads standard input");
    }
    return CM_OK;
}

/* Beam search is deterministic unless a temperature is asked for, and --max-length alone is the
 * only limit: as in Hugging Face's generate(). */
static void settle_defaults(struct cm_run_options *options)
{
    struct cm_sampling *sampling = &options->sampling;
    if (sampling->temperature == TEMPERATURE_NOT_GIVEN) {
        sampling->temperature = sampling->beams > 1 ? 0.0F : default_temperature;
    }
    if (options->max_tokens == 0) {
        options->max_tokens = options->max_length > 0 ? options->max_length : DEFAULT_MAX_TOKENS;
    }
}

static enum cm_status check_decoding(const struct cm_run_options *options, struct cm_error *error)
{
    if (options->batch > 0 && options->batch < options->sampling.beams) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--batch %u holds no search over --beams %u: expected at least %u",
                            options->batch, options->sampling.beams, options->sampling.beams);
    }
    return CM_OK;
}

enum cm_status cm_run_options_check(struct cm_run_options *options, struct cm_error *error)
{
    settle_defaults(options);
    if (options->catalog_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--catalog is missing: expected --catalog FILE, the products");
    }
    if (options->out_path == NULL && !options->dry_run) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--out is missing: expected --out FILE, where the copy goes");
    }
    if (options->segments_path != NULL && is_dash(options->segments_path)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--segments -: expected a file; only --catalog reads standard input");
    }
    enum cm_status status = check_questions(options, error);
    if (status == CM_OK && options->out_path != NULL) {
        status = check_output(options, error);
    }
    if (status == CM_OK) {
        status = check_paths_differ(options, error);
    }
    if (status == CM_OK) {
        status = check_decoding(options, error);
    }
    return status == CM_OK ? check_texts(options, error) : status;
}
