#include "jobs/run_command.h"

#include "base/log.h"
#include "jobs/run.h"

#include <stdio.h>

static void print_help(void)
{
    printf("Usage: copymill run --catalog FILE --out FILE [--segments FILE] [options]\n\n"
           "Writes copy for every product and every customer segment. The same command again\n"
           "resumes an interrupted job.\n");
    cm_cli_print_options(stdout, CM_RUN_OPTIONS, CM_RUN_OPTIONS_COUNT);
    printf(
        "\nExit status: 0 every row ok or flagged, 1 nothing usable, 2 wrong usage or unreadable\n"
        "input, 3 some rows failed, 4 interrupted and can be resumed.\n");
}

enum { COMMAND_BYTES_MAX = 1 << 16 };

enum cm_exit cm_run_command(int argc, char **argv)
{
    struct cm_text command = CM_TEXT_INIT(COMMAND_BYTES_MAX);
    struct cm_run_options options;
    struct cm_error error;
    cm_run_options_init(&options);
    enum cm_status status =
        cm_cli_parse(CM_RUN_OPTIONS, CM_RUN_OPTIONS_COUNT, &options, argc, argv, &error);
    if (status == CM_END) {
        print_help();
        return CM_EXIT_OK;
    }
    if (status == CM_OK) {
        status = cm_run_options_check(&options, &error);
    }
    if (status != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
        return CM_EXIT_USAGE;
    }
    /* getopt keeps the order of the words, and a longer command is only cut short. */
    if (cm_cli_append_command(&command, argc, argv) == CM_OK) {
        options.command = cm_text_string(&command);
    }
    enum cm_exit exit_status = cm_run(&options, NULL);
    cm_text_deinit(&command);
    return exit_status;
}
