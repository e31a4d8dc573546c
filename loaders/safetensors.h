/* The safetensors container: an 8-byte header length, a JSON header, the tensors' bytes without
 * gaps. One file, or several behind an index.
 *
 * Opening applies every rule of the format: header within the file and at most 100,000,000 bytes,
 * known dtypes, shape times type equal to the bytes, offsets that start at 0, leave no hole, do not
 * overlap and end at the end of the file, no duplicate key. Tensors that are no floating-point
 * arrays (masks, counters) are checked but not listed.
 */
#ifndef CM_LOADERS_SAFETENSORS_H
#define CM_LOADERS_SAFETENSORS_H

#include "base/dtype.h"
#include "base/status.h"
#include "loaders/file_map.h"

#include <jansson.h>
#include <stddef.h>

enum {
    CM_SAFETENSORS_HEADER_BYTES_MAX = 100000000,
    CM_SAFETENSORS_SHARDS_MAX = 1024,
    CM_SHARD_NAME_BYTES_MAX = 255,
};

struct cm_safetensors; /* read-only after opening */

/* `map` must outlive the result; `path` is only named in messages. */
enum cm_status cm_safetensors_open(const struct cm_file_map *map, const char *path,
                                   struct cm_safetensors **file,
                                   struct cm_error *error) CM_MUST_CHECK;
void cm_safetensors_close(struct cm_safetensors *file);

size_t cm_safetensors_tensors_count(const struct cm_safetensors *file);
const struct cm_tensor *cm_safetensors_tensors(const struct cm_safetensors *file);

/* The shards' file names that an index (model.safetensors.index.json) mentions, sorted, each once,
 * and each a plain name without a folder. The names belong to `index`; free the array. */
enum cm_status cm_safetensors_shards(const json_t *index, const char *path, const char ***names,
                                     size_t *names_count, struct cm_error *error) CM_MUST_CHECK;

#endif
