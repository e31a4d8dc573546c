/* What a program has asked of the emulated machine, for tests that hold it to asking for little. */
#ifndef CM_TESTS_CUDA_EMULATION_COUNTS_H
#define CM_TESTS_CUDA_EMULATION_COUNTS_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emu_counts {
    uint64_t allocations; /* of device and page-locked memory; those that failed too */
    uint64_t frees;
    uint64_t waits;       /* for streams and devices, also by asking until they are done, and copies
                             that a real device waits for */
    uint64_t event_waits; /* events waited for, also by asking until they are done */
    uint64_t launches;    /* of kernels, one by one or into a recording */
    uint64_t recordings;  /* graphs made */
    uint64_t graph_launches;
};
void emu_count(struct emu_counts *counts);

/* The next call finds a new machine, with the settings of the environment as they are then. All
 * that was made on the one before must be gone. */
void emu_restart(void);

#ifdef __cplusplus
}
#endif

#endif
