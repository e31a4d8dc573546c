/* Throughput: prompts of random tokens through the engine, and figures against what the machine
 * can do. */
#ifndef CM_JOBS_BENCH_H
#define CM_JOBS_BENCH_H

#include "base/status.h"
#include "host/engine.h"

#include <stdio.h>

enum { CM_BENCH_REPEAT_MAX = 100 };

struct cm_bench_shape {
    uint32_t prompt_tokens;
    uint32_t output_tokens;
    uint32_t sequences_count;
    uint32_t shared_prefix_tokens; /* the same first tokens in all prompts */
    uint32_t item_tokens;          /* after these: the same in all prompts of an item */
    uint32_t segments_per_item;    /* consecutive prompts of one item; 0: as 1 */
};

/* One timed pass over a workload. */
struct cm_bench_pass {
    uint64_t copies_count;
    double wall_s;
    struct cm_engine_counters work; /* of this pass alone */
};

/* Runs the shape once, greedy and without a stop. `round` varies the tokens. */
enum cm_status cm_bench_run(struct cm_engine *engine, const struct cm_bench_shape *shape,
                            uint32_t round, struct cm_bench_pass *pass,
                            struct cm_error *error) CM_MUST_CHECK;

/* The pass whose time is the median (the lower one of two); sorts the passes by time. */
const struct cm_bench_pass *cm_bench_median(struct cm_bench_pass *passes, size_t count);

/* Time of all steps, split by the work of each kind; and, where the workload was planned
 * (bench_plan.h), at the roofline of the measured limits and as the kernels are designed. */
struct cm_bench_phase {
    double measured_s;
    double roofline_s;
    double designed_s;
};

/* What is reported; the fields are the keys of --json in cli.md's order. */
struct cm_bench_report {
    double copies_per_s;
    double wall_s;
    uint64_t prompt_tokens;
    uint64_t prefill_tokens; /* prompt tokens that were computed */
    uint64_t cached_tokens;  /* prompt tokens that were shared */
    uint64_t output_tokens;
    double prefill_tokens_per_s;
    double decode_tokens_per_s;
    double output_tokens_per_s;
    double peak_rss_mib;
    const char *device;
    uint32_t threads;
    char precision[16];
    uint32_t batch;
    double machine_limit_gops; /* of the precision in use */
    double machine_bandwidth_gbs;
    double fraction_of_limit; /* work of the matrices in all computed tokens / (limit x time) */
    bool is_planned;          /* only then the rest of the next two; --json has them as "plan" */
    struct cm_bench_phase prefill;
    struct cm_bench_phase decode;
};

/* `info` must outlive the report. */
void cm_bench_report(const struct cm_bench_pass *pass, const struct cm_engine_info *info,
                     const struct cm_engine_limits *limits, struct cm_bench_report *report);

void cm_bench_print_table(FILE *stream, const struct cm_bench_report *report,
                          const struct cm_engine_limits *limits);
/* One JSON object and a line end. */
enum cm_status cm_bench_print_json(FILE *stream,
                                   const struct cm_bench_report *report) CM_MUST_CHECK;

#endif
