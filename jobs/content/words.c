#include "jobs/content/words.h"

#include <utf8proc.h>

/* The finaliser of SplitMix64 (Steele, Lea and Flood 2014). */
uint64_t cm_words_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return x ^ (x >> 31);
}

static bool is_word_alone(int32_t character)
{
    return (character >= 0x3040 && character <= 0x30FF) ||
           (character >= 0x3400 && character <= 0x9FFF) ||
           (character >= 0xAC00 && character <= 0xD7AF) ||
           (character >= 0xF900 && character <= 0xFAFF) ||
           (character >= 0x20000 && character <= 0x323AF);
}

static bool is_word_character(int32_t character)
{
    utf8proc_category_t category = utf8proc_category(character);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

static int32_t next_character(struct cm_words *words)
{
    utf8proc_int32_t character;
    utf8proc_ssize_t bytes =
        utf8proc_iterate((const utf8proc_uint8_t *)words->text.data + words->at,
                         (utf8proc_ssize_t)(words->text.length - words->at), &character);
    if (bytes <= 0) {
        words->at++;
        return ' ';
    }
    words->at += (size_t)bytes;
    if (character > 0xFF00 && character <= 0xFF5E) {
        character = character - 0xFF00 + 0x20; /* full width */
    }
    return utf8proc_tolower(character);
}

bool cm_words_next(struct cm_words *words, uint64_t *hash)
{
    enum { SINGULAR_LETTERS_MIN = 4 };
    uint64_t before_last = 0; /* the hash without the last character */
    int32_t last = 0;
    size_t letters = 0;
    *hash = 0;
    while (words->at < words->text.length) {
        size_t begin = words->at;
        int32_t character = next_character(words);
        if (is_word_alone(character)) {
            if (letters > 0) {
                words->at = begin;
                break;
            }
            words->begin = begin;
            words->end = words->at;
            *hash = cm_words_mix((uint64_t)character + 1);
            return true;
        }
        if (is_word_character(character)) {
            words->begin = letters == 0 ? begin : words->begin;
            words->end = words->at;
            before_last = *hash;
            *hash = cm_words_mix(*hash ^ ((uint64_t)character + 1));
            last = character;
            letters++;
        } else if (letters > 0) {
            break;
        }
    }
    if (words->singular && last == 's' && letters >= SINGULAR_LETTERS_MIN) {
        *hash = before_last;
    }
    return letters > 0;
}
