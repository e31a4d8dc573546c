/* From item, segment and template to the token ids of a prompt.
 *
 * A template has a system and a user part per language. The user part is laid out so that what many
 * rows share comes first: instructions, the item's facts, the segment, the question. Field text is
 * inserted as data: special tokens in it are never recognised, and it is cut at
 * CM_PROMPT_FIELD_CHARACTERS_MAX characters.
 */
#ifndef CM_JOBS_PROMPT_H
#define CM_JOBS_PROMPT_H

#include "base/hash.h"
#include "base/status.h"
#include "host/tokenizer.h"
#include "jobs/content/channel.h"
#include "jobs/template.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

enum { CM_PROMPT_FIELD_CHARACTERS_MAX = 600, CM_LANGUAGE_BYTES = 16 };

struct cm_prompts;

/* `template_path` NULL: the scenario's built-in templates. CM_INVALID_ARGUMENT for an unknown
 * scenario or channel (naming the known ones), CM_INVALID_DATA for a template that does not parse,
 * with file, line and what was expected. `tokenizer` must outlive the prompts. */
enum cm_status cm_prompts_open(const char *scenario, const char *channel, const char *template_path,
                               const struct cm_tokenizer *tokenizer, struct cm_prompts **prompts,
                               struct cm_error *error) CM_MUST_CHECK;
void cm_prompts_close(struct cm_prompts *prompts);

/* The profile of the channel; the prompts own it. */
const struct cm_channel *cm_prompts_channel(const struct cm_prompts *prompts);

/* Adds everything of template and channel that changes a prompt to `hash`. */
void cm_prompts_hash(const struct cm_prompts *prompts, struct cm_hash *hash);

/* The language of the row's copy: `requested` unless "auto", else the question's column, else the
 * segment's, else the one the question is in, else the item's own field, else detected from the
 * item's text; falls back to "en". Reads everything of `data` but the language. */
void cm_prompts_language(const char *requested, const struct cm_template_data *data,
                         char language[CM_LANGUAGE_BYTES]);

/* Appends the prompt's ids. Thread-safe. */
enum cm_status cm_prompts_render(const struct cm_prompts *prompts,
                                 const struct cm_template_data *data, struct cm_token_list *ids,
                                 struct cm_error *error) CM_MUST_CHECK;

/* The same as readable text (roles and content), for people. */
enum cm_status cm_prompts_render_text(const struct cm_prompts *prompts,
                                      const struct cm_template_data *data, struct cm_text *text,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
