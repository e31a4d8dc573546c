/* How a text says that a machine wrote it, as China's measures for labelling and GB 45438-2025 ask:
 * words that a reader sees, and metadata that programs read. An edited text is labelled too. */
#ifndef CM_JOBS_EXPORT_ORIGIN_H
#define CM_JOBS_EXPORT_ORIGIN_H

#include "base/text.h"

/* Words for the end of a text in `language`: "(AI-generated)". */
const char *cm_origin_mark(const char *language);

/* The value of AIGC: a JSON object with the standard's members. Label 1 is "generated"; the
 * producer's number for the text is its row key; what a propagator adds stays empty. */
enum cm_status cm_origin_append_metadata(struct cm_text *text, const char *producer,
                                         const char *row_key) CM_MUST_CHECK;

#endif
