/* A whole file mapped read-only. Loaders hand out pointers into it; it outlives them. */
#ifndef CM_LOADERS_FILE_MAP_H
#define CM_LOADERS_FILE_MAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct cm_file_map;

/* CM_NOT_FOUND, CM_IO (the message names file and reason), CM_INVALID_DATA for an empty file or one
 * that is no regular file. */
enum cm_status cm_file_map_open(const char *path, struct cm_file_map **map,
                                struct cm_error *error) CM_MUST_CHECK;
void cm_file_map_close(struct cm_file_map *map);

const uint8_t *cm_file_map_data(const struct cm_file_map *map);
size_t cm_file_map_bytes(const struct cm_file_map *map);

/* Takes what was read out of this process's memory, where it counts beside what was made of it; it
 * is read again where it is needed again. From any thread, also while others read. */
void cm_file_map_forget(const struct cm_file_map *map);

#endif
