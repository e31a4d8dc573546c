#include "jobs/output_file.h"

#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char temporary_suffix[] = ".copymill-part";

struct cm_output_file {
    char *path; /* where it goes; a symbolic link is followed, not replaced */
    char *temporary_path;
    char *folder;
    FILE *stream;
    bool published;
    bool is_stdout;
};

static bool is_stdout_path(const char *path)
{
    return strcmp(path, "-") == 0;
}

static struct cm_ledger_output identity_of(const struct stat *info)
{
    return (struct cm_ledger_output){
        .inode = (uint64_t)info->st_ino,
        .file_bytes = (uint64_t)info->st_size,
        .modified_ns = (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec,
    };
}

static enum cm_status check_folder(const char *option, const char *path, struct cm_error *error)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? cm_strdup(".")
                                 : cm_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (folder == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = CM_OK;
    if (access(folder, W_OK | X_OK) != 0) {
        status = cm_error_set(error, CM_IO, "%s %s: cannot write to the folder %s: %s", option,
                              path, folder, strerror(errno));
    }
    cm_free(folder);
    return status;
}

enum cm_status cm_output_check(const struct cm_output_rules *rules, struct cm_error *error)
{
    struct stat info;
    const char *option = rules->option != NULL ? rules->option : "--out";
    if (is_stdout_path(rules->path)) {
        return CM_OK;
    }
    if (stat(rules->path, &info) != 0) {
        return check_folder(option, rules->path, error);
    }
    if (!S_ISREG(info.st_mode)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "%s %s is no regular file; name a file, or - for standard output",
                            option, rules->path);
    }
    enum cm_status status = CM_OK;
    bool known = rules->overwrite;
    if (!known && rules->ledger != NULL) {
        struct cm_ledger_output identity = identity_of(&info);
        status = cm_ledger_knows_output(rules->ledger, &identity, &known, error);
    }
    if (status == CM_OK && !known) {
        status = cm_error_set(error, CM_ALREADY_EXISTS,
                              "%s %s exists already and is not the unchanged output of this job; "
                              "name another file, or add --overwrite",
                              option, rules->path);
    }
    return status == CM_OK ? check_folder(option, rules->path, error) : status;
}

/* --- Writing --- */

static enum cm_status name_paths(struct cm_output_file *file, const char *path,
                                 struct cm_error *error)
{
    char resolved[PATH_MAX];
    const char *target = realpath(path, resolved) != NULL ? resolved : path;
    struct cm_text temporary = CM_TEXT_INIT(PATH_MAX);
    enum cm_status status = cm_text_printf(&temporary, "%s%s", target, temporary_suffix);
    const char *slash = strrchr(target, '/');
    file->path = cm_strdup(target);
    file->folder = slash == NULL
                       ? cm_strdup(".")
                       : cm_strndup(target, slash == target ? 1 : (size_t)(slash - target));
    file->temporary_path = status == CM_OK ? cm_strdup(cm_text_string(&temporary)) : NULL;
    cm_text_deinit(&temporary);
    if (status == CM_LIMIT) {
        return cm_error_set(error, CM_LIMIT, "%s: the path is too long", path);
    }
    if (file->path == NULL || file->folder == NULL || file->temporary_path == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    return CM_OK;
}

static enum cm_status open_stream(struct cm_output_file *file, struct cm_error *error)
{
    int descriptor =
        open(file->temporary_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (descriptor >= 0) {
        file->stream = fdopen(descriptor, "w");
        if (file->stream == NULL) {
            close(descriptor);
        }
    }
    if (file->stream == NULL) {
        return cm_error_set(error, CM_IO, "%s: cannot write: %s", file->temporary_path,
                            strerror(errno));
    }
    return CM_OK;
}

enum cm_status cm_output_file_open(const char *path, struct cm_output_file **file,
                                   struct cm_error *error)
{
    struct cm_output_file *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    enum cm_status status = CM_OK;
    if (is_stdout_path(path)) {
        opened->is_stdout = true;
        opened->stream = stdout;
    } else {
        status = name_paths(opened, path, error);
        if (status == CM_OK) {
            status = open_stream(opened, error);
        }
    }
    if (status != CM_OK) {
        cm_output_file_close(opened);
        return status;
    }
    *file = opened;
    return CM_OK;
}

FILE *cm_output_file_stream(struct cm_output_file *file)
{
    return file->stream;
}

/* After the rename the folder's own entry has to reach the disk too. */
static enum cm_status sync_folder(const struct cm_output_file *file, struct cm_error *error)
{
    int descriptor = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int outcome = descriptor < 0 ? -1 : fsync(descriptor);
    int reason = errno;
    if (descriptor >= 0) {
        close(descriptor);
    }
    /* Some file systems cannot sync a folder, and need not. */
    if (outcome != 0 && reason != EINVAL) {
        return cm_error_set(error, CM_IO, "%s: cannot sync the folder: %s", file->folder,
                            strerror(reason));
    }
    return CM_OK;
}

enum cm_status cm_output_file_publish(struct cm_output_file *file, struct cm_ledger *ledger,
                                      struct cm_error *error)
{
    const char *name = file->is_stdout ? "standard output" : file->temporary_path;
    if (ferror(file->stream) || fflush(file->stream) != 0) {
        return cm_error_set(error, CM_IO, "%s: cannot write: %s", name, strerror(errno));
    }
    if (file->is_stdout) {
        return CM_OK;
    }
    struct stat info;
    if (fsync(fileno(file->stream)) != 0 || fstat(fileno(file->stream), &info) != 0) {
        return cm_error_set(error, CM_IO, "%s: cannot write: %s", name, strerror(errno));
    }
    /* Remembered before the rename: dying between the two must not leave a file at `path` that the
     * next run takes for somebody else's. */
    struct cm_ledger_output identity = identity_of(&info);
    enum cm_status status =
        ledger == NULL ? CM_OK : cm_ledger_remember_output(ledger, &identity, error);
    if (status != CM_OK) {
        return status;
    }
    if (rename(file->temporary_path, file->path) != 0) {
        return cm_error_set(error, CM_IO, "%s: cannot rename to %s: %s", file->temporary_path,
                            file->path, strerror(errno));
    }
    file->published = true;
    return sync_folder(file, error);
}

void cm_output_file_close(struct cm_output_file *file)
{
    if (file == NULL) {
        return;
    }
    if (!file->is_stdout) {
        if (file->stream != NULL) {
            fclose(file->stream);
            if (!file->published) {
                /* The stream is open, so its path is there.
                 * NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
                unlink(file->temporary_path);
            }
        }
        cm_free(file->path);
        cm_free(file->temporary_path);
        cm_free(file->folder);
    }
    cm_free(file);
}
