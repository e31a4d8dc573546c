#include "jobs/fact_lock.h"

#include "base/memory.h"
#include "jobs/number_automaton.h"
#include "jobs/number_words.h"
#include "jobs/numbers.h"
#include "jobs/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Spellings --- */

/* "1299" as "1,299"; false where there are no thousands. */
static bool group_thousands(const char *whole, char *out)
{
    size_t length = strlen(whole);
    size_t written = 0;
    for (size_t i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            out[written++] = ',';
        }
        out[written++] = whole[i];
    }
    out[written] = '\0';
    return length > 3;
}

enum { SPELLING_BYTES = 2 * CM_NUMBER_BYTES };

/* One whole part with each usual writing of the fraction. */
static enum cm_status add_fractions(struct cm_number_lock *lock, const char *whole,
                                    const char *fraction, bool percent, uint64_t units)
{
    static const char *const separators[] = { ".", "," };
    const char *sign = percent ? "%" : "";
    char spelling[SPELLING_BYTES + 8];
    enum cm_status status = CM_OK;
    if (fraction[0] == '\0') {
        snprintf(spelling, sizeof spelling, "%s%s", whole, sign);
        status = cm_number_lock_add(lock, spelling, units);
        fraction = "00";
    }
    for (size_t i = 0; i < 2 && status == CM_OK; i++) {
        snprintf(spelling, sizeof spelling, "%s%s%s%s", whole, separators[i], fraction, sign);
        status = cm_number_lock_add(lock, spelling, units);
        if (status == CM_OK && strlen(fraction) == 1) {
            snprintf(spelling, sizeof spelling, "%s%s%s0%s", whole, separators[i], fraction, sign);
            status = cm_number_lock_add(lock, spelling, units);
        }
    }
    return status;
}

static enum cm_status add_key(struct cm_number_lock *lock, const struct cm_number_key *key)
{
    char whole[CM_NUMBER_BYTES];
    char grouped[SPELLING_BYTES];
    snprintf(whole, sizeof whole, "%s", key->text);
    bool percent = whole[strlen(whole) - 1] == '%';
    uint64_t units = percent ? UINT64_MAX : key->units;
    whole[strcspn(whole, "%")] = '\0';
    char *point = strchr(whole, '.');
    const char *fraction = point != NULL ? point + 1 : "";
    if (point != NULL) {
        *point = '\0';
    }
    enum cm_status status = add_fractions(lock, whole, fraction, percent, units);
    if (status == CM_OK && group_thousands(whole, grouped)) {
        status = add_fractions(lock, grouped, fraction, percent, units);
    }
    return status;
}

/* A character that is a number by itself: "½". */
static enum cm_status add_numeral(struct cm_number_lock *lock, const char *key)
{
    size_t bytes;
    void *block = lock->numerals;
    enum cm_status status =
        cm_grow(&block, &lock->numerals_capacity, lock->numerals_count + 1, sizeof *lock->numerals);
    lock->numerals = block;
    if (status == CM_OK) {
        lock->numerals[lock->numerals_count++] = cm_character_at(cm_span_of(key), 0, &bytes);
    }
    return status;
}

static enum cm_status add_numbers(struct cm_number_lock *lock, const struct cm_numbers *numbers)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < numbers->count && status == CM_OK; i++) {
        const struct cm_number_key *key = &numbers->keys[i];
        bool is_digits = key->text[0] >= '0' && key->text[0] <= '9';
        status = is_digits ? add_key(lock, key) : add_numeral(lock, key->text);
    }
    return status;
}

/* --- Words --- */

enum { WORDS_DIGITS_MAX = 11 };

static int compare_words(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The numerals of all whole numbers, sorted for the walk; 一, which is "a" as well, is always
 * there.
 */
static enum cm_status add_words(struct cm_number_lock *lock, const struct cm_numbers *numbers)
{
    size_t numbers_count =
        numbers->count + 1 < CM_CHINESE_NUMBERS_MAX ? numbers->count + 1 : CM_CHINESE_NUMBERS_MAX;
    size_t room = numbers_count * CM_CHINESE_SPELLINGS;
    lock->chinese_text = cm_alloc(room, sizeof *lock->chinese_text);
    lock->chinese_words = cm_alloc(room, sizeof *lock->chinese_words);
    if (lock->chinese_text == NULL || lock->chinese_words == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    size_t count = cm_chinese_spellings(1, lock->chinese_text);
    for (size_t i = 0; i < numbers->count; i++) {
        const char *text = numbers->keys[i].text;
        size_t length = strlen(text);
        lock->has_percent = lock->has_percent || text[length - 1] == '%';
        if (strspn(text, "0123456789") != length || length > WORDS_DIGITS_MAX) {
            continue;
        }
        uint64_t number = strtoull(text, NULL, 10);
        lock->words |= cm_number_words_of(number);
        if (count + CM_CHINESE_SPELLINGS <= room) {
            count += cm_chinese_spellings(number, lock->chinese_text + count);
        }
    }
    for (size_t i = 0; i < count; i++) {
        lock->chinese_words[i] = lock->chinese_text[i];
    }
    qsort(lock->chinese_words, count, sizeof *lock->chinese_words, compare_words);
    lock->chinese = (struct cm_word_list){ lock->chinese_words, (uint32_t)count };
    return CM_OK;
}

/* --- Compiling --- */

static enum cm_status compile(const struct cm_numbers *numbers, bool with_words,
                              struct cm_automaton *automaton)
{
    struct cm_number_lock *lock = NULL;
    enum cm_status status = cm_number_lock_open(with_words, &lock);
    if (status == CM_OK) {
        status = add_numbers(lock, numbers);
    }
    if (status == CM_OK && with_words) {
        status = add_words(lock, numbers);
    }
    if (status != CM_OK) {
        cm_number_lock_close(lock);
        return status;
    }
    cm_number_lock_finish(lock);
    *automaton = cm_number_lock_automaton(lock);
    return CM_OK;
}

void cm_fact_lock_free(void *context)
{
    cm_number_lock_close(context);
}

enum cm_status cm_fact_lock_tokens(const struct cm_tokenizer *tokenizer,
                                   struct cm_token_subset **subset)
{
    return cm_token_subset_open(tokenizer, cm_number_sign_leads, cm_unit_may_begin, subset);
}

enum cm_status cm_fact_lock_compile(const char *const *facts, size_t facts_count, bool with_words,
                                    struct cm_automaton *automaton)
{
    struct cm_numbers numbers = { 0 };
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < facts_count && status == CM_OK; i++) {
        status = cm_numbers_add(&numbers, cm_span_of(facts[i]));
    }
    if (status == CM_OK) {
        status = compile(&numbers, with_words, automaton);
    }
    cm_numbers_deinit(&numbers);
    return status;
}

enum cm_status cm_fact_lock_open(const struct cm_fact_sources *sources, bool with_words,
                                 const struct cm_token_subset *subset, struct cm_constraint **lock)
{
    struct cm_numbers numbers = { 0 };
    struct cm_automaton automaton;
    enum cm_status status = cm_fact_numbers_add(&numbers, sources);
    if (status == CM_OK) {
        status = compile(&numbers, with_words, &automaton);
    }
    if (status == CM_OK) {
        status = cm_constraint_open(&automaton, subset, cm_fact_lock_free, lock);
    }
    cm_numbers_deinit(&numbers);
    return status;
}
