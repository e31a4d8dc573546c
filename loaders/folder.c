#include "loaders/folder.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum cm_status cm_folder_path(const char *folder, const char *name, char path[CM_PATH_BYTES_MAX],
                              struct cm_error *error)
{
    int length = snprintf(path, CM_PATH_BYTES_MAX, "%s/%s", folder, name);
    if (length < 0 || length >= CM_PATH_BYTES_MAX) {
        return cm_error_set(error, CM_LIMIT, "%.64s...: the path is longer than %d bytes", folder,
                            CM_PATH_BYTES_MAX);
    }
    return CM_OK;
}

bool cm_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool cm_path_exists(const char *path)
{
    return access(path, F_OK) == 0;
}
