/* Paths of the files in a model folder. */
#ifndef CM_LOADERS_FOLDER_H
#define CM_LOADERS_FOLDER_H

#include "base/status.h"

#include <stdbool.h>

enum { CM_PATH_BYTES_MAX = 4096 };

/* "folder/name" in `path`; CM_LIMIT where it is too long. */
enum cm_status cm_folder_path(const char *folder, const char *name, char path[CM_PATH_BYTES_MAX],
                              struct cm_error *error) CM_MUST_CHECK;

bool cm_path_is_folder(const char *path);
bool cm_path_exists(const char *path);

#endif
