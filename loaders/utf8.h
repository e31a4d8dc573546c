/* Is this text what it claims to be? */
#ifndef CM_LOADERS_UTF8_H
#define CM_LOADERS_UTF8_H

#include "base/text.h"

#include <stdbool.h>

/* Valid UTF-8 (no surrogates, no overlong forms); the empty span is. */
bool cm_utf8_valid(struct cm_span text);

/* A name that can be shown and compared: not empty, valid UTF-8, no control characters. */
bool cm_utf8_valid_name(struct cm_span name);

#endif
