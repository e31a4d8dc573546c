#include "host/step_list.h"

#include <string.h>

enum cm_status cm_step_list_init(struct cm_step_list *list, struct cm_backend *backend,
                                 size_t capacity)
{
    *list = (struct cm_step_list){ .backend = backend, .capacity = capacity };
    list->host = cm_backend_host_alloc(backend, capacity * sizeof *list->host);
    list->device = cm_backend_alloc(backend, capacity * sizeof *list->device);
    if (list->host == NULL || list->device == NULL) {
        cm_step_list_deinit(list);
        return CM_OUT_OF_MEMORY;
    }
    return CM_OK;
}

void cm_step_list_deinit(struct cm_step_list *list)
{
    if (list->backend != NULL) {
        cm_backend_host_free(list->backend, list->host);
        cm_backend_free(list->backend, list->device);
    }
    *list = (struct cm_step_list){ 0 };
}

enum cm_status cm_step_list_reserve(struct cm_step_list *list, size_t more)
{
    size_t needed = list->count + more;
    if (needed <= list->capacity) {
        return CM_OK;
    }
    struct cm_step_list grown;
    enum cm_status status = cm_step_list_init(&grown, list->backend, needed + needed / 2);
    if (status != CM_OK) {
        return status;
    }
    cm_backend_forget(list->backend); /* of which the old address may be a part */
    memcpy(grown.host, list->host, list->count * sizeof *list->host);
    grown.count = list->count;
    cm_step_list_deinit(list);
    *list = grown;
    return CM_OK;
}

void cm_step_list_send(struct cm_step_list *list)
{
    cm_backend_send(list->backend, list->device, list->host, list->count * sizeof *list->host);
}
