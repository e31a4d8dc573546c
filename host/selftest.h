/* The self-test of devices, for the command line: what kernels/selftest finds, device by device. */
#ifndef CM_HOST_SELFTEST_H
#define CM_HOST_SELFTEST_H

#include "host/engine.h"

enum cm_check_outcome { CM_CHECK_PASSED, CM_CHECK_FAILED, CM_CHECK_SKIPPED };

struct cm_device_check {
    const char *group;  /* "wrapper", "op exact", "graph bf16", ... */
    const char *name;   /* what was tested */
    const char *detail; /* how close it is, or what is wrong */
    enum cm_check_outcome outcome;
};

typedef void cm_device_check_sink(void *context, const struct cm_device_check *check);

enum { CM_DEVICE_NAME_BYTES = 16, CM_DEVICE_DESCRIPTION_BYTES = 1024 };

/* The `index`-th device of what the user wrote (engine.h), as engines take it: "cuda:1". CM_END:
 * there are not so many. CM_INVALID_ARGUMENT as for an engine. */
enum cm_status cm_device_name(const char *devices, uint32_t index, char name[CM_DEVICE_NAME_BYTES],
                              struct cm_error *error) CM_MUST_CHECK;

/* Versions and sizes for a report, one "name: value" a line. */
enum cm_status cm_device_describe(const char *name, char text[CM_DEVICE_DESCRIPTION_BYTES],
                                  struct cm_error *error) CM_MUST_CHECK;

/* Every wrapper and op of one device against the CPU, or those whose group or name holds `only`
 * (NULL: all); see kernels/selftest/selftest.h. */
enum cm_status cm_device_selftest(const char *name, const char *only, cm_device_check_sink *sink,
                                  void *context, struct cm_error *error) CM_MUST_CHECK;

/* --- Timings --- */

/* One op at one shape: see kernels/selftest/selftest.h. */
struct cm_device_timing {
    const char *group;
    const char *name;
    const char *shape;
    const char *failure; /* NULL: none */
    double seconds;
    double bytes; /* every operand once */
    double flops;
    double roofline_s; /* at the measured limits */
    double designed_s; /* 0: nothing was designed for this device */
};

struct cm_device_timings_sink {
    /* Once, when the limits are known; `model`: whose sizes the shapes are. */
    void (*begin)(void *context, const struct cm_engine_limits *limits, const char *model,
                  bool is_emulated);
    void (*timed)(void *context, const struct cm_device_timing *timing);
    void *context;
};

/* The limits of one device, then the time of each op, or of those that `only` names. */
enum cm_status cm_device_timings(const char *name, const char *only,
                                 const struct cm_device_timings_sink *sink,
                                 struct cm_error *error) CM_MUST_CHECK;

/* --- Several devices --- */

/* What is between the devices that the user wrote: known answers of collectives and the speed of
 * links. CM_INVALID_ARGUMENT as for an engine. */
enum cm_status cm_device_links(const char *devices, const char *only, cm_device_check_sink *sink,
                               void *context, struct cm_error *error) CM_MUST_CHECK;

#endif
