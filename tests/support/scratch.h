/* A folder of its own for a test's files, removed with all its content at the end. */
#ifndef CM_TESTS_SUPPORT_SCRATCH_H
#define CM_TESTS_SUPPORT_SCRATCH_H

#include <stddef.h>

enum { SCRATCH_PATH_BYTES = 512 };

void scratch_open(void);
void scratch_close(void);

/* "<folder>/name"; valid until the next call. The empty name is the folder itself. */
const char *scratch_path(const char *name);

/* Creates or replaces a file of that folder. */
void scratch_write(const char *name, const void *bytes, size_t length);
void scratch_remove(const char *name);

/* Copies a file from elsewhere into the folder; 0 where it is not there. */
int scratch_copy(const char *from, const char *name);

#endif
