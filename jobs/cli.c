#include "jobs/cli.h"

#include "base/memory.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUGGESTION_DISTANCE_MAX = 3, WORD_MAX = 64, HELP_COLUMN = 30 };

/* --- Suggestions --- */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance of two words of at most WORD_MAX bytes. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);
    if (a_length > WORD_MAX || b_length > WORD_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= b_length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = smaller(replaced, smaller(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_length];
}

const char *cm_cli_closest(const char *word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t best_distance = smaller(SUGGESTION_DISTANCE_MAX, (strlen(word) + 1) / 2) + 1;
    for (size_t i = 0; i < count; i++) {
        /* A name cut short is as likely meant as one with a wrong letter. */
        bool is_start = word[0] != '\0' && strncmp(candidates[i], word, strlen(word)) == 0;
        size_t distance = is_start ? 1 : edit_distance(word, candidates[i]);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

/* --- A command line as text --- */

static enum cm_status append_word(struct cm_text *text, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=:,@%+";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        return cm_text_append_string(text, word);
    }
    enum cm_status status = cm_text_append_char(text, '\'');
    for (const char *at = word; status == CM_OK && *at != '\0'; at++) {
        status =
            *at == '\'' ? cm_text_append_string(text, "'\\''") : cm_text_append_char(text, *at);
    }
    return status == CM_OK ? cm_text_append_char(text, '\'') : status;
}

enum cm_status cm_cli_append_command(struct cm_text *text, int argc, char **argv)
{
    enum cm_status status = cm_text_append_string(text, "copymill");
    for (int i = 0; status == CM_OK && i < argc; i++) {
        status = cm_text_append_char(text, ' ');
        if (status == CM_OK) {
            status = append_word(text, argv[i]);
        }
    }
    return status;
}

/* --- Values --- */

static enum cm_status refuse_number(const struct cm_option *option, const char *value,
                                    struct cm_error *error)
{
    bool whole = option->type == CM_OPTION_U32 || option->type == CM_OPTION_U64;
    const char *kind = whole ? "a whole number" : "a number";
    if (option->above_minimum) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--%s %s: expected %s above %.15g and at most %.15g", option->name,
                            value, kind, option->minimum, option->maximum);
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT, "--%s %s: expected %s from %.15g to %.15g",
                        option->name, value, kind, option->minimum, option->maximum);
}

static bool in_range(const struct cm_option *option, double number)
{
    bool above = option->above_minimum ? number > option->minimum : number >= option->minimum;
    return above && number <= option->maximum;
}

static enum cm_status take_whole_number(const struct cm_option *option, const char *value,
                                        void *field, struct cm_error *error)
{
    char *end = NULL;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    bool digits = value[strspn(value, "0123456789")] == '\0' && value[0] != '\0';
    if (!digits || errno != 0 || !in_range(option, (double)number)) {
        return refuse_number(option, value, error);
    }
    if (option->type == CM_OPTION_U32) {
        *(uint32_t *)field = (uint32_t)number;
    } else {
        *(uint64_t *)field = number;
    }
    return CM_OK;
}

static enum cm_status take_number(const struct cm_option *option, const char *value, void *field,
                                  struct cm_error *error)
{
    char *end = NULL;
    double number = strtod(value, &end);
    bool plain = value[strspn(value, "0123456789.eE+-")] == '\0' && value[0] != '\0';
    if (!plain || *end != '\0' || !isfinite(number) || !in_range(option, number)) {
        return refuse_number(option, value, error);
    }
    if (option->type == CM_OPTION_FLOAT) {
        *(float *)field = (float)number;
    } else {
        *(double *)field = number;
    }
    return CM_OK;
}

static enum cm_status take_choice(const struct cm_option *option, const char *value, void *field,
                                  struct cm_error *error)
{
    char known[256] = "";
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], value) == 0) {
            *(int *)field = (int)i;
            return CM_OK;
        }
        size_t length = strlen(known);
        snprintf(known + length, sizeof known - length, "%s%s", i > 0 ? ", " : "",
                 option->choices[i]);
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT, "--%s %s: expected one of: %s", option->name,
                        value, known);
}

static enum cm_status take_string(const struct cm_option *option, const char *value, char *target,
                                  struct cm_error *error)
{
    if (value[0] == '\0') {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "--%s: expected %s, found nothing",
                            option->name, option->argument);
    }
    const char **fields = (const char **)(void *)(target + option->offset);
    if (option->type == CM_OPTION_STRING) {
        *fields = value;
        return CM_OK;
    }
    size_t *count = (size_t *)(void *)(target + option->count_offset);
    if (*count == option->count_max) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "--%s: expected at most %zu of them",
                            option->name, option->count_max);
    }
    fields[(*count)++] = value;
    return CM_OK;
}

static enum cm_status take_value(const struct cm_option *option, const char *value, char *target,
                                 struct cm_error *error)
{
    void *field = target + option->offset;
    switch (option->type) {
    case CM_OPTION_FLAG:
        *(bool *)field = true;
        return CM_OK;
    case CM_OPTION_STRING:
    case CM_OPTION_STRINGS:
        return take_string(option, value, target, error);
    case CM_OPTION_CHOICE:
        return take_choice(option, value, field, error);
    case CM_OPTION_U32:
    case CM_OPTION_U64:
        return take_whole_number(option, value, field, error);
    case CM_OPTION_FLOAT:
    case CM_OPTION_DOUBLE:
        return take_number(option, value, field, error);
    }
    return CM_INTERNAL;
}

