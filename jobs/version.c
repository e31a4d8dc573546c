#include "jobs/version.h"

const char *cm_version(void)
{
    return COPYMILL_VERSION;
}
