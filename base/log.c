#include "base/log.h"

#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum cm_log_level level_max = CM_LOG_INFO;
static void (*hook_before)(void *);
static void (*hook_after)(void *);
static void *hook_context;

void cm_log_set_level(enum cm_log_level most_verbose)
{
    pthread_mutex_lock(&lock);
    level_max = most_verbose;
    pthread_mutex_unlock(&lock);
}

void cm_log_set_hooks(void (*before)(void *), void (*after)(void *), void *context)
{
    pthread_mutex_lock(&lock);
    hook_before = before;
    hook_after = after;
    hook_context = context;
    pthread_mutex_unlock(&lock);
}

void cm_log(enum cm_log_level level, const char *format, ...)
{
    static const char *const prefixes[] = { "error: ", "warning: ", "", "debug: " };
    va_list arguments;
    va_start(arguments, format);
    pthread_mutex_lock(&lock);
    if (level <= level_max) {
        if (hook_before != NULL) {
            hook_before(hook_context);
        }
        fputs(prefixes[level], stderr);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        if (hook_after != NULL) {
            hook_after(hook_context);
        }
    }
    pthread_mutex_unlock(&lock);
    va_end(arguments);
}
