/* What both sources of a model configuration, config.json and GGUF metadata, have in common: the
 * names and limits of its whole numbers, and the checks across fields. */
#ifndef CM_LOADERS_MODEL_CONFIG_H
#define CM_LOADERS_MODEL_CONFIG_H

#include "loaders/model_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CM_LAYERS_MAX = 512,
    CM_EMBD_MAX = 1 << 16,
    CM_HEADS_MAX = 1024,
    CM_HEAD_DIM_MAX = 1024,
    CM_FF_MAX = 1 << 20,
    CM_POSITIONS_MAX = 1 << 24,
    CM_VOCAB_MAX = 1 << 21,
};

static const double CM_NORM_EPSILON_MIN = 1e-20;
static const double CM_NORM_EPSILON_MAX = 0.1;
static const double CM_ROPE_THETA_MAX = 1e12;
static const double CM_ROPE_FACTOR_MAX = 1e4;
static const float CM_ROPE_THETA_DEFAULT = 10000.0F;
enum { CM_GEMMA3_WINDOW_PATTERN = 6 };

struct cm_config_field {
    const char *json;      /* in config.json */
    const char *json_gpt2; /* there, for the gpt2 family; NULL: it has no such field */
    const char *gguf;      /* after "<architecture>."; NULL: not read by the table */
    size_t offset;         /* of a uint32_t in struct cm_model_config */
    uint32_t max;
    bool required;
};

enum { CM_CONFIG_FIELDS_COUNT = 8 };
extern const struct cm_config_field cm_config_fields[CM_CONFIG_FIELDS_COUNT];

uint32_t *cm_config_field_value(struct cm_model_config *config,
                                const struct cm_config_field *field);

/* Fills what may be absent (0) from the rest and checks the whole. The attention scale is left
 * alone where it is already set. */
enum cm_status cm_model_config_complete(struct cm_model_config *config, const char *path,
                                        struct cm_error *error) CM_MUST_CHECK;

/* A field that is not there makes the file invalid, unless it has a default. */
enum cm_status cm_config_required(enum cm_status status, struct cm_error *error) CM_MUST_CHECK;

void cm_model_config_set_name(struct cm_model_config *config, struct cm_span name);

#endif
