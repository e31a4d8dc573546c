/* GGUF metadata -> struct cm_model_config, for the architectures llama, qwen2, qwen3, gemma3 and
 * gpt2. */
#ifndef CM_LOADERS_GGUF_CONFIG_H
#define CM_LOADERS_GGUF_CONFIG_H

#include "loaders/gguf.h"
#include "loaders/model_file.h"

enum cm_status cm_gguf_config(const struct cm_gguf *gguf, struct cm_model_config *config,
                              struct cm_error *error) CM_MUST_CHECK;

#endif
