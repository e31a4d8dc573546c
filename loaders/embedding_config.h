/* How the vectors of an embedding model come out of its last layer: what the folder of a
 * sentence-transformers model says beside config.json (1_Pooling/config.json,
 * sentence_bert_config.json). */
#ifndef CM_LOADERS_EMBEDDING_CONFIG_H
#define CM_LOADERS_EMBEDDING_CONFIG_H

#include "base/status.h"

#include <stdint.h>

enum cm_pooling { CM_POOLING_MEAN, CM_POOLING_FIRST };

struct cm_embedding_config {
    enum cm_pooling pooling;
    uint32_t
        tokens_max; /* of a text, special tokens included; 0: what the model has positions for */
};

/* Without these files: the mean of all tokens. CM_INVALID_DATA, CM_UNSUPPORTED (another pooling),
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_embedding_config_read(const char *folder, struct cm_embedding_config *config,
                                        struct cm_error *error) CM_MUST_CHECK;

#endif
