#include "jobs/prepare/import_command.h"

#include "base/log.h"
#include "jobs/cli.h"
#include "jobs/output_file.h"
#include "jobs/prepare/import_data.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct options {
    const char *out_path;
    const char *pairs_path;
    bool overwrite;
    uint64_t limit;
};

#define FIELD(name) offsetof(struct options, name)

static const struct cm_option OPTIONS[] = {
    { "out", "DIR|FILE", "a folder for catalog.csv and pairs.jsonl, or a .csv or .jsonl catalog",
      CM_OPTION_STRING, .offset = FIELD(out_path) },
    { "pairs", "FILE", "pairs of facts and copy as JSON lines (in the folder, else none)",
      CM_OPTION_STRING, .offset = FIELD(pairs_path) },
    { "limit", "N", "only the first N records", CM_OPTION_U64, .offset = FIELD(limit), .minimum = 1,
      .maximum = 1e12 },
    { "overwrite", NULL, "replace files that are there", CM_OPTION_FLAG,
      .offset = FIELD(overwrite) },
};
enum { OPTIONS_COUNT = sizeof OPTIONS / sizeof OPTIONS[0] };

static void print_help(void)
{
    printf("Usage: copymill import amazon|taobao|advertisegen|e2e FILE --out DIR|FILE [options]\n\n"
           "Turns a public data set into a catalog that `run` reads and pairs of facts and copy\n"
           "for fine-tuning:\n\n"
           "  amazon        Amazon Reviews metadata, JSON lines\n"
           "  taobao        a table with title, aspect, user_category and description, or the\n"
           "                .src file of KOBE with its .tgt and .cond beside it\n"
           "  advertisegen  JSON lines with content and summary\n"
           "  e2e           CSV with mr and ref\n\n");
    cm_cli_print_options(stdout, OPTIONS, OPTIONS_COUNT);
}

static bool find_kind(const char *name, enum cm_data_set_kind *kind)
{
    for (int i = 0; i < CM_DATA_SET_KIND_COUNT; i++) {
        *kind = (enum cm_data_set_kind)i;
        if (strcmp(name, cm_data_set_name(*kind)) == 0) {
            return true;
        }
    }
    return false;
}

/* A folder that is there, or a name that ends like one. */
static bool is_folder(const char *path)
{
    struct stat info;
    size_t length = strlen(path);
    return (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) ||
           (length > 0 && path[length - 1] == '/');
}

struct paths {
    char catalog[PATH_MAX];
    char pairs[PATH_MAX]; /* "": none */
};

static enum cm_status name_files(const struct options *options, struct paths *paths,
                                 struct cm_error *error)
{
    const char *out = options->out_path;
    const char *pairs = options->pairs_path != NULL ? options->pairs_path : "";
    int catalog_length = 0;
    int pairs_length = snprintf(paths->pairs, PATH_MAX, "%s", pairs);
    if (is_folder(out)) {
        const char *slash = out[strlen(out) - 1] == '/' ? "" : "/";
        mkdir(out, 0777); /* where it cannot be made, writing says so */
        catalog_length = snprintf(paths->catalog, PATH_MAX, "%s%scatalog.csv", out, slash);
        if (pairs[0] == '\0') {
            pairs_length = snprintf(paths->pairs, PATH_MAX, "%s%spairs.jsonl", out, slash);
        }
    } else {
        catalog_length = snprintf(paths->catalog, PATH_MAX, "%s", out);
    }
    return catalog_length < PATH_MAX && pairs_length < PATH_MAX
               ? CM_OK
               : cm_error_set(error, CM_LIMIT, "--out %s: the path is too long", out);
}

static enum cm_status check_files(const struct options *options, const char *input,
                                  const struct paths *paths, struct cm_error *error)
{
    struct cm_output_rules catalog = { .path = paths->catalog, .overwrite = options->overwrite };
    struct cm_output_rules pairs = { .path = paths->pairs,
                                     .option = "--pairs",
                                     .overwrite = options->overwrite };
    if (strcmp(paths->catalog, input) == 0 || strcmp(paths->pairs, input) == 0 ||
        strcmp(paths->catalog, paths->pairs) == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "the input, --out and --pairs must be three files");
    }
    enum cm_status status = cm_output_check(&catalog, error);
    return status == CM_OK && paths->pairs[0] != '\0' ? cm_output_check(&pairs, error) : status;
}

static enum cm_status import(const struct options *options, const char *kind_name,
                             const char *input, struct cm_error *error)
{
    struct cm_import_options import = { .input_path = input, .limit = options->limit };
    struct cm_import_counts counts;
    struct paths paths;
    if (!find_kind(kind_name, &import.kind)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "import %.40s: expected amazon, taobao, advertisegen or e2e",
                            kind_name);
    }
    if (options->out_path == NULL) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "--out DIR|FILE is missing");
    }
    enum cm_status status = name_files(options, &paths, error);
    if (status == CM_OK) {
        status = check_files(options, input, &paths, error);
    }
    import.catalog_path = paths.catalog;
    import.pairs_path = paths.pairs[0] != '\0' ? paths.pairs : NULL;
    if (status == CM_OK) {
        status = cm_import_data(&import, &counts, error);
    }
    if (status == CM_OK) {
        cm_log(CM_LOG_INFO,
               "%" PRIu64 " records: %" PRIu64 " items in %s, %" PRIu64 " pairs%s%s, %" PRIu64
               " damaged",
               counts.records, counts.items, paths.catalog, counts.pairs,
               paths.pairs[0] != '\0' ? " in " : "", paths.pairs, counts.damaged);
    }
    return status;
}

enum cm_exit cm_import_command(int argc, char **argv)
{
    struct options options = { .out_path = NULL };
    struct cm_error error = { 0 };
    /* The two words come first; what follows are options. */
    bool has_words = argc >= 3 && argv[1][0] != '-' && (argv[2][0] != '-' || argv[2][1] == '\0');
    int used = has_words ? 2 : 0;
    enum cm_status status = CM_OK;
    if (has_words || (argc >= 2 && argv[1][0] == '-')) {
        status = cm_cli_parse(OPTIONS, OPTIONS_COUNT, &options, argc - used, argv + used, &error);
    }
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK && !has_words) {
        status = cm_error_set(&error, CM_INVALID_ARGUMENT,
                              "import: expected the name of a data set and a file before the "
                              "options; --help lists them");
    }
    if (status == CM_OK) {
        status = import(&options, argv[1], argv[2], &error);
    }
    if (status == CM_OK) {
        return CM_EXIT_OK;
    }
    cm_log(CM_LOG_ERROR, "%s", error.message);
    return status == CM_OUT_OF_MEMORY || status == CM_IO ? CM_EXIT_FAILED : CM_EXIT_USAGE;
}
