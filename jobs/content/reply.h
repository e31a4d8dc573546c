/* What a reply to a customer does: say that it does not know, be polite, grant or deny. By phrases
 * of many languages, in English and Chinese first; it looks at sentences, not at meaning. */
#ifndef CM_JOBS_CONTENT_REPLY_H
#define CM_JOBS_CONTENT_REPLY_H

#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>

/* Whether a reply says somewhere that it does not know. */
bool cm_reply_refuses(struct cm_span reply);

/* Whether it does, and every other sentence is courtesy: thanks, apologies, whom to ask. */
bool cm_reply_refuses_alone(struct cm_span reply);

/* Whether the first sentence that is not courtesy says that something cannot be done where no
 * sentence of the policy does, or the other way round. False without a policy. */
bool cm_reply_is_opposite(struct cm_span reply, struct cm_span policy);

/* Appends a friendly reply in `language` that says that it does not know; CM_UNSUPPORTED for a
 * language that has none here. */
enum cm_status cm_reply_append_refusal(struct cm_text *text, const char *language,
                                       const char *title) CM_MUST_CHECK;

#endif
