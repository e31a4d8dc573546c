/* A list of token ids that a step makes on the host and its ops read on the device: memory on both
 * sides, sized at open for what a step of the planned batch mostly needs. A step that needs more
 * makes it grow, which waits for the device; it grows by half at least, so that this ends soon. */
#ifndef CM_HOST_STEP_LIST_H
#define CM_HOST_STEP_LIST_H

#include "base/status.h"
#include "kernels/backend.h"

struct cm_step_list {
    struct cm_backend *backend;
    int32_t *host;   /* [capacity] memory of cm_backend_host_alloc */
    int32_t *device; /* [capacity] */
    size_t capacity;
    size_t count; /* the caller appends to `host` up to the capacity */
};

enum cm_status cm_step_list_init(struct cm_step_list *list, struct cm_backend *backend,
                                 size_t capacity) CM_MUST_CHECK;
void cm_step_list_deinit(struct cm_step_list *list);

/* Room for `more` behind those there. Not while the device may read the list. */
enum cm_status cm_step_list_reserve(struct cm_step_list *list, size_t more) CM_MUST_CHECK;

/* See cm_backend_send. */
void cm_step_list_send(struct cm_step_list *list);

#endif
