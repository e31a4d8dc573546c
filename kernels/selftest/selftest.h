/* First contact with a device: known answers for what only the device can show. The second half of
 * `copymill selftest`; the engine's own check (golden logits) lies above it.
 *
 * Every op runs on the device and on the CPU in plain C over ragged shapes, from the same
 * reproducible numbers, and the results are compared; on a CUDA device also each wrapper of a PTX
 * instruction against answers worked out by hand on the host, each op once more inside a captured
 * graph, and rows by themselves against rows in company, bit for bit. */
#ifndef CM_KERNELS_SELFTEST_SELFTEST_H
#define CM_KERNELS_SELFTEST_SELFTEST_H

#include "kernels/backend.h"

enum { CM_SELFTEST_TEXT_BYTES = 256 };

enum cm_selftest_outcome { CM_SELFTEST_PASSED, CM_SELFTEST_FAILED, CM_SELFTEST_SKIPPED };

struct cm_selftest_answer {
    const char *group; /* "device", "wrapper", "op bf16", ... */
    const char *name;  /* what was tested */
    enum cm_selftest_outcome outcome;
    char detail[CM_SELFTEST_TEXT_BYTES]; /* how close it is, or what is wrong */
};

/* Gets each answer as soon as it is known; strings live during the call only. */
typedef void cm_selftest_sink(void *context, const struct cm_selftest_answer *answer);

/* What a report about a device has to name: device, driver and library versions, one "name: value"
 * a line. Works on a device that fails everything else. */
void cm_selftest_describe(enum cm_device device, uint32_t device_index, char *text,
                          size_t text_bytes);

struct cm_selftest_options {
    enum cm_device device;
    uint32_t device_index;
    const char *only; /* tests whose group or name holds this text; NULL: all */
    bool quick;       /* one shape of four, and no graphs: for the emulated device */
};

/* Runs all of it; a minute on a device at most. Answers that are wrong are answers: the status
 * tells of what kept the test from running, such as a device that is not there (errors of
 * cm_backend_open). */
enum cm_status cm_selftest_run(const struct cm_selftest_options *options, cm_selftest_sink *sink,
                               void *context, struct cm_error *error) CM_MUST_CHECK;

#endif
