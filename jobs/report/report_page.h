/* A job as one HTML file that needs nothing else: what came out, how good it is, how it went, and
 * how to do it again. */
#ifndef CM_JOBS_REPORT_REPORT_PAGE_H
#define CM_JOBS_REPORT_REPORT_PAGE_H

#include "jobs/ledger.h"

struct cm_report_options {
    const char *name;   /* of the job, for its title */
    const char *path;   /* of the file; "-": standard output */
    bool remember;      /* the ledger, open for writing, knows the file as its own from now on */
    double hourly_cost; /* of the machine, in any currency; 0: not known */
};

/* Gathers and writes. The file appears whole or not at all. Errors of the ledger, CM_IO,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_report_write(struct cm_ledger *ledger, const struct cm_report_options *options,
                               struct cm_error *error) CM_MUST_CHECK;

#endif
