/* A file over HTTP (libcurl) that goes on where a cut transfer stopped. */
#ifndef CM_JOBS_DOWNLOAD_H
#define CM_JOBS_DOWNLOAD_H

#include "base/status.h"

#include <stdbool.h>

/* Downloads `url` to `path` and shows its progress on stderr. What `path` already holds is kept and
 * continued where the server says that its file is the same (ETag, kept in `path`.etag), or where
 * `is_checked`: the caller will compare the whole file with a checksum. A transfer that breaks off
 * is continued by itself as long as each try gets further. Blocking. CM_NOT_FOUND, CM_IO. */
enum cm_status cm_download(const char *url, const char *path, bool is_checked,
                           struct cm_error *error) CM_MUST_CHECK;

#endif
