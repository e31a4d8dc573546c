#include "jobs/bench_catalog.h"

#include "base/log.h"
#include "jobs/temporary_folder.h"

#include <stdio.h>

static enum cm_exit run_once(const struct cm_run_options *options, struct cm_run_summary *summary)
{
    char folder[CM_TEMPORARY_PATH_BYTES];
    char out_path[CM_TEMPORARY_PATH_BYTES + 16];
    struct cm_error error;
    if (cm_temporary_folder_make("bench", folder, &error) != CM_OK) {
        cm_log(CM_LOG_ERROR, "%s", error.message);
        return CM_EXIT_USAGE;
    }
    snprintf(out_path, sizeof out_path, "%s/copy.csv", folder);
    struct cm_run_options job = *options;
    job.out_path = out_path;
    job.job_path = NULL;
    enum cm_exit exit = cm_run(&job, summary);
    cm_temporary_folder_remove(folder);
    return exit;
}

enum cm_exit cm_bench_catalog(const struct cm_run_options *options, uint32_t repeat,
                              struct cm_bench_pass *passes, struct cm_engine_info *model)
{
    struct cm_run_options job = *options;
    job.progress = CM_PROGRESS_NONE;
    job.quiet_samples = true;
    enum cm_exit exit = CM_EXIT_OK;
    for (uint32_t round = 0; round < repeat; round++) {
        struct cm_run_summary summary = { 0 };
        exit = run_once(&job, &summary);
        if (exit != CM_EXIT_OK && exit != CM_EXIT_PARTIAL) {
            return exit;
        }
        passes[round] = (struct cm_bench_pass){
            .copies_count = summary.rows_ok + summary.rows_flagged,
            .wall_s = summary.wall_s,
            .work = summary.engine,
        };
        *model = summary.model;
    }
    return exit;
}
