/* The self-test of kernels/selftest without the rest of the product, so that mutate.py can link it
 * with changed kernels in a second.
 *
 *     emulation_kernels TEXT      tests whose group or name holds the text, quick
 */
#include "kernels/selftest/selftest.h"

#include <stdio.h>

static void print_answer(void *context, const struct cm_selftest_answer *answer)
{
    int *failures = context;
    *failures += answer->outcome == CM_SELFTEST_FAILED;
    printf("%s %s: %s%s\n", answer->group, answer->name,
           answer->outcome == CM_SELFTEST_FAILED ? "WRONG: " : "", answer->detail);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct cm_selftest_options options = { .device = CM_DEVICE_CUDA,
                                                 .only = argc > 1 ? argv[1] : NULL,
                                                 .quick = true };
    struct cm_error error = { 0 };
    int failures = 0;
    if (cm_selftest_run(&options, print_answer, &failures, &error) != CM_OK) {
        printf("WRONG: %s\n", error.message);
        return 1;
    }
    return failures > 0;
}
