#include "loaders/file_map.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct cm_file_map {
    uint8_t *data;
    size_t bytes;
};

static enum cm_status map_descriptor(int descriptor, const char *path, struct cm_file_map *map,
                                     struct cm_error *error)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        return cm_error_set(error, CM_IO, "%s: cannot be examined: %s", path, strerror(errno));
    }
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        return cm_error_set(error, CM_INVALID_DATA, "%s: is %s", path,
                            S_ISREG(info.st_mode) ? "empty" : "not a regular file");
    }
    map->bytes = (size_t)info.st_size;
    map->data = mmap(NULL, map->bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (map->data == MAP_FAILED) {
        return cm_error_set(error, CM_IO, "%s: cannot be mapped: %s", path, strerror(errno));
    }
    return CM_OK;
}

enum cm_status cm_file_map_open(const char *path, struct cm_file_map **map, struct cm_error *error)
{
    struct cm_file_map *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", path);
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        enum cm_status status = errno == ENOENT ? CM_NOT_FOUND : CM_IO;
        cm_free(opened);
        return cm_error_set(error, status, "%s: cannot be opened: %s", path, strerror(errno));
    }
    enum cm_status status = map_descriptor(descriptor, path, opened, error);
    close(descriptor);
    if (status != CM_OK) {
        cm_free(opened);
        return status;
    }
    *map = opened;
    return CM_OK;
}

void cm_file_map_close(struct cm_file_map *map)
{
    if (map != NULL) {
        munmap(map->data, map->bytes);
        cm_free(map);
    }
}

const uint8_t *cm_file_map_data(const struct cm_file_map *map)
{
    return map->data;
}

size_t cm_file_map_bytes(const struct cm_file_map *map)
{
    return map->bytes;
}

void cm_file_map_forget(const struct cm_file_map *map)
{
    (void)madvise(map->data, map->bytes, MADV_DONTNEED); /* a wish; nothing depends on it */
}
