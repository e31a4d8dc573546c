/* A public data set into a catalog that `run` reads and pairs of facts and copy for fine-tuning, in
 * the form that `export --format pairs` writes. */
#ifndef CM_JOBS_PREPARE_IMPORT_DATA_H
#define CM_JOBS_PREPARE_IMPORT_DATA_H

#include "base/status.h"
#include "loaders/data_sets.h"

#include <stdbool.h>
#include <stdint.h>

struct cm_import_options {
    enum cm_data_set_kind kind;
    const char *input_path;
    const char *catalog_path; /* NULL: none */
    const char *pairs_path;   /* NULL: none */
    uint64_t limit;           /* records; 0: all */
};

struct cm_import_counts {
    uint64_t records;
    uint64_t items; /* different ones */
    uint64_t pairs;
    uint64_t damaged;
};

enum cm_status cm_import_data(const struct cm_import_options *options,
                              struct cm_import_counts *counts,
                              struct cm_error *error) CM_MUST_CHECK;

#endif
