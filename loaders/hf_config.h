/* config.json of a Hugging Face folder -> struct cm_model_config, for the model types gpt2, llama,
 * mistral, qwen2, qwen3 and gemma3_text. Both spellings are read: that of transformers 5
 * (rope_parameters, layer_types) and the older one (rope_theta, rope_scaling,
 * sliding_window_pattern). What would change the arithmetic and is not known is refused. */
#ifndef CM_LOADERS_HF_CONFIG_H
#define CM_LOADERS_HF_CONFIG_H

#include "loaders/model_file.h"

#include <jansson.h>

/* `path` names config.json in messages. */
enum cm_status cm_hf_config(const json_t *document, const char *path,
                            struct cm_model_config *config, struct cm_error *error) CM_MUST_CHECK;

#endif
