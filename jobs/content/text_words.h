/* The words of a text with where they stand: runs of letters and digits, and each ideograph (or
 * character of another script without spaces) alone. Read from its plain text, so case, width and
 * traditional forms make no difference. */
#ifndef CM_JOBS_CONTENT_TEXT_WORDS_H
#define CM_JOBS_CONTENT_TEXT_WORDS_H

#include "base/status.h"
#include "jobs/content/plain_text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_text_word {
    uint64_t hash;  /* of the word */
    uint64_t stem;  /* of the word without an English ending: "washable" and "wash" have one */
    uint32_t begin; /* bytes in the text */
    uint32_t end;
    bool alone;  /* one character of a script without spaces */
    bool common; /* an article, preposition, pronoun ...: says nothing by itself */
    bool ends_sentence;
};

/* Zero-initialise; release with cm_text_words_deinit. Can be filled again and again. */
struct cm_text_words {
    struct cm_text_word *items;
    size_t count;
    size_t capacity;
};

void cm_text_words_deinit(struct cm_text_words *words);

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_text_words_fill(struct cm_text_words *words,
                                  const struct cm_plain_text *plain) CM_MUST_CHECK;

/* A set of hashes of words and, for scripts without spaces, of pairs of characters that follow one
 * another: what two texts have in common is told by it. Zero-initialise; release with deinit. */
struct cm_word_set {
    uint64_t *hashes;
    size_t count;
    size_t capacity;
    bool sorted;
};

void cm_word_set_deinit(struct cm_word_set *set);
void cm_word_set_clear(struct cm_word_set *set);

/* Adds the stems of all words that say something, and pairs. CM_OUT_OF_MEMORY. */
enum cm_status cm_word_set_add(struct cm_word_set *set,
                               const struct cm_text_words *words) CM_MUST_CHECK;
void cm_word_set_sort(struct cm_word_set *set); /* before the first question, drops doubles */
bool cm_word_set_holds(const struct cm_word_set *set, uint64_t hash);

/* The next unit of meaning from word `*at` on: a word that says something, or a pair of characters.
 * `*at` moves past it (pairs overlap by one). False at the end. */
struct cm_text_unit {
    uint64_t hash;
    uint32_t begin;
    uint32_t end;
};
bool cm_text_unit_next(const struct cm_text_words *words, size_t *at, struct cm_text_unit *unit);

/* How much of the units in `words` the set holds, 0 to 1; 1 where there are none. */
double cm_word_set_share(const struct cm_word_set *set, const struct cm_text_words *words);

#endif
