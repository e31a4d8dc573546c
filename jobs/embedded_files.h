/* Files that are part of the binary, so that it runs from anywhere: put there by embed_files.cmake.
 */
#ifndef CM_JOBS_EMBEDDED_FILES_H
#define CM_JOBS_EMBEDDED_FILES_H

#include <stddef.h>

struct cm_embedded_file {
    const char *name;  /* with its ending, without folders */
    const char *bytes; /* a NUL behind them */
    size_t length;
};

#endif
