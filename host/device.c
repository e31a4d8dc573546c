#include "host/device.h"

#include <stdlib.h>
#include <string.h>

enum { DEVICE_INDEX_MAX = 1023 };

static enum cm_status wrong(const char *text, struct cm_error *error)
{
    return cm_error_set(error, CM_INVALID_ARGUMENT,
                        "--device %s: expected auto, cpu, cuda, or cuda: and the numbers of up to "
                        "%d devices, each once, as in cuda:0,1",
                        text, CM_DEVICES_MAX);
}

static bool add(struct cm_device_list *list, enum cm_device kind, uint32_t index)
{
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->devices[i].index == index) {
            return false;
        }
    }
    if (list->count == CM_DEVICES_MAX) {
        return false;
    }
    list->devices[list->count++] = (struct cm_device_choice){ .kind = kind, .index = index };
    return true;
}

/* Numbers with commas between. */
static bool parse_indices(const char *text, struct cm_device_list *list)
{
    for (const char *at = text;; at++) {
        char *end = NULL;
        if (*at < '0' || *at > '9') {
            return false;
        }
        unsigned long value = strtoul(at, &end, 10);
        if (value > DEVICE_INDEX_MAX || !add(list, CM_DEVICE_CUDA, (uint32_t)value)) {
            return false;
        }
        at = end;
        if (*at != ',') {
            return *at == '\0';
        }
    }
}

enum cm_status cm_device_list_parse(const char *text, struct cm_device_list *list,
                                    struct cm_error *error)
{
    static const char numbered[] = "cuda:";
    list->count = 0;
    if (text == NULL || strcmp(text, "auto") == 0) {
        uint32_t count = cm_devices_count(CM_DEVICE_CUDA);
        for (uint32_t i = 0; i < count && i < CM_DEVICES_MAX; i++) {
            add(list, CM_DEVICE_CUDA, i);
        }
        if (count == 0) {
            add(list, CM_DEVICE_CPU, 0);
        }
        return CM_OK;
    }
    if (strcmp(text, "cpu") == 0) {
        add(list, CM_DEVICE_CPU, 0);
        return CM_OK;
    }
    if (strcmp(text, "cuda") == 0) {
        add(list, CM_DEVICE_CUDA, 0);
        return CM_OK;
    }
    if (strncmp(text, numbered, sizeof numbered - 1) == 0 &&
        parse_indices(text + sizeof numbered - 1, list)) {
        return CM_OK;
    }
    return wrong(text, error);
}

enum cm_precision cm_device_precision(enum cm_engine_precision precision)
{
    switch (precision) {
    case CM_ENGINE_EXACT:
        return CM_PRECISION_EXACT;
    case CM_ENGINE_FP16:
        return CM_PRECISION_FP16;
    case CM_ENGINE_INT8:
        return CM_PRECISION_INT8;
    case CM_ENGINE_INT4:
        return CM_PRECISION_INT4;
    case CM_ENGINE_FP8:
        return CM_PRECISION_FP8;
    case CM_ENGINE_BF16:
    case CM_ENGINE_AUTO:
        break;
    }
    return CM_PRECISION_BF16;
}

/* What keeps the accuracy that the file has: int8 with a scale per group holds block-quantised
 * weights exactly or nearly so; plain ones need bf16. */
static enum cm_precision precision_of_file(const struct cm_model_file *file)
{
    uint64_t quantised_bytes = 0;
    uint64_t plain_bytes = 0;
    for (size_t i = 0; i < cm_model_file_tensors_count(file); i++) {
        const struct cm_tensor *tensor = cm_model_file_tensor(file, i);
        bool quantised = cm_dtype_info(tensor->dtype)->block_elements > 1;
        *(quantised ? &quantised_bytes : &plain_bytes) += tensor->bytes;
    }
    return quantised_bytes > plain_bytes ? CM_PRECISION_INT8 : CM_PRECISION_BF16;
}

enum cm_precision cm_device_precision_for(enum cm_device device, enum cm_engine_precision precision,
                                          const struct cm_model_file *file)
{
    return precision == CM_ENGINE_AUTO && device == CM_DEVICE_CPU ? precision_of_file(file)
                                                                  : cm_device_precision(precision);
}

struct cm_engine_limits cm_engine_limits_of(const struct cm_machine_limits *measured)
{
    struct cm_engine_limits limits = {
        .int8_gops = measured->int8_gops,
        .bf16_gflops = measured->bf16_gflops,
        .fp32_gflops = measured->fp32_gflops,
        .fp8_gflops = measured->fp8_gflops,
        .bandwidth_gbs = measured->bandwidth_gbs,
        .sm_count = measured->sm_count,
    };
    memcpy(limits.device_name, measured->device_name, sizeof limits.device_name);
    return limits;
}
