#include "jobs/repetition.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdlib.h>

#include <utf8proc.h>

enum { PHRASE_WORDS = 4, PHRASES_MIN = 12, SENTENCE_WORDS_MIN = 4, CLAUSE_HALVES_MIN = 2 };

struct word {
    uint64_t hash; /* of the case-folded characters */
    bool alone;    /* one character of a script without spaces */
    bool ends_sentence;
    bool ends_clause;
};

struct word_reader {
    struct cm_span text;
    size_t at;
};

/* FNV-1a; a clash of two words among a few hundred is not to be expected. */
static const uint64_t HASH_START = 0xcbf29ce484222325;

static uint64_t hash_add(uint64_t hash, uint64_t value)
{
    for (int byte = 0; byte < 8; byte++) {
        hash = (hash ^ ((value >> (8 * byte)) & 0xFF)) * 0x100000001b3;
    }
    return hash;
}

/* The next character, 0 at the end. */
static utf8proc_int32_t peek(const struct word_reader *reader, size_t *bytes)
{
    utf8proc_int32_t character = 0;
    *bytes = 0;
    if (reader->at < reader->text.length) {
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)reader->text.data + reader->at,
                             (utf8proc_ssize_t)(reader->text.length - reader->at), &character);
        *bytes = length > 0 ? (size_t)length : 1;
        character = length > 0 ? character : 0xFFFD;
    }
    return character;
}

static bool is_word_character(utf8proc_int32_t character)
{
    utf8proc_category_t category = utf8proc_category(character);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO;
}

static bool stands_alone(utf8proc_int32_t character)
{
    return (character >= 0x0E00 && character <= 0x0E7F) ||
           (character >= 0x3040 && character <= 0x30FF) ||
           (character >= 0x3400 && character <= 0x9FFF) ||
           (character >= 0xF900 && character <= 0xFAFF) || character >= 0x20000;
}

static bool is_stop(utf8proc_int32_t character)
{
    return character == '.' || character == '!' || character == '?' || character == 0x3002 ||
           character == 0xFF01 || character == 0xFF1F || character == '\n' || character == 0x0964;
}

static bool is_pause(utf8proc_int32_t character)
{
    return character == ',' || character == ';' || character == ':' || character == 0x3001 ||
           character == 0xFF0C || character == 0xFF1B || character == 0xFF1A || character == 0x060C;
}

/* False at the end of the text. */
static bool next_word(struct word_reader *reader, struct word *word)
{
    size_t bytes;
    utf8proc_int32_t character;
    while ((character = peek(reader, &bytes)) != 0 && !is_word_character(character)) {
        reader->at += bytes;
    }
    if (bytes == 0 || character == 0) {
        return false;
    }
    *word = (struct word){ .hash = HASH_START, .alone = stands_alone(character) };
    do {
        word->hash = hash_add(word->hash, (uint64_t)utf8proc_tolower(character));
        reader->at += bytes;
        character = peek(reader, &bytes);
    } while (!word->alone && bytes > 0 && is_word_character(character) && !stands_alone(character));
    word->ends_sentence = bytes == 0 || is_stop(character);
    word->ends_clause = word->ends_sentence || is_pause(character);
    return true;
}

uint32_t cm_words_count(struct cm_span text)
{
    struct word_reader reader = { text, 0 };
    struct word word;
    uint32_t halves = 0;
    while (next_word(&reader, &word)) {
        halves += word.alone ? 1 : 2;
    }
    return halves / 2;
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* How many of the hashes came before; sorts them. */
static uint32_t count_repeated(uint64_t *hashes, size_t count)
{
    uint32_t repeated = 0;
    qsort(hashes, count, sizeof *hashes, compare_hashes);
    for (size_t i = 1; i < count; i++) {
        repeated += hashes[i] == hashes[i - 1];
    }
    return repeated;
}

static uint32_t longest_run(const struct word *words, size_t count)
{
    uint32_t longest = 0;
    uint32_t run = 0;
    for (size_t i = 0; i < count; i++) {
        run = i > 0 && words[i].hash == words[i - 1].hash ? run + 1 : 1;
        longest = run > longest ? run : longest;
    }
    return longest;
}

static uint32_t repeated_sentences(const struct word *words, size_t count, uint64_t *hashes)
{
    size_t sentences = 0;
    uint64_t hash = HASH_START;
    uint32_t length = 0;
    for (size_t i = 0; i < count; i++) {
        hash = hash_add(hash, words[i].hash);
        length++;
        if (words[i].ends_sentence) {
            if (length >= SENTENCE_WORDS_MIN) {
                hashes[sentences++] = hash;
            }
            hash = HASH_START;
            length = 0;
        }
    }
    return count_repeated(hashes, sentences);
}

/* "Practical, practical, practical" and longer ones. */
static uint32_t most_repeated_clause(const struct word *words, size_t count, uint64_t *hashes)
{
    size_t clauses = 0;
    uint64_t hash = HASH_START;
    uint32_t length = 0;
    for (size_t i = 0; i < count; i++) {
        hash = hash_add(hash, words[i].hash);
        length += words[i].alone ? 1 : 2;
        if (words[i].ends_clause) {
            if (length >= CLAUSE_HALVES_MIN) {
                hashes[clauses++] = hash;
            }
            hash = HASH_START;
            length = 0;
        }
    }
    uint32_t most = 0;
    uint32_t times = 0;
    qsort(hashes, clauses, sizeof *hashes, compare_hashes);
    for (size_t i = 0; i < clauses; i++) {
        times = i > 0 && hashes[i] == hashes[i - 1] ? times + 1 : 1;
        most = times > most ? times : most;
    }
    return most;
}

static double repeated_phrases(const struct word *words, size_t count, uint64_t *hashes)
{
    if (count < PHRASE_WORDS + PHRASES_MIN - 1) {
        return 0;
    }
    size_t phrases = count - PHRASE_WORDS + 1;
    for (size_t i = 0; i < phrases; i++) {
        hashes[i] = HASH_START;
        for (size_t j = 0; j < PHRASE_WORDS; j++) {
            hashes[i] = hash_add(hashes[i], words[i + j].hash);
        }
    }
    return (double)count_repeated(hashes, phrases) / (double)phrases;
}

enum cm_status cm_repetition_measure(struct cm_span text, struct cm_repetition *repetition)
{
    enum cm_status status = CM_OK;
    struct word *words = cm_alloc(CM_REPETITION_WORDS_MAX, sizeof *words);
    uint64_t *hashes = cm_alloc(CM_REPETITION_WORDS_MAX, sizeof *hashes);
    if (words == NULL || hashes == NULL) {
        status = CM_OUT_OF_MEMORY;
        goto out;
    }
    struct word_reader reader = { text, 0 };
    size_t count = 0;
    while (count < CM_REPETITION_WORDS_MAX && next_word(&reader, &words[count])) {
        count++;
    }
    *repetition = (struct cm_repetition){
        .sentences_repeated = repeated_sentences(words, count, hashes),
        .run_max = longest_run(words, count),
        .clause_max = most_repeated_clause(words, count, hashes),
        .phrases_repeated = repeated_phrases(words, count, hashes),
    };
out:
    cm_free(words);
    cm_free(hashes);
    return status;
}
