#include "jobs/bench_catalog.h"

#include "base/log.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 512 };

/* The folder holds the output and the ledger with its side files, no folders. */
static void remove_folder(const char *folder)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        (void)unlinkat(dirfd(entries), entry->d_name, 0); /* "." and ".." are refused */
    }
    if (entries != NULL) {
        closedir(entries);
    }
    if (rmdir(folder) != 0) {
        cm_log(CM_LOG_WARNING, "the folder %s cannot be removed: %m", folder);
    }
}

static enum cm_exit run_once(const struct cm_run_options *options, struct cm_run_summary *summary)
{
    const char *parent = getenv("TMPDIR");
    char folder[PATH_BYTES];
    char out_path[PATH_BYTES + 16];
    int length = snprintf(folder, sizeof folder, "%s/copymill-bench-XXXXXX",
                          parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
    if (length >= PATH_BYTES || mkdtemp(folder) == NULL) {
        cm_log(CM_LOG_ERROR,
               "a folder for the output cannot be made at %.200s: set TMPDIR to one "
               "that can be written",
               folder);
        return CM_EXIT_USAGE;
    }
    snprintf(out_path, sizeof out_path, "%s/copy.csv", folder);
    struct cm_run_options job = *options;
    job.out_path = out_path;
    job.job_path = NULL;
    enum cm_exit exit = cm_run(&job, summary);
    remove_folder(folder);
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
