#include "jobs/temporary_folder.h"

#include "base/log.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum cm_status cm_temporary_folder_make(const char *purpose, char path[CM_TEMPORARY_PATH_BYTES],
                                        struct cm_error *error)
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(path, CM_TEMPORARY_PATH_BYTES, "%s/copymill-%s-XXXXXX",
                          parent == NULL || parent[0] == '\0' ? "/tmp" : parent, purpose);
    if (length >= CM_TEMPORARY_PATH_BYTES || mkdtemp(path) == NULL) {
        return cm_error_set(error, CM_IO,
                            "a folder for temporary files cannot be made at %.200s: set TMPDIR to "
                            "one that can be written",
                            path);
    }
    return CM_OK;
}

void cm_temporary_folder_remove(const char *path)
{
    DIR *entries = opendir(path);
    struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        (void)unlinkat(dirfd(entries), entry->d_name, 0); /* "." and ".." are refused */
    }
    if (entries != NULL) {
        closedir(entries);
    }
    if (rmdir(path) != 0) {
        cm_log(CM_LOG_WARNING, "the folder %s cannot be removed: %m", path);
    }
}
