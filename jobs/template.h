/* The template language of prompts: text with values and conditions, in sections by role and
 * language. jobs/templates/README.md describes it for those who write templates.
 *
 *     [system]                         the default for every language
 *     [user:zh]                        for Chinese
 *     {{item.title}} {{segment.tone}} {{question.text}} {{language}} {{channel.format}}
 *     {{#if item.brand}}...{{else}}...{{/if}}
 *
 * A template is parsed once into a small tree and rendered in one pass: what a value holds is data
 * and never read as template. Rendering is thread-safe.
 */
#ifndef CM_JOBS_TEMPLATE_H
#define CM_JOBS_TEMPLATE_H

#include "base/status.h"
#include "base/text.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

enum {
    CM_TEMPLATE_BYTES_MAX = 64 * 1024, /* of a template file */
    CM_TEMPLATE_NESTING_MAX = 8,
    CM_TEMPLATE_NODES_MAX = 4096,
    CM_TEMPLATE_SECTIONS_MAX = 64,
    CM_TEMPLATE_NAME_BYTES_MAX = 128,
};

enum cm_template_role { CM_TEMPLATE_SYSTEM, CM_TEMPLATE_USER };

struct cm_template;

/* Parses `source`, which is copied; `name` stands in messages: "name:line: what was expected".
 * CM_INVALID_DATA, CM_LIMIT, CM_OUT_OF_MEMORY. */
enum cm_status cm_template_parse(const char *name, struct cm_span source,
                                 struct cm_template **template,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_template_close(struct cm_template *template);

struct cm_template_data {
    const struct cm_item *item;
    const struct cm_segment *segment;
    const char *language; /* "zh", "pt-br": chooses the section and the wording of facts */
    const struct cm_question *question; /* NULL: none, and its values are empty */
    const char *format;                 /* what the channel asks for, a line each; NULL: nothing */
};

/* Appends the section of `role` for the data's language ("pt-br", then "pt", then the default);
 * nothing where the template has none. CM_LIMIT past the text's maximum, CM_OUT_OF_MEMORY. */
enum cm_status cm_template_render(const struct cm_template *template, enum cm_template_role role,
                                  const struct cm_template_data *data,
                                  struct cm_text *text) CM_MUST_CHECK;

/* The source as it was given but for a byte order mark, for hashing. */
struct cm_span cm_template_source(const struct cm_template *template);

#endif
