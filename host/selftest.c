#include "host/selftest.h"

#include "host/device.h"
#include "kernels/selftest/selftest.h"

#include <stdio.h>

static enum cm_status first_device(const char *name, struct cm_device_choice *device,
                                   struct cm_error *error)
{
    struct cm_device_list list;
    enum cm_status status = cm_device_list_parse(name, &list, error);
    if (status == CM_OK) {
        *device = list.devices[0];
    }
    return status;
}

enum cm_status cm_device_name(const char *devices, uint32_t index, char name[CM_DEVICE_NAME_BYTES],
                              struct cm_error *error)
{
    struct cm_device_list list;
    enum cm_status status = cm_device_list_parse(devices, &list, error);
    if (status != CM_OK || index >= list.count) {
        return status != CM_OK ? status : CM_END;
    }
    if (list.devices[index].kind == CM_DEVICE_CPU) {
        snprintf(name, CM_DEVICE_NAME_BYTES, "cpu");
    } else {
        snprintf(name, CM_DEVICE_NAME_BYTES, "cuda:%u", list.devices[index].index);
    }
    return CM_OK;
}

enum cm_status cm_device_describe(const char *name, char text[CM_DEVICE_DESCRIPTION_BYTES],
                                  struct cm_error *error)
{
    struct cm_device_choice device;
    enum cm_status status = first_device(name, &device, error);
    if (status == CM_OK) {
        cm_selftest_describe(device.kind, device.index, text, CM_DEVICE_DESCRIPTION_BYTES);
    }
    return status;
}

struct forward {
    cm_device_check_sink *sink;
    void *context;
};

static void pass_on(void *context, const struct cm_selftest_answer *answer)
{
    const struct forward *forward = context;
    const struct cm_device_check check = {
        .group = answer->group,
        .name = answer->name,
        .detail = answer->detail,
        .outcome = answer->outcome == CM_SELFTEST_PASSED   ? CM_CHECK_PASSED
                   : answer->outcome == CM_SELFTEST_FAILED ? CM_CHECK_FAILED
                                                           : CM_CHECK_SKIPPED,
    };
    forward->sink(forward->context, &check);
}

enum cm_status cm_device_selftest(const char *name, const char *only, cm_device_check_sink *sink,
                                  void *context, struct cm_error *error)
{
    struct cm_device_choice device;
    struct forward forward = { sink, context };
    enum cm_status status = first_device(name, &device, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_selftest_options options = { device.kind, device.index, only, false };
    return cm_selftest_run(&options, pass_on, &forward, error);
}

/* --- Timings --- */

static void pass_stand_on(void *context, const struct cm_selftest_stand *stand)
{
    const struct cm_device_timings_sink *sink = context;
    struct cm_engine_limits limits = cm_engine_limits_of(&stand->limits);
    sink->begin(sink->context, &limits, stand->model, stand->is_emulated);
}

static void pass_timing_on(void *context, const struct cm_selftest_timing *timing)
{
    const struct cm_device_timings_sink *sink = context;
    const struct cm_device_timing passed = {
        .group = timing->group,
        .name = timing->name,
        .shape = timing->shape,
        .failure = timing->failure,
        .seconds = timing->seconds,
        .bytes = timing->bytes,
        .flops = timing->flops,
        .roofline_s = timing->roofline_s,
        .designed_s = timing->designed_s,
    };
    sink->timed(sink->context, &passed);
}

enum cm_status cm_device_timings(const char *name, const char *only,
                                 const struct cm_device_timings_sink *sink, struct cm_error *error)
{
    struct cm_device_choice device;
    enum cm_status status = first_device(name, &device, error);
    if (status != CM_OK) {
        return status;
    }
    const struct cm_selftest_options options = { device.kind, device.index, only, false };
    const struct cm_selftest_timing_sink own = { pass_stand_on, pass_timing_on, (void *)sink };
    return cm_selftest_timings(&options, &own, error);
}

/* --- Several devices --- */

enum cm_status cm_device_links(const char *devices, const char *only, cm_device_check_sink *sink,
                               void *context, struct cm_error *error)
{
    struct cm_device_list list;
    struct forward forward = { sink, context };
    enum cm_status status = cm_device_list_parse(devices, &list, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_selftest_links links = { .device = list.devices[0].kind, .count = list.count };
    for (uint32_t i = 0; i < list.count; i++) {
        links.indices[i] = list.devices[i].index;
    }
    cm_selftest_test_links(&links, only, pass_on, &forward);
    return CM_OK;
}
