#include "host/device.h"

#include <stdlib.h>
#include <string.h>

enum { DEVICE_INDEX_MAX = 1023 };

/* The number behind "cuda:"; false where it is none. */
static bool parse_index(const char *text, uint32_t *index)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    *index = (uint32_t)value;
    return *text >= '0' && *text <= '9' && *end == '\0' && value <= DEVICE_INDEX_MAX;
}

enum cm_status cm_device_choose(const char *text, struct cm_device_choice *choice,
                                struct cm_error *error)
{
    static const char numbered[] = "cuda:";
    *choice = (struct cm_device_choice){ .kind = CM_DEVICE_CUDA };
    if (text == NULL || strcmp(text, "auto") == 0) {
        choice->kind = cm_devices_count(CM_DEVICE_CUDA) > 0 ? CM_DEVICE_CUDA : CM_DEVICE_CPU;
        return CM_OK;
    }
    if (strcmp(text, "cpu") == 0) {
        choice->kind = CM_DEVICE_CPU;
        return CM_OK;
    }
    if (strcmp(text, "cuda") == 0 || (strncmp(text, numbered, sizeof numbered - 1) == 0 &&
                                      parse_index(text + sizeof numbered - 1, &choice->index))) {
        return CM_OK;
    }
    return cm_error_set(error, CM_INVALID_ARGUMENT,
                        "--device %s: expected auto, cpu, cuda, or cuda: and the number of a "
                        "device, as in cuda:1",
                        text);
}
