/* Options of the commands `score` and `comply`. */
#ifndef CM_JOBS_CONTENT_SCORE_OPTIONS_H
#define CM_JOBS_CONTENT_SCORE_OPTIONS_H

#include "jobs/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_SCORE_MAPS_MAX = 64, CM_SCORE_LEXICONS_MAX = 16 };

struct cm_score_options {
    bool comply;           /* the command: only what is forbidden */
    const char *copy_path; /* the argument */
    const char *catalog_path;
    const char *segments_path;
    const char *questions_path;
    const char *out_path;
    const char *channel;
    const char *language; /* "auto": the row's column, else the segment's, else none */
    const char *lexicons[CM_SCORE_LEXICONS_MAX];
    size_t lexicons_count;
    const char *maps[CM_SCORE_MAPS_MAX];
    size_t maps_count;
    const char *embedder; /* NULL: none */
    double near_duplicate;
    double min_score;
    uint32_t worst;
    bool evidence;
    bool overwrite;
    bool excel;
};

extern const struct cm_option CM_SCORE_OPTIONS[];
extern const size_t CM_SCORE_OPTIONS_COUNT;

/* Reads argv, in which one argument is the copy file. CM_END: --help. CM_INVALID_ARGUMENT. */
enum cm_status cm_score_options_parse(struct cm_score_options *options, int argc, char **argv,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
