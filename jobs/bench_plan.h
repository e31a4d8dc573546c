/* `copymill bench --plan`: how long the steps of a workload take on a GPU at the roofline, and how
 * long its kernels are designed to take. Nothing runs; sizes come from the model file or from a
 * config.json alone. After a run on a device the same stands beside what was measured. */
#ifndef CM_JOBS_BENCH_PLAN_H
#define CM_JOBS_BENCH_PLAN_H

#include "base/status.h"
#include "host/step_cost.h"
#include "jobs/bench.h"

#include <stdio.h>

struct cm_plan_options {
    const char *model_path;
    struct cm_cost_device device;
    enum cm_engine_precision precision;
    bool drawn;
    struct cm_bench_shape shape; /* one full batch of texts that begin with shared_prefix_tokens */
};

/* The workload's two kinds of steps and the time of all of them. */
struct cm_bench_plan {
    char model_name[128];
    struct cm_step_shape prefill_shape;
    struct cm_step_shape decode_shape;
    struct cm_step_cost prefill;
    struct cm_step_cost decode;
    double prefill_steps; /* not rounded: the last one is smaller */
    double decode_steps;
    double prefill_tokens;
};

/* Errors of cm_model_file_open_sizes and cm_step_cost. */
enum cm_status cm_bench_plan(const struct cm_plan_options *options, struct cm_bench_plan *plan,
                             struct cm_error *error) CM_MUST_CHECK;

/* Seconds of the whole workload. */
double cm_bench_plan_roofline_s(const struct cm_bench_plan *plan);
double cm_bench_plan_designed_s(const struct cm_bench_plan *plan);

/* Puts the plan's times beside those of a run. */
void cm_bench_plan_compare(const struct cm_bench_plan *plan, struct cm_bench_report *report);

void cm_bench_plan_print_table(FILE *stream, const struct cm_plan_options *options,
                               const struct cm_bench_plan *plan);
enum cm_status cm_bench_plan_print_json(FILE *stream, const struct cm_plan_options *options,
                                        const struct cm_bench_plan *plan) CM_MUST_CHECK;

#endif
