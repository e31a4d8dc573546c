/* Which devices an engine runs on, from what the user wrote: auto, cpu, cuda, cuda:1 or cuda:0,1.
 */
#ifndef CM_HOST_DEVICE_H
#define CM_HOST_DEVICE_H

#include "host/engine.h"
#include "kernels/backend.h"
#include "loaders/model_file.h"

enum { CM_DEVICES_MAX = 64 };

struct cm_device_choice {
    enum cm_device kind;
    uint32_t index;
    uint32_t cpu_share; /* as in cm_backend_options */
    uint32_t cpu_shares;
};

struct cm_device_list {
    struct cm_device_choice devices[CM_DEVICES_MAX];
    uint32_t count; /* at least 1 */
};

/* NULL and "auto": all CUDA devices, or the CPU where there is none. "cuda": the first CUDA device.
 * CM_INVALID_ARGUMENT for anything else than the forms above and for a device named twice; whether
 * they are there shows at cm_backend_open. */
enum cm_status cm_device_list_parse(const char *text, struct cm_device_list *list,
                                    struct cm_error *error) CM_MUST_CHECK;

/* What a CUDA device computes in; AUTO is bf16. */
enum cm_precision cm_device_precision(enum cm_engine_precision precision);

/* What a device computes a file in: AUTO is bf16 on CUDA, and on the CPU what the file was made
 * for. */
enum cm_precision cm_device_precision_for(enum cm_device device, enum cm_engine_precision precision,
                                          const struct cm_model_file *file);

struct cm_engine_limits cm_engine_limits_of(const struct cm_machine_limits *measured);

#endif
