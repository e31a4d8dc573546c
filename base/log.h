/* Messages for the person at the terminal, on stderr. Only `jobs` decides what is said and how; the
 * other modules return errors and, rarely, warn. Thread-safe, one line at a time. */
#ifndef CM_BASE_LOG_H
#define CM_BASE_LOG_H

#include "base/status.h"

enum cm_log_level { CM_LOG_ERROR, CM_LOG_WARNING, CM_LOG_INFO, CM_LOG_DEBUG };

void cm_log_set_level(enum cm_log_level most_verbose);
void cm_log(enum cm_log_level level, const char *format, ...) CM_PRINTF(2, 3);

/* Called around every line, so that a live display can clear itself and be drawn again. NULL: none.
 */
void cm_log_set_hooks(void (*before)(void *), void (*after)(void *), void *context);

#endif
