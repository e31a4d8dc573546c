/* A table of customers, read whole: what each column is about and, for columns that segments may be
 * made of, the value of every row. Columns that name persons are noticed and never stored.
 */
#ifndef CM_JOBS_PREPARE_CUSTOMERS_H
#define CM_JOBS_PREPARE_CUSTOMERS_H

#include "base/status.h"
#include "jobs/prepare/prepare_options.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_CUSTOMER_COLUMNS_MAX = 256,
    CM_CUSTOMER_ROWS_MAX = 20000000,
    CM_CUSTOMER_VALUES_MAX = 32, /* different values of a column that is a choice */
    CM_CUSTOMER_NO_VALUE = 255,
};

enum cm_customer_role {
    CM_CUSTOMER_AGE,    /* years */
    CM_CUSTOMER_SENIOR, /* 0 or 1, no or yes */
    CM_CUSTOMER_SPENDING,
    CM_CUSTOMER_TENURE, /* for how long a customer */
    CM_CUSTOMER_INCOME,
    CM_CUSTOMER_GENDER,
    CM_CUSTOMER_OTHER,
    /* From here on never part of a segment. */
    CM_CUSTOMER_IDENTIFIER, /* tells rows apart: a customer number */
    CM_CUSTOMER_PERSONAL,   /* names, addresses, what loaders/personal_data.h finds */
    CM_CUSTOMER_PROTECTED,  /* health, religion, ethnicity ...; --allow COLUMN makes it OTHER */
    CM_CUSTOMER_OUTCOME,    /* what a model was to predict: churn */
    CM_CUSTOMER_ROLE_COUNT
};

struct cm_customer_column {
    char *name; /* as in the file */
    enum cm_customer_role role;
    bool is_choice;          /* at most CM_CUSTOMER_VALUES_MAX different values */
    bool is_number;          /* every value is one */
    uint64_t first_personal; /* line of the first identifier found in its values; 0: none */
    float *numbers;          /* [rows]; NaN: no number */
    uint8_t *codes;          /* [rows]; index in `values`, CM_CUSTOMER_NO_VALUE: empty */
    char *values[CM_CUSTOMER_VALUES_MAX];
    size_t values_count;
    size_t capacity_numbers; /* rows there is room for */
    size_t capacity_codes;
};

struct cm_customers {
    const char *path; /* borrowed */
    struct cm_customer_column *columns;
    size_t columns_count;
    size_t rows_count;
    uint64_t damaged_count; /* rows that could not be read whole; not in rows_count */
};

/* CM_INVALID_DATA where the file holds direct identifiers and `options->pii` refuses them, beside
 * the errors of cm_sheet_open. */
enum cm_status cm_customers_open(const struct cm_prepare_options *options,
                                 struct cm_customers *customers,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_customers_deinit(struct cm_customers *customers);

/* Why the column is left out, in plain words; NULL where it is not. */
const char *cm_customer_reason(const struct cm_customer_column *column);

#endif
