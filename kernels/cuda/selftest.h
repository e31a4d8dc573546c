/* What the self-test knows of CUDA: versions, answers of the PTX wrappers, ops inside a graph.
 * Private to kernels/. */
#ifndef CM_KERNELS_CUDA_SELFTEST_H
#define CM_KERNELS_CUDA_SELFTEST_H

#include "kernels/selftest/trial.h"

void cm_cuda_describe(uint32_t device_index, char *text, size_t text_bytes);

/* Every wrapper of device.h against what the PTX ISA says of it, worked out on the host. */
enum cm_status cm_cuda_selftest_wrappers(uint32_t device_index, const struct cm_trial_stand *stand,
                                         struct cm_error *error) CM_MUST_CHECK;

/* The ops of a case are captured, instantiated and launched as one graph. */
extern const struct cm_trial_mode CM_CUDA_GRAPH_MODE;

/* As cm_cuda_time_s, after writing `cache` [cache_bytes], so that the work finds its operands in
 * device memory. */
double cm_cuda_time_cold_s(struct cm_backend *backend,
                           void (*work)(struct cm_backend *backend, void *context), void *context,
                           void *cache, size_t cache_bytes);

/* Copies from one device's memory to another's, there and back, and whether what came is what was
 * sent. */
struct cm_cuda_link {
    bool has_peer_access; /* without the host between them */
    double there_gbs;
    double back_gbs;
    char failure[CM_SELFTEST_TEXT_BYTES]; /* empty: none */
};
void cm_cuda_measure_link(uint32_t from, uint32_t to, size_t bytes, struct cm_cuda_link *link);

#endif
