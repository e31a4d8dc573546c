/* Command-line options as tables: a row says what an option is called, what it takes, what it means
 * and where it goes. Parsing, range checks, messages and --help all come from the row. */
#ifndef CM_JOBS_CLI_H
#define CM_JOBS_CLI_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The C type of the field that an option sets. */
enum cm_option_type {
    CM_OPTION_FLAG,    /* bool; takes no argument */
    CM_OPTION_STRING,  /* const char *, borrowed; not empty */
    CM_OPTION_STRINGS, /* const char *[], with its size_t count at `count_offset`; may be repeated
                        */
    CM_OPTION_CHOICE,  /* enum (int), one of `choices` in the enum's order */
    CM_OPTION_U32,
    CM_OPTION_U64,
    CM_OPTION_FLOAT,
    CM_OPTION_DOUBLE,
};

struct cm_option {
    const char *name;     /* without "--"; NULL: a heading, its text in `help` */
    const char *argument; /* "FILE"; NULL for a flag */
    const char *help;     /* NULL: not shown in --help */
    enum cm_option_type type;
    size_t offset; /* of the field in the target */

    double minimum; /* numbers: the range, both ends in it ... */
    double maximum;
    bool above_minimum; /* ... or the lower end out of it */

    const char *const *choices; /* ends with NULL */
    size_t count_offset;        /* CM_OPTION_STRINGS ... */
    size_t count_max;
};

/* Parses argv[1...] into `target`: long options with "=" or a space, in any order, the last of a
 * repeated one counts. CM_END: --help was asked for. CM_INVALID_ARGUMENT: the message names the
 * option, its value and what would be right. */
enum cm_status cm_cli_parse(const struct cm_option *options, size_t options_count, void *target,
                            int argc, char **argv, struct cm_error *error) CM_MUST_CHECK;

/* The option part of a help text. */
void cm_cli_print_options(FILE *stream, const struct cm_option *options, size_t options_count);

/* Appends a command line as a shell would read it: "copymill run --out 'my copy.csv'". */
enum cm_status cm_cli_append_command(struct cm_text *text, int argc, char **argv) CM_MUST_CHECK;

/* The candidate closest to a mistyped word, or NULL where none is close. */
const char *cm_cli_closest(const char *word, const char *const *candidates, size_t count);

#endif
