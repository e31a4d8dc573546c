/* One dimension of segments: a column of a customer table cut into a few bands, such as ages 25-34
 * or the third that spends most. */
#ifndef CM_JOBS_PREPARE_BANDS_H
#define CM_JOBS_PREPARE_BANDS_H

#include "base/status.h"
#include "base/text.h"
#include "jobs/prepare/customers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every band is a bit of a mask. */
enum { CM_BANDS_MAX = CM_CUSTOMER_VALUES_MAX };

struct cm_bands {
    const struct cm_customer_column *column;
    const char *name; /* of the segment file's column: "age_range" */
    size_t count;
    bool is_ordered;            /* neighbours in the list are neighbours in fact */
    float uppers[CM_BANDS_MAX]; /* numbers: a band ends before this; the last at infinity */
    char name_bytes[128];
};

/* Cuts the column as its role asks: ages at the usual limits, other numbers into thirds of the
 * customers, choices into their values. CM_UNSUPPORTED (no message): one band only, or none.
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_bands_cut(const struct cm_customers *customers, size_t column,
                            struct cm_bands *bands) CM_MUST_CHECK;

/* The band of a row, or -1: the row does not tell. */
int cm_bands_of_row(const struct cm_bands *bands, size_t row);

/* What a set of bands is called: "25-44", "high", "DSL or none"; nothing where all are in it. */
enum cm_status cm_bands_append_name(const struct cm_bands *bands, uint32_t mask, bool chinese,
                                    struct cm_text *text) CM_MUST_CHECK;

/* Where the limits are, for the report: "low under 34.8, high from 61". */
enum cm_status cm_bands_describe(const struct cm_bands *bands, struct cm_text *text) CM_MUST_CHECK;

#endif
