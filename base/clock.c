#include "base/clock.h"

#include <time.h>

uint64_t cm_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

double cm_clock_s(void)
{
    return (double)cm_clock_ns() * 1e-9;
}

void cm_clock_timestamp(char out[CM_TIMESTAMP_BYTES])
{
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(out, CM_TIMESTAMP_BYTES, "%Y-%m-%dT%H:%M:%SZ", &utc);
}
