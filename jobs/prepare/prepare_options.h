/* What `copymill prepare` was asked for. */
#ifndef CM_JOBS_PREPARE_PREPARE_OPTIONS_H
#define CM_JOBS_PREPARE_PREPARE_OPTIONS_H

#include "jobs/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_PREPARE_MAPS_MAX = 64, CM_PREPARE_ALLOWED_MAX = 16 };

/* In the order of the words on the command line. */
enum cm_pii_policy { CM_PII_MASK, CM_PII_REFUSE };

struct cm_prepare_options {
    const char *catalog_path; /* one of the three */
    const char *texts_path;
    const char *customers_path;
    const char *out_path;
    const char *report_path; /* NULL: none */
    bool overwrite;
    bool excel;
    enum cm_pii_policy pii;

    const char *maps[CM_PREPARE_MAPS_MAX]; /* catalogs */
    size_t maps_count;
    const char *taxonomy_path; /* NULL: none */
    double similarity;

    const char *language; /* segments; NULL: as the column names are */
    const char *by;       /* columns to group by, NULL: chosen */
    uint32_t min_size;
    uint32_t max_segments;
    const char *allowed[CM_PREPARE_ALLOWED_MAX]; /* columns with protected traits */
    size_t allowed_count;
};

extern const struct cm_option CM_PREPARE_OPTIONS[];
extern const size_t CM_PREPARE_OPTIONS_COUNT;

void cm_prepare_options_init(struct cm_prepare_options *options);

/* CM_INVALID_ARGUMENT: names the option and what would be right. */
enum cm_status cm_prepare_options_check(const struct cm_prepare_options *options,
                                        struct cm_error *error) CM_MUST_CHECK;

#endif
