/* Numbers written as words: six, twenty-five, 六, 二十五. In English "one" is no number here, being
 * a pronoun, nor are ordinals; Chinese numerals count only before a measure word or a unit (六件,
 * 五米), since they are parts of many words (百搭, 十分). */
#ifndef CM_JOBS_NUMBER_WORDS_H
#define CM_JOBS_NUMBER_WORDS_H

#include "base/text.h"
#include "jobs/word_walk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The words of English that a number consists of, each a bit of a set. */
extern const struct cm_word_list cm_number_words;

/* The words that a number is read as: 25 is {twenty, five}, 12 is {twelve, dozen}. */
uint64_t cm_number_words_of(uint64_t number);

bool cm_is_chinese_numeral(int32_t character);
bool cm_is_measure_word(int32_t character);

/* How a number is written in Chinese numerals: at most CM_CHINESE_SPELLINGS ways, of which those
 * past the first are with 两 for 二. Zero for numbers past 99,999. */
enum { CM_CHINESE_SPELLINGS = 2 };
size_t cm_chinese_spellings(uint64_t number, char out[CM_CHINESE_SPELLINGS][CM_WALK_BYTES]);

/* The next number in words from `*at` on, which moves past it; false where there is none. */
bool cm_number_words_next(struct cm_span text, size_t *at, uint64_t *number);

#endif
