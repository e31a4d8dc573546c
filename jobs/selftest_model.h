/* A tiny checkpoint and its reference logits, part of the binary: a device is held to them with
 * nothing else at hand. */
#ifndef CM_JOBS_SELFTEST_MODEL_H
#define CM_JOBS_SELFTEST_MODEL_H

#include "jobs/model_check.h"

/* Runs the checkpoint on the device, or with `tp` over 1 on so many together, as `copymill model
 * check` would; `is_good` says whether it agrees. Writes it to a temporary folder meanwhile. */
enum cm_status cm_selftest_model(const char *device, uint32_t tp,
                                 enum cm_engine_precision precision, struct cm_engine_check *check,
                                 bool *is_good, struct cm_error *error) CM_MUST_CHECK;

#endif
