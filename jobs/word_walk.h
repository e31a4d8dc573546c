/* A walk along the letters of words in a sorted list, one character at a time, whose state is one
 * number: for automata. */
#ifndef CM_JOBS_WORD_WALK_H
#define CM_JOBS_WORD_WALK_H

#include <stdbool.h>
#include <stdint.h>

enum { CM_WALK_BYTES = 32 }; /* of the longest word and its end */

/* The words rise in the order of strcmp and are shorter than CM_WALK_BYTES. */
struct cm_word_list {
    const char *const *words;
    uint32_t count;
};

/* A state is below cm_walk_states. The walk begins at 0. */
uint32_t cm_walk_states(const struct cm_word_list *list);

/* Goes on by a character; false, and the state is as it was, where no word does. */
bool cm_walk_next(const struct cm_word_list *list, uint32_t *state, int32_t character);

/* The word that ends here, or -1. */
int32_t cm_walk_word(const struct cm_word_list *list, uint32_t state);

/* Whether longer words go on from here. */
bool cm_walk_goes_on(const struct cm_word_list *list, uint32_t state);

#endif
