/* Status codes, error messages and assertions: how every module reports that something went wrong.
 *
 * A function that can fail returns `enum cm_status` and takes a `struct cm_error *` last. The
 * status tells the program what to do; the message tells a person what to change. Library code
 * never exits, aborts or prints. `CM_ASSERT` is for programmer errors only and stays on in release
 * builds.
 */
#ifndef CM_BASE_STATUS_H
#define CM_BASE_STATUS_H

#include <stdarg.h>

#define CM_MUST_CHECK __attribute__((warn_unused_result))
#define CM_PRINTF(format_index, first_argument) \
    __attribute__((format(printf, format_index, first_argument)))

enum cm_status {
    CM_OK = 0,
    CM_END,              /* not an error: no further record, row or token */
    CM_FULL,             /* not an error: no room now, try again after some work is done */
    CM_INVALID_ARGUMENT, /* an option or parameter is wrong */
    CM_INVALID_DATA,     /* a file's content is wrong */
    CM_NOT_FOUND,
    CM_ALREADY_EXISTS,
    CM_UNSUPPORTED, /* well-formed, but not something this program can do */
    CM_LIMIT,       /* over a named maximum */
    CM_OUT_OF_MEMORY,
    CM_IO,
    CM_INTERRUPTED,
    CM_DEVICE_FAILED, /* a device stopped working; its results are lost, the job is not */
    CM_INTERNAL,
};

enum { CM_ERROR_MESSAGE_MAX = 1024 };

/* Caller-owned. `message` is one or more sentences without a line end at the close. */
struct cm_error {
    enum cm_status status;
    char message[CM_ERROR_MESSAGE_MAX];
};

/* Fills `error` (which may be NULL) and returns `status`, so that `return cm_error_set(...)` works.
 */
enum cm_status cm_error_set(struct cm_error *error, enum cm_status status, const char *format, ...)
    CM_PRINTF(3, 4);

#ifdef __clang_analyzer__ /* it cannot see that the status comes back as it went in */
#define cm_error_set(error, status, ...) (cm_error_set((error), (status), __VA_ARGS__), (status))
#endif

/* Puts "context: " before the message already in `error`; returns the status it holds. */
enum cm_status cm_error_prefix(struct cm_error *error, const char *format, ...) CM_PRINTF(2, 3);

/* "CM_INVALID_DATA" and so on; never NULL. */
const char *cm_status_name(enum cm_status status);

__attribute__((noreturn)) void cm_assert_failed(const char *expression, const char *file, int line);

#define CM_ASSERT(expression) \
    ((expression) ? (void)0 : cm_assert_failed(#expression, __FILE__, __LINE__))

#endif
