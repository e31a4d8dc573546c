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

#endif
