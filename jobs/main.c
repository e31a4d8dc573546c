#include "jobs/batch/batch_command.h"
#include "jobs/bench_command.h"
#include "jobs/cli.h"
#include "jobs/content/score_command.h"
#include "jobs/export/export_command.h"
#include "jobs/model_command.h"
#include "jobs/prepare/import_command.h"
#include "jobs/prepare/prepare_command.h"
#include "jobs/report/explain_command.h"
#include "jobs/report/report_command.h"
#include "jobs/review/review_command.h"
#include "jobs/run_command.h"
#include "jobs/run_options.h"
#include "jobs/selftest_command.h"
#include "jobs/version.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

/* argv[0] is the command's name. Commands that are not built yet are not here. */
struct command {
    const char *name;
    const char *summary;
    enum cm_exit (*run)(int argc, char **argv);
};

static enum cm_exit print_help(int argc, char **argv);
static enum cm_exit print_version(int argc, char **argv);

static const struct command COMMANDS[] = {
    { "run", "write the copy of a catalog", cm_run_command },
    { "import", "public data sets into catalogs and pairs", cm_import_command },
    { "prepare", "clean and label a catalog; customers into segments", cm_prepare_command },
    { "score", "judge any file of copy against its facts", cm_score_command },
    { "comply", "find what is forbidden or private in any file of copy", cm_score_command },
    { "review", "a page where people approve, reject and edit the copy", cm_review_command },
    { "export", "approved copy for a shop, a feed, a spreadsheet or fine-tuning",
      cm_export_command },
    { "report", "a job as one HTML file: quality, throughput, examples", cm_report_command },
    { "explain", "everything that led to one text", cm_explain_command },
    { "bench", "throughput against the limits of this machine", cm_bench_command },
    { "selftest", "first contact with a device: does it compute what it should",
      cm_selftest_command },
    { "batch", "answer an OpenAI Batch file", cm_batch_command },
    { "model", "models: fetch them, look into them", cm_model_command },
    { "help", "this overview; COMMAND --help tells more about each", print_help },
    { "version", "the program's version", print_version },
};
enum { COMMANDS_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

static enum cm_exit print_help(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("copymill writes product copy: every item of a catalog for every customer segment.\n\n"
           "Usage: copymill COMMAND [options]\n\n");
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        printf("  %-10s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    }
    return CM_EXIT_OK;
}

static enum cm_exit print_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("copymill %s\n", cm_version());
    return CM_EXIT_OK;
}

static enum cm_exit refuse(const char *name)
{
    const char *names[COMMANDS_COUNT];
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        names[i] = COMMANDS[i].name;
    }
    const char *closest = cm_cli_closest(name, names, COMMANDS_COUNT);
    if (closest != NULL) {
        cm_log(CM_LOG_ERROR, "unknown command \"%.60s\": did you mean \"%s\"?", name, closest);
    } else {
        cm_log(CM_LOG_ERROR, "unknown command \"%.60s\": \"copymill --help\" lists the commands",
               name);
    }
    return CM_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        cm_log(CM_LOG_ERROR, "a command is missing: \"copymill --help\" lists the commands");
        return CM_EXIT_USAGE;
    }
    const char *name = argv[1];
    name += strcmp(name, "--help") == 0 || strcmp(name, "--version") == 0 ? 2 : 0;
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            return (int)COMMANDS[i].run(argc - 1, argv + 1);
        }
    }
    return (int)refuse(name);
}
