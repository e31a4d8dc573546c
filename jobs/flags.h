/* The short form of a row's flags, as in copy.csv: "name: detail; name: detail". */
#ifndef CM_JOBS_FLAGS_H
#define CM_JOBS_FLAGS_H

#include "base/text.h"

#include <stdbool.h>

struct cm_flag {
    struct cm_span name;   /* letters, digits and "-" */
    struct cm_span detail; /* may be empty */
};

/* Takes the next flag off the start of `*flags`; false at the end. What follows a separator but has
 * no name belongs to the detail before it, so a detail may hold "; ". */
bool cm_flag_next(const char **flags, struct cm_flag *flag);

#endif
