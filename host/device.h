/* Which device an engine runs on, from what the user wrote: auto, cpu, cuda or cuda:1. */
#ifndef CM_HOST_DEVICE_H
#define CM_HOST_DEVICE_H

#include "base/status.h"
#include "kernels/backend.h"

struct cm_device_choice {
    enum cm_device kind;
    uint32_t index;
};

/* NULL and "auto": the first CUDA device, or the CPU where there is none. "cuda": the first CUDA
 * device. CM_INVALID_ARGUMENT for anything else than the forms above; whether the device is there
 * shows at cm_backend_open. */
enum cm_status cm_device_choose(const char *text, struct cm_device_choice *choice,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
