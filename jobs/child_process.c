#include "jobs/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* 0 or an errno. The program reads nothing from our stdin and writes nothing to our stdout. */
static int redirect(posix_spawn_file_actions_t *actions, const char *folder,
                    enum cm_child_output output)
{
    int failed = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (failed == 0 && output == CM_CHILD_SILENT) {
        failed = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (failed == 0) {
        failed = posix_spawn_file_actions_adddup2(actions, STDERR_FILENO, STDOUT_FILENO);
    }
    if (failed == 0 && folder != NULL) {
        failed = posix_spawn_file_actions_addchdir_np(actions, folder);
    }
    return failed;
}

static int wait_for(pid_t child, int *exit_code)
{
    int state;
    while (waitpid(child, &state, 0) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    *exit_code = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
    return 0;
}

enum cm_status cm_child_run(const char *const *arguments, const char *folder,
                            enum cm_child_output output, int *exit_code, struct cm_error *error)
{
    posix_spawn_file_actions_t actions;
    int failed = posix_spawn_file_actions_init(&actions);
    if (failed != 0) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory to start %s.", arguments[0]);
    }
    pid_t child;
    failed = redirect(&actions, folder, output);
    if (failed == 0) {
        failed =
            posix_spawnp(&child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    }
    if (failed == 0) {
        failed = wait_for(child, exit_code);
    }
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) {
        return cm_error_set(error, failed == ENOENT ? CM_NOT_FOUND : CM_IO, "Cannot run %s: %s.",
                            arguments[0], strerror(failed));
    }
    return CM_OK;
}
