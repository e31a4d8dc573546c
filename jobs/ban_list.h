/* Banned words: a list that no text may hold, in whatever tokens it is written.
 *
 * The file has one word or phrase a line, UTF-8; empty lines and lines that begin with # are left
 * out. ASCII letters match in either case. A word that begins with an ASCII letter or digit is only
 * banned where a word begins, so "ban" does not reach into "urban"; one of three or fewer letters
 * also only where a word ends, so "top" leaves "topping" alone, while "best" takes "bestseller"
 * with it. Other scripts, which write no spaces, match anywhere.
 *
 * An Aho-Corasick automaton (Aho and Corasick 1975) over bytes, with one more symbol for the border
 * of a word.
 */
#ifndef CM_JOBS_BAN_LIST_H
#define CM_JOBS_BAN_LIST_H

#include "base/hash.h"
#include "base/status.h"
#include "host/constraint.h"

enum { CM_BAN_WORDS_MAX = 20000, CM_BAN_WORD_BYTES_MAX = 256 };

struct cm_ban_list;

/* CM_NOT_FOUND, CM_IO, CM_INVALID_DATA (with file and line), CM_LIMIT, CM_OUT_OF_MEMORY. */
enum cm_status cm_ban_list_open(const char *path, struct cm_ban_list **list,
                                struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_ban_list_parse(struct cm_span text, const char *name, struct cm_ban_list **list,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_ban_list_close(struct cm_ban_list *list);

uint32_t cm_ban_list_states(const struct cm_ban_list *list); /* those of its automaton are below */
size_t cm_ban_list_count(const struct cm_ban_list *list);

/* Adds what decides which texts are possible. */
void cm_ban_list_hash(const struct cm_ban_list *list, struct cm_hash *hash);

/* Borrows the list. */
struct cm_automaton cm_ban_list_automaton(const struct cm_ban_list *list);

#endif
