/* How many pages of the KV cache there are memory for, and how many texts these are enough for. */
#ifndef CM_HOST_PAGE_PLAN_H
#define CM_HOST_PAGE_PLAN_H

#include "base/status.h"
#include "host/engine.h"
#include "kernels/backend.h"
#include "loaders/model_file.h"

struct cm_page_plan {
    const struct cm_engine_options *options;
    enum cm_device device;
    uint64_t memory_bytes; /* of the device; its pages get what options allow, or a part of it */
    uint64_t page_bytes;
};

/* Sets the fields of `info` about pages from its batch and context: what the batch needs, within
 * the memory allowed. CM_OUT_OF_MEMORY where that is too little for one text, with the remedy. */
enum cm_status cm_page_plan_describe(const struct cm_page_plan *plan, struct cm_engine_info *info,
                                     struct cm_error *error) CM_MUST_CHECK;

/* For how many texts the memory of the CPU is enough. Errors of cm_backend_open. */
enum cm_status cm_page_plan_texts_fit(const struct cm_model_file *file,
                                      const struct cm_engine_options *options, uint64_t *texts_fit,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
