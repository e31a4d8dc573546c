/* `copymill prepare --catalog` and `--texts`: from a raw catalog or raw marketing texts to one that
 * is clean, labelled and without duplicates. Every item that was read is kept, merged into another
 * or dropped, with its reason. */
#ifndef CM_JOBS_PREPARE_CLEAN_CATALOG_H
#define CM_JOBS_PREPARE_CLEAN_CATALOG_H

#include "jobs/prepare/prepare_options.h"

/* Writes the catalog and, where asked for, the report; says the sums on stderr. CM_NOT_FOUND also
 * where no item was kept; then nothing is written. */
enum cm_status cm_prepare_catalog(const struct cm_prepare_options *options,
                                  struct cm_error *error) CM_MUST_CHECK;

#endif
