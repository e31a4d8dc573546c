/* Direct identifiers of persons in a text: what may be in no segment, catalog or copy. Patterns are
 * checked, not only matched, so that article numbers and sizes are left alone:
 *
 *   e-mail      local part, @, a domain whose last label has two letters or more
 *   card        14 to 19 digits of a known issuer, Luhn (ISO/IEC 7812-1), in one group or in fours
 *   ID number   Chinese: 18 characters with a date inside and ISO 7064 MOD 11-2 (GB 11643-1999);
 *               US social security number: 3-2-4 digits of an issued range
 *   phone       Chinese mobile (11 digits from 13 on), landline with its 0, 400 and 800; with + and
 *               a country code; North American 3-3-4; any 7 to 15 digits behind a word like "tel"
 *
 * Full-width digits and signs count as the ordinary ones. Nothing is allocated.
 */
#ifndef CM_LOADERS_PERSONAL_DATA_H
#define CM_LOADERS_PERSONAL_DATA_H

#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>

enum cm_personal_kind {
    CM_PERSONAL_MAIL,
    CM_PERSONAL_PHONE,
    CM_PERSONAL_ID_NUMBER,
    CM_PERSONAL_CARD,
    CM_PERSONAL_KIND_COUNT
};

const char *cm_personal_kind_name(enum cm_personal_kind kind); /* "e-mail address" */

struct cm_personal_match {
    enum cm_personal_kind kind;
    size_t begin; /* bytes in the text */
    size_t end;   /* one past */
};

/* The next identifier from byte `*at` (valid UTF-8) on, which moves past it. False: none. */
bool cm_personal_data_next(struct cm_span text, size_t *at, struct cm_personal_match *match);

#endif
