/* A folder of one's own for files that are gone at the end. */
#ifndef CM_JOBS_TEMPORARY_FOLDER_H
#define CM_JOBS_TEMPORARY_FOLDER_H

#include "base/status.h"

enum { CM_TEMPORARY_PATH_BYTES = 512 };

/* Makes it under $TMPDIR or /tmp; `purpose` is part of its name. CM_IO. */
enum cm_status cm_temporary_folder_make(const char *purpose, char path[CM_TEMPORARY_PATH_BYTES],
                                        struct cm_error *error) CM_MUST_CHECK;

/* Removes it with its files; it holds no folders. A warning where that fails. */
void cm_temporary_folder_remove(const char *path);

#endif
