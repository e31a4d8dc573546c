/* Unicode's composed form (NFC), through utf8proc. */
#ifndef CM_HOST_COMPOSE_H
#define CM_HOST_COMPOSE_H

#include "base/status.h"
#include "base/text.h"

/* Appends `text`, composed. Bytes that are no UTF-8 stay as they are, and the text on either side
 * is composed as if it stood alone. CM_OUT_OF_MEMORY. */
enum cm_status cm_compose(struct cm_span text, struct cm_text *composed) CM_MUST_CHECK;

#endif
