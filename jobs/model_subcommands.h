/* The subcommands of `copymill model`, which model_command.c calls, and what they share. */
#ifndef CM_JOBS_MODEL_SUBCOMMANDS_H
#define CM_JOBS_MODEL_SUBCOMMANDS_H

#include "base/status.h"
#include "jobs/run_options.h"

/* `argv[0]` is the subcommand's name. */
enum cm_exit cm_model_list_command(int argc, char **argv);
enum cm_exit cm_model_fetch_command(int argc, char **argv);
enum cm_exit cm_model_info_command(int argc, char **argv);
enum cm_exit cm_model_tokenize_command(int argc, char **argv);
enum cm_exit cm_model_check_command(int argc, char **argv);
enum cm_exit cm_model_embed_command(int argc, char **argv);

/* Prints `help` to stdout. */
enum cm_exit cm_model_help(const char *help);

/* For an option that getopt has refused (`message` NULL) or what `message` says. */
enum cm_exit cm_model_wrong_usage(const char *command, const char *message);

/* Logs the error; wrong usage and unreadable input give CM_EXIT_USAGE, the rest CM_EXIT_FAILED. */
enum cm_exit cm_model_failed(const struct cm_error *error);

#endif
