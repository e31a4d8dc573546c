/* The fact lock's automaton: a trie of the numbers that a text may write, walked character by
 * character; behind a number its unit is read, and with words on also numbers written as words.
 * What a text may write is put in by fact_lock.c. */
#ifndef CM_JOBS_NUMBER_AUTOMATON_H
#define CM_JOBS_NUMBER_AUTOMATON_H

#include "base/status.h"
#include "host/constraint.h"
#include "jobs/number_signs.h"
#include "jobs/word_walk.h"

enum { CM_NUMBER_NODES_MAX = 1 << 18, CM_UNIT_SETS_MAX = 16, CM_CHINESE_NUMBERS_MAX = 2048 };

/* The first nodes are no part of a number. */
enum {
    CM_NODE_OUTSIDE,
    CM_NODE_AFTER_SEPARATOR,
    CM_NODE_IN_WORD, /* with words on: inside a word that is no number */
    CM_NODE_ROOT,
    CM_NODES_FIXED
};

struct cm_number_node {
    uint32_t children[CM_SIGN_COUNT]; /* 0: none */
    bool may_end; /* a number of the facts ends here, or ended before a separator */
    uint8_t unit_set;
};

struct cm_number_lock {
    struct cm_number_node *nodes;
    size_t nodes_count;
    size_t nodes_capacity;
    uint64_t unit_sets[CM_UNIT_SETS_MAX]; /* the first holds all units: nothing to look at */
    uint32_t unit_sets_count;
    int32_t *numerals; /* characters that are a number, and in the facts */
    size_t numerals_count;
    size_t numerals_capacity;

    bool with_words;
    bool has_percent;            /* percentages in words */
    uint64_t words;              /* of cm_number_words */
    struct cm_word_list chinese; /* numerals that may stand before a measure word */
    const char **chinese_words;  /* what it lists */
    char (*chinese_text)[CM_WALK_BYTES];
};

/* CM_OUT_OF_MEMORY; the lock lets no number through. */
enum cm_status cm_number_lock_open(bool with_words, struct cm_number_lock **lock) CM_MUST_CHECK;
void cm_number_lock_close(struct cm_number_lock *lock); /* NULL is fine */

/* Adds one spelling, of the characters of a number, and the units that may follow. Spellings past
 * CM_NUMBER_NODES_MAX nodes are left out: they cannot be written. */
enum cm_status cm_number_lock_add(struct cm_number_lock *lock, const char *spelling,
                                  uint64_t units) CM_MUST_CHECK;

/* After the last spelling: a separator after a whole number may be the sentence's. */
void cm_number_lock_finish(struct cm_number_lock *lock);

/* Borrows the lock. */
struct cm_automaton cm_number_lock_automaton(const struct cm_number_lock *lock);

#endif
