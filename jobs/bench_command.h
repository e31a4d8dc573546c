/* `copymill bench`: throughput of a synthetic workload. */
#ifndef CM_JOBS_BENCH_COMMAND_H
#define CM_JOBS_BENCH_COMMAND_H

#include "jobs/run_options.h"

/* argv[0] is "bench". */
enum cm_exit cm_bench_command(int argc, char **argv);

#endif
