/* loaders/file_map.h over blocks of exactly the file's size, so that a sanitizer sees a reader that
 * goes one byte too far, which the last page of a real map would hide. A test that lists this file
 * among its sources gets it instead of the real one. */
#include "base/memory.h"
#include "loaders/file_map.h"

#include <stdio.h>

struct cm_file_map {
    uint8_t *data;
    size_t bytes;
};

static enum cm_status read_whole(FILE *stream, struct cm_file_map *map)
{
    if (fseek(stream, 0, SEEK_END) != 0) {
        return CM_IO;
    }
    map->bytes = (size_t)ftell(stream);
    rewind(stream);
    map->data = cm_alloc(map->bytes, 1);
    if (map->data == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    return fread(map->data, 1, map->bytes, stream) == map->bytes ? CM_OK : CM_IO;
}

enum cm_status cm_file_map_open(const char *path, struct cm_file_map **map, struct cm_error *error)
{
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) {
        return cm_error_set(error, CM_NOT_FOUND, "%s: cannot be opened", path);
    }
    struct cm_file_map *opened = cm_alloc(1, sizeof *opened);
    enum cm_status status = opened == NULL ? CM_OUT_OF_MEMORY : read_whole(stream, opened);
    fclose(stream);
    if (status == CM_OK && opened->bytes == 0) {
        status = CM_INVALID_DATA;
    }
    if (status != CM_OK) {
        cm_file_map_close(opened);
        return cm_error_set(error, status, "%s: cannot be read", path);
    }
    *map = opened;
    return CM_OK;
}

void cm_file_map_close(struct cm_file_map *map)
{
    if (map != NULL) {
        cm_free(map->data);
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
    (void)map;
}
