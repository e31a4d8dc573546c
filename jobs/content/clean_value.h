/* A part of a copy without what its channel bans. */
#ifndef CM_JOBS_CONTENT_CLEAN_VALUE_H
#define CM_JOBS_CONTENT_CLEAN_VALUE_H

#include "jobs/content/channel.h"
#include "loaders/catalog.h"

#include <stdbool.h>

/* In place: quotes and markdown around the text, banned characters and emoji, shouting, the brand
 * where it is banned, words said too often. True where something was left out that the channel
 * bans; of quotes and markdown nobody needs to know. */
bool cm_clean_value(char *text, const struct cm_channel *channel,
                    const struct cm_channel_field *field, const struct cm_item *item);

/* Whether the character is an emoji or another pictograph. */
bool cm_is_emoji(uint32_t character);

/* The first place of a phrase, in either case; one of ASCII letters only as whole words. NULL:
 * none.
 */
const char *cm_find_phrase(const char *text, const char *phrase);

/* Cuts what a text that was cut should not end with: signs and words that lead on, such as "for a".
 */
void cm_trim_dangling(char *text);

/* Cuts `text` to `limit` in the unit: behind the last sentence where one is asked for and not too
 * much is lost, else behind the last word. */
void cm_cut_value(char *text, enum cm_channel_unit unit, uint32_t limit, bool sentences);

#endif
