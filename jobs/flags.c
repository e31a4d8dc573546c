#include "jobs/flags.h"

#include <string.h>

static const char separator[] = "; ";

/* Length of the name at `at`; 0: there is none. */
static size_t name_length(const char *at)
{
    size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-");
    bool ends = at[length] == '\0' || at[length] == ':' ||
                strncmp(at + length, separator, strlen(separator)) == 0;
    return ends ? length : 0;
}

bool cm_flag_next(const char **flags, struct cm_flag *flag)
{
    const char *at = *flags;
    size_t length = name_length(at);
    if (length == 0) {
        return false;
    }
    flag->name = (struct cm_span){ at, length };
    at += length;
    at += at[0] == ':' ? 1 : 0;
    at += at[0] == ' ' ? 1 : 0;
    const char *end = strstr(at, separator);
    while (end != NULL && name_length(end + strlen(separator)) == 0) {
        end = strstr(end + strlen(separator), separator);
    }
    flag->detail = (struct cm_span){ at, end != NULL ? (size_t)(end - at) : strlen(at) };
    *flags = end != NULL ? end + strlen(separator) : at + strlen(at);
    return true;
}
