#include "jobs/prepare/prepare_options.h"

#include "jobs/language.h"

#include <string.h>
#include <sys/stat.h>

static const char *const PII_POLICIES[] = { "mask", "refuse", NULL };

#define FIELD(name) offsetof(struct cm_prepare_options, name)

/* Defaults in parentheses are those of cm_prepare_options_init. */
const struct cm_option CM_PREPARE_OPTIONS[] = {
    { .help = "Input and output" },
    { "catalog", "FILE", "products to clean: CSV, TSV, JSON or JSONL; - reads standard input",
      CM_OPTION_STRING, .offset = FIELD(catalog_path) },
    { "texts", "FILE", "raw marketing texts to clean, one a line", CM_OPTION_STRING,
      .offset = FIELD(texts_path) },
    { "segments-from", "FILE", "customers, a row each: CSV or JSON; segments come out",
      CM_OPTION_STRING, .offset = FIELD(customers_path) },
    { "out", "FILE", "the result: a .csv or .jsonl file, or - for CSV on standard output",
      CM_OPTION_STRING, .offset = FIELD(out_path) },
    { "report", "FILE", "what was used, changed and left out, and why: .csv or .jsonl",
      CM_OPTION_STRING, .offset = FIELD(report_path) },
    { "overwrite", NULL, "replace files that are there", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
    { "excel", NULL, "CSV for spreadsheets: byte order mark, CRLF, no cell that executes",
      CM_OPTION_FLAG, .offset = FIELD(excel) },
    { "pii", "POLICY", "e-mail addresses, phone, card and identity numbers: mask or refuse (mask)",
      CM_OPTION_CHOICE, .offset = FIELD(pii), .choices = PII_POLICIES },

    { .help = "Catalogs" },
    { "map", "FIELD=COLUMN", "read a field of the catalog from this column; may be repeated",
      CM_OPTION_STRINGS, .offset = FIELD(maps), .count_offset = FIELD(maps_count),
      .count_max = CM_PREPARE_MAPS_MAX },
    { "taxonomy", "FILE", "categories to sort items into: columns category and keywords",
      CM_OPTION_STRING, .offset = FIELD(taxonomy_path) },
    { "similarity", "X", "share of common wording from which texts are near duplicates (0.8)",
      CM_OPTION_DOUBLE, .offset = FIELD(similarity), .minimum = 0.3, .maximum = 1 },

    { .help = "Segments" },
    { "language", "CODE", "language of the segments: en or zh (that of the column names)",
      CM_OPTION_STRING, .offset = FIELD(language) },
    { "by", "COLUMN,...", "up to three columns to group by (age, then spending or the like)",
      CM_OPTION_STRING, .offset = FIELD(by) },
    { "min-size", "N", "fewest customers of a segment; smaller ones are joined (10)", CM_OPTION_U32,
      .offset = FIELD(min_size), .minimum = 5, .maximum = 1e9 },
    { "max-segments", "N", "most segments; the smallest are joined (12)", CM_OPTION_U32,
      .offset = FIELD(max_segments), .minimum = 1, .maximum = 1000 },
    { "allow", "COLUMN", "use a column with a protected trait (health, religion, ...)",
      CM_OPTION_STRINGS, .offset = FIELD(allowed), .count_offset = FIELD(allowed_count),
      .count_max = CM_PREPARE_ALLOWED_MAX },
};
const size_t CM_PREPARE_OPTIONS_COUNT = sizeof CM_PREPARE_OPTIONS / sizeof CM_PREPARE_OPTIONS[0];

void cm_prepare_options_init(struct cm_prepare_options *options)
{
    *options = (struct cm_prepare_options){
        .similarity = 0.8,
        .min_size = 10,
        .max_segments = 12,
    };
}

/* Whether two paths are one file that exists. */
static bool is_same_file(const char *a, const char *b)
{
    struct stat first;
    struct stat second;
    return a != NULL && b != NULL && stat(a, &first) == 0 && stat(b, &second) == 0 &&
           first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

enum cm_status cm_prepare_options_check(const struct cm_prepare_options *options,
                                        struct cm_error *error)
{
    const char *const inputs[] = { options->catalog_path, options->texts_path,
                                   options->customers_path };
    const char *input = NULL;
    size_t inputs_count = 0;
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        input = inputs[i] != NULL ? inputs[i] : input;
        inputs_count += inputs[i] != NULL;
    }
    if (inputs_count != 1) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "one of --catalog FILE, --texts FILE and --segments-from FILE is "
                            "needed");
    }
    bool is_catalog = options->customers_path == NULL;
    if (options->texts_path != NULL && options->maps_count > 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--map belongs to --catalog: texts have no "
                            "columns");
    }
    if (options->out_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "--out FILE is missing");
    }
    if (is_same_file(input, options->out_path) || is_same_file(input, options->report_path)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%s is the input; name another file to write to", input);
    }
    bool others = options->taxonomy_path != NULL || options->maps_count > 0;
    if (!is_catalog && others) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--taxonomy and --map belong to --catalog, not to --segments-from");
    }
    if (is_catalog && (options->by != NULL || options->language != NULL)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--by and --language belong to --segments-from, not to --catalog");
    }
    bool same = options->report_path != NULL && strcmp(options->report_path, "-") != 0 &&
                (strcmp(options->report_path, options->out_path) == 0 ||
                 is_same_file(options->report_path, options->out_path));
    if (same) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "--report and --out name the same file");
    }
    if (options->language != NULL && !cm_language_is_code(options->language)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--language %.20s: expected a code such as en or zh",
                            options->language);
    }
    return CM_OK;
}
