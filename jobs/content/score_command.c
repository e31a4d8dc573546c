#include "jobs/content/score_command.h"

#include "base/log.h"
#include "jobs/content/score_file.h"
#include "jobs/output_file.h"

#include <stdio.h>
#include <string.h>

static void print_help(bool comply)
{
    if (comply) {
        printf("Usage: copymill comply FILE [--catalog FILE] [options]\n\n"
               "Looks through any file of copy for what is forbidden or private: claims that the\n"
               "Advertising Law or fair trading does not allow, offensive words, personal data,\n"
               "traces of prompts, what the channel bans. FILE needs a column text.\n");
    } else {
        printf("Usage: copymill score FILE [--catalog FILE] [options]\n\n"
               "Judges any file of copy by the rules that `run` uses. FILE is CSV or JSONL with a\n"
               "column text; item_id, segment_id, language, channel, fields and finish_reason are\n"
               "used where they are there. Without --catalog facts are not checked. A description\n"
               "that equals the text under judgement is not counted as a fact.\n");
    }
    cm_cli_print_options(stdout, CM_SCORE_OPTIONS, CM_SCORE_OPTIONS_COUNT);
    printf("\nExit status: 0 judged, 1 failed, 2 wrong usage or unreadable input%s.\n",
           comply ? ", 3 a row has a\nfinding of high severity" : "");
}

enum cm_exit cm_score_command(int argc, char **argv)
{
    struct cm_score_options options;
    struct cm_error error = { 0 };
    bool grave = false;
    bool comply = strcmp(argv[0], "comply") == 0;
    enum cm_status status = cm_score_options_parse(&options, argc, argv, &error);
    if (status == CM_END) {
        print_help(comply);
        return CM_EXIT_OK;
    }
    if (status == CM_OK && options.out_path != NULL) {
        struct cm_output_rules rules = { .path = options.out_path, .overwrite = options.overwrite };
        status = cm_output_check(&rules, &error);
    }
    if (status == CM_OK) {
        status = cm_score_file(&options, &grave, &error);
    }
    if (status == CM_OK) {
        return comply && grave ? CM_EXIT_PARTIAL : CM_EXIT_OK;
    }
    cm_log(CM_LOG_ERROR, "%s", error.message);
    return status == CM_OUT_OF_MEMORY || status == CM_IO ? CM_EXIT_FAILED : CM_EXIT_USAGE;
}
