#include "base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In brackets: status.h has a macro of the name for the static analyzer. */
enum cm_status(cm_error_set)(struct cm_error *error, enum cm_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        error->status = status;
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
    }
    return status;
}

enum cm_status cm_error_prefix(struct cm_error *error, const char *format, ...)
{
    if (error == NULL) {
        return CM_INTERNAL;
    }
    char before[CM_ERROR_MESSAGE_MAX];
    char joined[CM_ERROR_MESSAGE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(before, sizeof before, format, arguments);
    va_end(arguments);
    int written = snprintf(joined, sizeof joined, "%s: %s", before, error->message);
    if (written > 0) {
        memcpy(error->message, joined, sizeof joined);
    }
    return error->status;
}

const char *cm_status_name(enum cm_status status)
{
    static const char *const names[] = {
        [CM_OK] = "CM_OK",
        [CM_END] = "CM_END",
        [CM_FULL] = "CM_FULL",
        [CM_INVALID_ARGUMENT] = "CM_INVALID_ARGUMENT",
        [CM_INVALID_DATA] = "CM_INVALID_DATA",
        [CM_NOT_FOUND] = "CM_NOT_FOUND",
        [CM_ALREADY_EXISTS] = "CM_ALREADY_EXISTS",
        [CM_UNSUPPORTED] = "CM_UNSUPPORTED",
        [CM_LIMIT] = "CM_LIMIT",
        [CM_OUT_OF_MEMORY] = "CM_OUT_OF_MEMORY",
        [CM_IO] = "CM_IO",
        [CM_INTERRUPTED] = "CM_INTERRUPTED",
        [CM_DEVICE_FAILED] = "CM_DEVICE_FAILED",
        [CM_INTERNAL] = "CM_INTERNAL",
    };
    if ((unsigned)status >= sizeof names / sizeof names[0]) {
        return "CM_UNKNOWN";
    }
    return names[status];
}

void cm_assert_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "copymill: internal error at %s:%d: %s does not hold. Please report this.\n",
            file, line, expression);
    abort();
}
