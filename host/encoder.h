/* Encoders of the BERT family (Devlin et al. 2018): texts become vectors whose cosine says how
 * close their meanings are. The same back end and operations as the decoders'; a text is computed
 * at once, every token sees every other, and nothing is kept.
 *
 * A text's vector depends on the text alone, not on the texts beside it. One thread uses an
 * encoder.
 */
#ifndef CM_HOST_ENCODER_H
#define CM_HOST_ENCODER_H

#include "base/status.h"
#include "base/text.h"
#include "host/engine.h"

#include <stddef.h>
#include <stdint.h>

struct cm_encoder;

struct cm_encoder_options {
    const char *model_path; /* a Hugging Face folder of a BERT model */
    enum cm_engine_precision precision;
    uint32_t threads; /* 0: one per core */
};

/* CM_UNSUPPORTED for a decoder; else as cm_engine_open. */
enum cm_status cm_encoder_open(const struct cm_encoder_options *options,
                               struct cm_encoder **encoder, struct cm_error *error) CM_MUST_CHECK;
void cm_encoder_close(struct cm_encoder *encoder);

struct cm_encoder_info {
    char name[128];
    char variant[64];    /* as of the engine: part of whatever is keyed by the vectors */
    uint32_t dim;        /* of a vector */
    uint32_t tokens_max; /* of a text; what is longer is cut */
};
void cm_encoder_info(const struct cm_encoder *encoder, struct cm_encoder_info *info);
const struct cm_tokenizer *cm_encoder_tokenizer(const struct cm_encoder *encoder);

/* A vector of length one for each text: [texts_count, dim]. The vector of a text without a word is
 * that of the special tokens alone. CM_LIMIT (a text of more than 64 MiB), CM_OUT_OF_MEMORY. */
enum cm_status cm_encoder_embed(struct cm_encoder *encoder, const struct cm_span *texts,
                                size_t texts_count, float *vectors,
                                struct cm_error *error) CM_MUST_CHECK;

/* The cosine of two such vectors, -1 to 1. */
double cm_encoder_similarity(const struct cm_encoder *encoder, const float *a, const float *b);

/* The last layer's output for ids as they are, [ids_count, dim]: for tests. CM_INVALID_ARGUMENT: no
 * id, more than tokens_max or one outside the vocabulary. */
enum cm_status cm_encoder_hidden(struct cm_encoder *encoder, const int32_t *ids, size_t ids_count,
                                 float *hidden, struct cm_error *error) CM_MUST_CHECK;

#endif
