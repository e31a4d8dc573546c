/* The fact lock: a text may only write numbers that its facts hold.
 *
 * The facts' numbers, in every usual spelling ("1299", "1,299", "1299.00"), make a trie of digits
 * and separators; the automaton walks it character by character, digits and signs of every script
 * included. A number must be followed to a place where one ends: with the facts "12 cm" and "50%",
 * neither "125" nor "12.5" nor "50" nor "12 oz" can be written, "12 cm, and 50%" can. Numbers as
 * words are free unless the lock is asked to hold them too (number_words.h).
 */
#ifndef CM_JOBS_FACT_LOCK_H
#define CM_JOBS_FACT_LOCK_H

#include "base/status.h"
#include "host/constraint.h"
#include "jobs/fact_numbers.h"

/* The tokens that matter to every fact lock. CM_OUT_OF_MEMORY. */
enum cm_status cm_fact_lock_tokens(const struct cm_tokenizer *tokenizer,
                                   struct cm_token_subset **subset) CM_MUST_CHECK;

/* A lock on the numbers of the sources. `subset` must outlive it. */
enum cm_status cm_fact_lock_open(const struct cm_fact_sources *sources, bool with_words,
                                 const struct cm_token_subset *subset,
                                 struct cm_constraint **lock) CM_MUST_CHECK;

/* The automaton alone, over the numbers in `facts`; cm_fact_lock_free releases its context. For
 * tests. */
enum cm_status cm_fact_lock_compile(const char *const *facts, size_t facts_count, bool with_words,
                                    struct cm_automaton *automaton) CM_MUST_CHECK;
void cm_fact_lock_free(void *context);

#endif
