/* One run of one case on one back end: the memory it used and the results to compare. A case is
 * written once and run on both sides. Private to kernels/selftest and kernels/cuda/selftest.c. */
#ifndef CM_KERNELS_SELFTEST_TRIAL_H
#define CM_KERNELS_SELFTEST_TRIAL_H

#include "kernels/selftest/selftest.h"

enum { CM_TRIAL_BUFFERS_MAX = 64, CM_TRIAL_RESULTS_MAX = 16, CM_TRIAL_ROWS_MAX = 256 };

struct cm_trial;

/* How the ops of a case are put on the device: NULL for one after the other as they are called.
 * Between `begin` and `end` a case calls ops and nothing else. */
struct cm_trial_mode {
    void (*begin)(struct cm_trial *trial);
    void (*end)(struct cm_trial *trial);
};

struct cm_trial_result {
    const char *name;
    const void *device; /* [count] float or int32_t */
    void *host;         /* the same after cm_trial_collect */
    size_t count;
    bool is_float;
    double absolute; /* |device - CPU| <= absolute + relative * |CPU| */
    double relative;
};

struct cm_trial {
    struct cm_backend *backend;
    enum cm_precision precision;      /* that is tested; the oracle's may be another */
    const struct cm_trial_mode *mode; /* NULL: plain */
    void *buffers[CM_TRIAL_BUFFERS_MAX];
    uint32_t buffers_count;
    struct cm_trial_result results[CM_TRIAL_RESULTS_MAX];
    uint32_t results_count;
    char failure[CM_SELFTEST_TEXT_BYTES]; /* empty: none */
};

/* A case runs its `shape`-th shape. */
struct cm_trial_case {
    const char *name;
    uint32_t shapes_count;
    void (*run)(struct cm_trial *trial, uint32_t shape);
    uint32_t graph_step; /* inside a graph every so manieth shape is run; 0: none */
};

/* Row ops, products, those of block types, attention, sampling; each ends with a NULL name. */
extern const struct cm_trial_case CM_ROW_CASES[];
extern const struct cm_trial_case CM_MATMUL_CASES[];
extern const struct cm_trial_case CM_BLOCK_CASES[];
extern const struct cm_trial_case CM_ATTENTION_CASES[];
extern const struct cm_trial_case CM_SAMPLE_CASES[];

/* --- What a case calls. Nothing returns NULL: without memory a case stops by itself --- */

bool cm_trial_failed(const struct cm_trial *trial);
void cm_trial_fail(struct cm_trial *trial, const char *format, ...) CM_PRINTF(2, 3);

/* Host numbers, uniform in [-scale, scale), the same for the same seed. */
void cm_trial_numbers(uint64_t seed, size_t count, float scale, float *numbers);

/* A tensor's memory, to be freed with cm_free: blocks of random codes whose scales and minima are
 * some 2^-7, or numbers of magnitude 1 to 2. NULL: out of memory. */
void *cm_trial_weights(enum cm_dtype dtype, size_t bytes, uint64_t seed) CM_MUST_CHECK;

/* Device memory with a copy of the host's; freed with the trial. */
void *cm_trial_input(struct cm_trial *trial, const void *host, size_t bytes);
float *cm_trial_random(struct cm_trial *trial, uint64_t seed, size_t count, float scale);

/* A result to compare: NaN (or -1) until the ops write it. cm_trial_expose adds memory that is
 * there already, for what an op changes in place. */
float *cm_trial_floats(struct cm_trial *trial, const char *name, size_t count, double absolute,
                       double relative);
int32_t *cm_trial_ids(struct cm_trial *trial, const char *name, size_t count);
void cm_trial_expose(struct cm_trial *trial, const char *name, const float *device, size_t count,
                     double absolute, double relative);

void cm_trial_begin(struct cm_trial *trial);
void cm_trial_end(struct cm_trial *trial);

/* Fails the trial unless both hold the same bits. */
void cm_trial_same(struct cm_trial *trial, const char *what, const float *left, const float *right,
                   size_t count);

/* --- What the driver calls --- */

/* Copies the results to the host. */
void cm_trial_collect(struct cm_trial *trial);

/* The greatest error as a share of what is allowed; beyond 1, or where it is no number, `detail`
 * says what stands where. */
double cm_trial_compare(const struct cm_trial *trial, const struct cm_trial *oracle, char *detail,
                        size_t detail_bytes);
void cm_trial_deinit(struct cm_trial *trial);

/* What a run of cases stands on. */
struct cm_trial_stand {
    struct cm_backend *oracle; /* plain C, of the same precision or exact */
    struct cm_backend *backend;
    const struct cm_trial_mode *mode;
    const char *only; /* as in cm_selftest_options */
    bool quick;
    cm_selftest_sink *sink;
    void *context;
};

/* The device is none: times say nothing, and everything takes long. */
bool cm_selftest_is_emulated(enum cm_device device);

/* Whether a test of that group and name is asked for. */
bool cm_trial_is_wanted(const struct cm_trial_stand *stand, const char *group, const char *name);

/* Runs the cases on both back ends and tells the answers. */
void cm_trial_cases(const struct cm_trial_stand *stand, const char *group,
                    const struct cm_trial_case *cases);

#endif
