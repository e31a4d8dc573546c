/* The parameters of a request in a batch file; internal to batch_requests. */
#ifndef CM_LOADERS_BATCH_PARAMETERS_H
#define CM_LOADERS_BATCH_PARAMETERS_H

#include "loaders/batch_requests.h"

#include <jansson.h>

/* Marks the request as broken, once. Always false. */
bool cm_batch_refuse(struct cm_batch_request *request, const char *code, const char *format, ...)
    CM_PRINTF(3, 4);

/* Numbers and flags of the body; everything but model, messages, prompt and stop. False where the
 * request was refused. */
bool cm_batch_parameters_read(const json_t *body, struct cm_batch_request *request);

#endif
