/* The fact lock: a text may only write numbers that its facts hold.
 *
 * The facts' numbers, in every usual spelling ("1299", "1,299", "1299.00"), make a trie of digits
 * and separators; the automaton walks it byte by byte, full-width digits and signs included. A
 * number must be followed to a place where one ends: with the facts "12" and "50%", neither "125"
 * nor "12.5" nor "50" can be written, "12, and 50%" can.
 */
#ifndef CM_JOBS_FACT_LOCK_H
#define CM_JOBS_FACT_LOCK_H

#include "base/status.h"
#include "host/constraint.h"
#include "jobs/fact_numbers.h"

/* The bytes that matter to every fact lock, for cm_token_subset_open. */
extern const bool cm_fact_lock_relevant[256];

/* A lock on the numbers of the sources. `subset` must outlive it. */
enum cm_status cm_fact_lock_open(const struct cm_fact_sources *sources,
                                 const struct cm_token_subset *subset,
                                 struct cm_constraint **lock) CM_MUST_CHECK;

/* The automaton alone, over the numbers in `facts`; free_context releases automaton->context. For
 * tests. */
enum cm_status cm_fact_lock_compile(const char *const *facts, size_t facts_count,
                                    struct cm_automaton *automaton) CM_MUST_CHECK;
void cm_fact_lock_free(void *context);

#endif
