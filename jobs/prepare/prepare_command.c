#include "jobs/prepare/prepare_command.h"

#include "base/log.h"
#include "jobs/output_file.h"
#include "jobs/prepare/clean_catalog.h"
#include "jobs/prepare/prepare_options.h"
#include "jobs/prepare/segments_from.h"

#include <stdio.h>

static void print_help(void)
{
    printf("Usage: copymill prepare --catalog FILE --out FILE [options]\n"
           "       copymill prepare --texts FILE --out FILE [options]\n"
           "       copymill prepare --segments-from FILE --out FILE [options]\n\n"
           "Cleans and labels a catalog for `run`: HTML to text, duplicates merged, language,\n"
           "category and measures in one form, identifiers of persons masked. Or makes segments\n"
           "from a table of customers: groups of age, spending and the like, never persons.\n");
    cm_cli_print_options(stdout, CM_PREPARE_OPTIONS, CM_PREPARE_OPTIONS_COUNT);
}

static enum cm_status check_output(const char *option, const char *path, bool overwrite,
                                   struct cm_error *error)
{
    struct cm_output_rules rules = { .path = path, .option = option, .overwrite = overwrite };
    return path == NULL ? CM_OK : cm_output_check(&rules, error);
}

enum cm_exit cm_prepare_command(int argc, char **argv)
{
    struct cm_prepare_options options;
    struct cm_error error = { 0 };
    cm_prepare_options_init(&options);
    enum cm_status status =
        cm_cli_parse(CM_PREPARE_OPTIONS, CM_PREPARE_OPTIONS_COUNT, &options, argc, argv, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK) {
        status = cm_prepare_options_check(&options, &error);
    }
    if (status == CM_OK) {
        status = check_output("--out", options.out_path, options.overwrite, &error);
    }
    if (status == CM_OK) {
        status = check_output("--report", options.report_path, options.overwrite, &error);
    }
    if (status == CM_OK) {
        status = options.customers_path == NULL ? cm_prepare_catalog(&options, &error)
                                                : cm_prepare_segments(&options, &error);
    }
    if (status == CM_OK) {
        return CM_EXIT_OK;
    }
    cm_log(CM_LOG_ERROR, "%s", error.message);
    return status == CM_OUT_OF_MEMORY || status == CM_IO ? CM_EXIT_FAILED : CM_EXIT_USAGE;
}
