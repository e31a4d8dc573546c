#include "jobs/version.h"

#include <stdio.h>

int main(void)
{
    printf("copymill %s\n", cm_version());
    return 0;
}
