/* Holds an encoder to the hidden states of a reference. */
#ifndef CM_JOBS_ENCODER_CHECK_H
#define CM_JOBS_ENCODER_CHECK_H

#include "host/engine.h"
#include "jobs/agreement.h"
#include "loaders/reference.h"

/* `reference` is of the kind CM_REFERENCE_HIDDEN. `variant` is filled. Errors are those of the
 * encoder; CM_INVALID_DATA where the reference is another model's. */
enum cm_status cm_encoder_check(const char *model_path, enum cm_engine_precision precision,
                                const struct cm_reference *reference, char variant[64],
                                struct cm_agreement *agreement,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