/* --- Parsing --- */

enum { ROW_HELP = 1, ROW_FIRST = 256 }; /* values that getopt_long returns */

/* getopt's view of the table; the rows are found again by `val`. */
static struct option *make_getopt_rows(const struct cm_option *options, size_t count)
{
    struct option *rows = cm_alloc(count + 2, sizeof *rows);
    size_t rows_count = 0;
    for (size_t i = 0; rows != NULL && i < count; i++) {
        if (options[i].name != NULL) {
            rows[rows_count++] = (struct option){
                .name = options[i].name,
                .has_arg = options[i].argument == NULL ? no_argument : required_argument,
                .val = ROW_FIRST + (int)i,
            };
        }
    }
    if (rows != NULL) {
        rows[rows_count] = (struct option){ .name = "help", .val = ROW_HELP };
    }
    return rows;
}

static enum cm_status refuse_unknown(const struct option *rows, const char *word,
                                     struct cm_error *error)
{
    const char *names[256];
    size_t count = 0;
    for (; count < sizeof names / sizeof names[0] && rows[count].name != NULL; count++) {
        names[count] = rows[count].name;
    }
    char name[WORD_MAX + 1] = "";
    size_t dashes = strspn(word, "-");
    size_t length = strcspn(word + dashes, "=");
    memcpy(name, word + dashes, smaller(length, WORD_MAX));
    const char *closest = cm_cli_closest(name, names, count);
    return cm_error_set(error, CM_INVALID_ARGUMENT, "unknown option %.*s%s%s%s",
                        (int)smaller(dashes + length, 100), word,
                        closest == NULL ? "" : ": did you mean --", closest == NULL ? "" : closest,
                        closest == NULL ? "; --help lists them" : "?");
}

/* getopt takes any start of a name that fits one option only. A script would then break, or mean
 * something else, with every new option. */
static bool is_whole_name(const char *name, const char *word)
{
    size_t length = strlen(name);
    return strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, length) == 0 &&
           (word[2 + length] == '\0' || word[2 + length] == '=');
}

/* `row` is what getopt_long returned for `word`. */
static enum cm_status take_row(const struct cm_option *options, const struct option *rows, int row,
                               const char *word, char *target, struct cm_error *error)
{
    bool is_known = row >= ROW_FIRST || row == ROW_HELP;
    int index = is_known ? row : optopt;
    const struct cm_option *option = index >= ROW_FIRST ? &options[index - ROW_FIRST] : NULL;
    const char *name = option != NULL ? option->name : index == ROW_HELP ? "help" : NULL;
    if (name == NULL || !is_whole_name(name, word)) {
        return refuse_unknown(rows, word, error);
    }
    if (!is_known) {
        bool takes_none = option == NULL || option->argument == NULL;
        return takes_none ? cm_error_set(error, CM_INVALID_ARGUMENT, "--%s takes no value", name)
                          : cm_error_set(error, CM_INVALID_ARGUMENT, "--%s: expected %s after it",
                                         name, option->argument);
    }
    return option == NULL ? CM_END : take_value(option, optarg, target, error);
}

enum cm_status cm_cli_parse(const struct cm_option *options, size_t options_count, void *target,
                            int argc, char **argv, struct cm_error *error)
{
    struct option *rows = make_getopt_rows(options, options_count);
    if (rows == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = CM_OK;
    optind = 0; /* GNU: start over, also after another command line */
    while (status == CM_OK) {
        /* "+": options come before all else, so the word that is read next is known. ":": getopt
         * says nothing itself and tells a missing argument apart. */
        const char *word = optind == 0 ? argv[1] : argv[optind];
        int row = getopt_long(argc, argv, "+:", rows, NULL);
        if (row == -1) {
            break;
        }
        status = take_row(options, rows, row, word, target, error);
    }
    if (status == CM_OK && optind < argc) {
        status = cm_error_set(error, CM_INVALID_ARGUMENT,
                              "unexpected \"%s\": every value belongs "
                              "to an option, such as --catalog FILE",
                              argv[optind]);
    }
    cm_free(rows);
    return status;
}

/* --- Help --- */

/* Prints `text` from HELP_COLUMN on, broken at spaces before column 100. */
static void print_wrapped(FILE *stream, const char *text)
{
    enum { WIDTH = 98 - HELP_COLUMN };
    while (strlen(text) > WIDTH) {
        size_t length = WIDTH;
        while (length > 0 && text[length] != ' ') {
            length--;
        }
        if (length == 0) {
            break;
        }
        fprintf(stream, "%.*s\n%*s", (int)length, text, HELP_COLUMN, "");
        text += length + 1;
    }
    fprintf(stream, "%s\n", text);
}

void cm_cli_print_options(FILE *stream, const struct cm_option *options, size_t options_count)
{
    for (size_t i = 0; i < options_count; i++) {
        const struct cm_option *option = &options[i];
        if (option->name == NULL) {
            fprintf(stream, "\n%s\n", option->help);
            continue;
        }
        if (option->help == NULL) {
            continue;
        }
        int width = fprintf(stream, "  --%s%s%s", option->name, option->argument == NULL ? "" : " ",
                            option->argument == NULL ? "" : option->argument);
        if (width >= HELP_COLUMN - 1) {
            fputc('\n', stream);
            width = 0;
        }
        fprintf(stream, "%*s", HELP_COLUMN - width, "");
        print_wrapped(stream, option->help);
    }
    fprintf(stream, "  %-*sshow this\n", HELP_COLUMN - 2, "--help");
}
