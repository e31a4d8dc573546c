#include "jobs/content/score_options.h"

#include <string.h>
#include <sys/stat.h>

#define FIELD(name) offsetof(struct cm_score_options, name)

const struct cm_option CM_SCORE_OPTIONS[] = {
    { .help = "Input and output" },
    { "catalog", "FILE", "the products: what a text may say", CM_OPTION_STRING,
      .offset = FIELD(catalog_path) },
    { "segments", "FILE", "the customer segments, by segment_id", CM_OPTION_STRING,
      .offset = FIELD(segments_path) },
    { "questions", "FILE", "questions and policies of answers, by question_id", CM_OPTION_STRING,
      .offset = FIELD(questions_path) },
    { "map", "FIELD=COLUMN", "read a field of the catalog from this column; may be repeated",
      CM_OPTION_STRINGS, .offset = FIELD(maps), .count_offset = FIELD(maps_count),
      .count_max = CM_SCORE_MAPS_MAX },
    { "out", "FILE", "the same rows with score and flags: .csv or .jsonl, - for standard output",
      CM_OPTION_STRING, .offset = FIELD(out_path) },
    { "evidence", NULL, "a column judgement with --out: scores, reasons and places in the text",
      CM_OPTION_FLAG, .offset = FIELD(evidence) },
    { "overwrite", NULL, "replace the output file where there is one", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "excel", NULL, "CSV for spreadsheets: byte order mark, CRLF, no cell that executes",
      CM_OPTION_FLAG, .offset = FIELD(excel) },

    { .help = "Rules" },
    { "channel", "NAME", "limits and bans of where the copy appears (the row's, else generic)",
      CM_OPTION_STRING, .offset = FIELD(channel) },
    { "language", "CODE", "language the texts should be in, or auto: the row's column (auto)",
      CM_OPTION_STRING, .offset = FIELD(language) },
    { "lexicon", "FILE", "more words that no text may hold; may be repeated", CM_OPTION_STRINGS,
      .offset = FIELD(lexicons), .count_offset = FIELD(lexicons_count),
      .count_max = CM_SCORE_LEXICONS_MAX },
    { "embedder", "DIR",
      "a BERT model: is a text close to its audience, does it repeat another's meaning",
      CM_OPTION_STRING, .offset = FIELD(embedder) },
    { "near-duplicate", "X", "similarity from which two texts are near duplicates (0.8)",
      CM_OPTION_DOUBLE, .offset = FIELD(near_duplicate), .minimum = 0.3, .maximum = 1 },
    { "min-score", "X", "score under which a row is flagged low-score (0.5)", CM_OPTION_DOUBLE,
      .offset = FIELD(min_score), .minimum = 0, .maximum = 1 },
    { "worst", "N", "how many of the worst rows are shown (10)", CM_OPTION_U32,
      .offset = FIELD(worst), .minimum = 0, .maximum = 1000 },
};
const size_t CM_SCORE_OPTIONS_COUNT = sizeof CM_SCORE_OPTIONS / sizeof CM_SCORE_OPTIONS[0];

static bool takes_argument(const char *name)
{
    for (size_t i = 0; i < CM_SCORE_OPTIONS_COUNT; i++) {
        const struct cm_option *option = &CM_SCORE_OPTIONS[i];
        if (option->name != NULL && strcmp(option->name, name) == 0) {
            return option->type != CM_OPTION_FLAG;
        }
    }
    return false;
}

/* Takes the first argument that belongs to no option out of argv; NULL: there is none. */
static const char *take_file(int *argc, char **argv)
{
    for (int i = 1; i < *argc; i++) {
        bool is_option = strncmp(argv[i], "--", 2) == 0;
        if (is_option && strchr(argv[i], '=') == NULL && takes_argument(argv[i] + 2)) {
            i++;
        } else if (!is_option) {
            const char *file = argv[i];
            memmove(&argv[i], &argv[i + 1], (size_t)(*argc - i - 1) * sizeof *argv);
            (*argc)--;
            return file;
        }
    }
    return NULL;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t length = strlen(text);
    size_t ending_length = strlen(ending);
    return length >= ending_length && strcmp(text + length - ending_length, ending) == 0;
}

static bool same_file(const char *a, const char *b)
{
    struct stat a_stat;
    struct stat b_stat;
    return strcmp(a, b) == 0 || (stat(a, &a_stat) == 0 && stat(b, &b_stat) == 0 &&
                                 a_stat.st_dev == b_stat.st_dev && a_stat.st_ino == b_stat.st_ino);
}

static enum cm_status check_out(const struct cm_score_options *options, struct cm_error *error)
{
    const char *out = options->out_path;
    const char *const inputs[] = { options->copy_path, options->catalog_path,
                                   options->segments_path, options->questions_path };
    if (out == NULL || strcmp(out, "-") == 0) {
        return CM_OK;
    }
    if (!ends_with(out, ".csv") && !ends_with(out, ".jsonl")) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--out %s: expected a name that ends in .csv or .jsonl, or -", out);
    }
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        if (inputs[i] != NULL && same_file(out, inputs[i])) {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "--out %s: an input: expected another name, so that it is not "
                                "overwritten",
                                out);
        }
    }
    return CM_OK;
}

enum cm_status cm_score_options_parse(struct cm_score_options *options, int argc, char **argv,
                                      struct cm_error *error)
{
    *options = (struct cm_score_options){ .language = "auto",
                                          .near_duplicate = 0.8,
                                          .min_score = 0.5,
                                          .worst = 10,
                                          .comply = strcmp(argv[0], "comply") == 0 };
    options->copy_path = take_file(&argc, argv);
    enum cm_status status =
        cm_cli_parse(CM_SCORE_OPTIONS, CM_SCORE_OPTIONS_COUNT, options, argc, argv, error);
    if (status != CM_OK) {
        return status;
    }
    if (options->copy_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "the copy file is missing: expected copymill %s FILE, a CSV or JSONL "
                            "file with a column text",
                            argv[0]);
    }
    return check_out(options, error);
}
