/* Runs another program to its end: no shell, arguments passed as they are, found through $PATH. */
#ifndef CM_JOBS_CHILD_PROCESS_H
#define CM_JOBS_CHILD_PROCESS_H

#include "base/status.h"

enum cm_child_output {
    CM_CHILD_SHOWN,  /* what the program prints goes to stderr */
    CM_CHILD_SILENT, /* it is thrown away */
};

/* `folder` becomes the program's working folder (NULL: ours). `exit_code` is what the program
 * returned, or 128 and the signal that ended it. CM_NOT_FOUND where there is no such program. */
enum cm_status cm_child_run(const char *const *arguments, const char *folder,
                            enum cm_child_output output, int *exit_code,
                            struct cm_error *error) CM_MUST_CHECK;

#endif
