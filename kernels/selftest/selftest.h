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

/* --- Timings --- */

/* One op at one shape of a model that is run on such devices. The least of some calls, each with
 * its operands out of the caches; on CUDA by events. */
struct cm_selftest_timing {
    const char *group; /* "timing", or "timing bf16" of ops that the precision concerns */
    const char *name;
    const char *shape;
    const char *failure; /* NULL: none */
    double seconds;
    double bytes; /* of the contract: every operand once */
    double flops;
    double roofline_s; /* by the measured limits */
    double designed_s; /* what the kernel is designed for (kernels/roofline.h); 0 on the CPU */
};

struct cm_selftest_stand {
    struct cm_machine_limits limits;
    const char *model; /* whose sizes the shapes are */
    bool is_emulated;  /* times say nothing of a device */
};

/* Gets the stand once, as soon as it is known, then each timing. */
struct cm_selftest_timing_sink {
    void (*begin)(void *context, const struct cm_selftest_stand *stand);
    void (*timed)(void *context, const struct cm_selftest_timing *timing);
    void *context;
};

/* Measures the limits of the device and times the ops that `only` does not leave out; `quick` has
 * no meaning. Precisions that the device lacks are left out. Half a minute. Errors of
 * cm_backend_open. */
enum cm_status cm_selftest_timings(const struct cm_selftest_options *options,
                                   const struct cm_selftest_timing_sink *sink,
                                   struct cm_error *error) CM_MUST_CHECK;

/* --- Links --- */

enum { CM_SELFTEST_DEVICES_MAX = 64 };

struct cm_selftest_links {
    enum cm_device device;
    uint32_t count;
    uint32_t indices[CM_SELFTEST_DEVICES_MAX];
};

/* All devices as one group (the first CM_COMM_RANKS_MAX): collectives with known answers and the
 * time of a large one; and each pair: the speed of copies there and back. Of one device alone an
 * answer says that there is nothing to test; on the CPU two threads stand in. */
void cm_selftest_test_links(const struct cm_selftest_links *links, const char *only,
                            cm_selftest_sink *sink, void *context);

#endif
