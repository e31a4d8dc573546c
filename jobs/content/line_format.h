/* The lines of a channel as an automaton over bytes: each begins with its label, holds something,
 * is no longer than its limit (and one character more, so that it is noticed and cut at a word),
 * and holds none of the ASCII characters that the channel bans. So even a small model that does not
 * follow instructions fills in the form. */
#ifndef CM_JOBS_CONTENT_LINE_FORMAT_H
#define CM_JOBS_CONTENT_LINE_FORMAT_H

#include "base/status.h"
#include "host/constraint.h"
#include "jobs/content/channel.h"

struct cm_line_format;

/* NULL in *format where the channel asks for no lines in this scenario. `channel` must outlive it.
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_line_format_open(const struct cm_channel *channel, const char *scenario,
                                   const char *language,
                                   struct cm_line_format **format) CM_MUST_CHECK;
void cm_line_format_close(struct cm_line_format *format); /* NULL is fine */

/* Borrows the format. States are below CM_LINE_FORMAT_STATES. */
enum { CM_LINE_FORMAT_STATES = 64 * 1024 };
struct cm_automaton cm_line_format_automaton(const struct cm_line_format *format);

#endif
