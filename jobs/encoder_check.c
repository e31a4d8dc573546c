#include "jobs/encoder_check.h"

#include "base/memory.h"
#include "host/encoder.h"

#include <stdio.h>

static enum cm_status check_case(struct cm_encoder *encoder, const struct cm_reference_case *one,
                                 uint32_t width, struct cm_agreement *agreement,
                                 struct cm_error *error)
{
    size_t values = one->ids_count * width; /* as many are in the file */
    float *hidden = cm_alloc(values, sizeof *hidden);
    if (hidden == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for %zu tokens.", one->ids_count);
    }
    enum cm_status status = cm_encoder_hidden(encoder, one->ids, one->ids_count, hidden, error);
    for (size_t i = 0; status == CM_OK && i < values; i++) {
        cm_agreement_add_value(agreement, hidden[i], one->hidden[i]);
    }
    cm_free(hidden);
    return status;
}

enum cm_status cm_encoder_check(const char *model_path, enum cm_engine_precision precision,
                                const struct cm_reference *reference, char variant[64],
                                struct cm_agreement *agreement, struct cm_error *error)
{
    const struct cm_encoder_options options = { .model_path = model_path, .precision = precision };
    struct cm_encoder *encoder = NULL;
    struct cm_encoder_info info;
    enum cm_status status = cm_encoder_open(&options, &encoder, error);
    if (status != CM_OK) {
        return status;
    }
    cm_encoder_info(encoder, &info);
    snprintf(variant, 64, "%s", info.variant);
    *agreement = (struct cm_agreement){ .values_count = 0 };
    if (reference->width != info.dim) {
        status = cm_error_set(error, CM_INVALID_DATA,
                              "The reference is %u values wide, the model %u: it is another "
                              "model's.",
                              reference->width, info.dim);
    }
    for (size_t i = 0; status == CM_OK && i < reference->cases_count; i++) {
        status = check_case(encoder, &reference->cases[i], info.dim, agreement, error);
    }
    cm_encoder_close(encoder);
    return status;
}
