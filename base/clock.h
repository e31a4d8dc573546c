/* Time: a monotonic clock for durations and UTC stamps for records. */
#ifndef CM_BASE_CLOCK_H
#define CM_BASE_CLOCK_H

#include <stdint.h>

uint64_t cm_clock_ns(void); /* monotonic, from an arbitrary origin */
double cm_clock_s(void);    /* the same in seconds */

enum { CM_TIMESTAMP_BYTES = 32 };

/* "2026-01-31T23:59:59Z" with its NUL. */
void cm_clock_timestamp(char out[CM_TIMESTAMP_BYTES]);

#endif
