/* Which language a text is in: by its scripts and, for Latin letters, by a few very common words.
 * Languages are lower-case codes as in BCP 47: "en", "zh", "pt-br". Good enough to choose a
 * template and to notice a copy in the wrong language; not a linguist. */
#ifndef CM_JOBS_LANGUAGE_H
#define CM_JOBS_LANGUAGE_H

#include "base/text.h"

#include <stdbool.h>

/* The code of the text's language, or NULL where it does not show (no letters, or Latin ones with
 * none of the known words). A constant: not to be freed. */
const char *cm_language_detect(struct cm_span text);

/* True where the text can be in `language`: its script fits and no other language is clearly more
 * likely. True for languages this module does not know. */
bool cm_language_matches(struct cm_span text, const char *language);

/* True where `language` is `base` or one of its variants: "zh-tw" is "zh". */
bool cm_language_is(const char *language, const char *base);

/* The English name, "German" for "de-at"; the code itself where the language is not known. */
const char *cm_language_name(const char *language);

/* True for a well-formed code: two or three letters, then parts of letters and digits. */
bool cm_language_is_code(const char *text);

#endif
