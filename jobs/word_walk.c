#include "jobs/word_walk.h"

#include <string.h>

#include <utf8proc.h>

/* The first word that begins with what was walked, and how many bytes that is. */
uint32_t cm_walk_states(const struct cm_word_list *list)
{
    return list->count == 0 ? 1 : list->count * CM_WALK_BYTES;
}

/* Whether a word comes before all that begin with `length` bytes of `start` and `byte`. */
static bool is_before(const char *word, const char *start, uint32_t length, uint8_t byte)
{
    int order = strncmp(word, start, length);
    return order != 0 ? order < 0 : (uint8_t)word[length] < byte;
}

static bool next_byte(const struct cm_word_list *list, uint32_t *state, uint8_t byte)
{
    uint32_t low = *state / CM_WALK_BYTES;
    uint32_t length = *state % CM_WALK_BYTES;
    uint32_t high = list->count;
    if (low >= high) {
        return false;
    }
    const char *start = list->words[low];
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (is_before(list->words[middle], start, length, byte)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < list->count && strncmp(list->words[low], start, length) == 0 &&
                    (uint8_t)list->words[low][length] == byte;
    *state = is_found ? low * CM_WALK_BYTES + length + 1 : *state;
    return is_found;
}

bool cm_walk_next(const struct cm_word_list *list, uint32_t *state, int32_t character)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t count = utf8proc_encode_char(character, bytes);
    uint32_t next = *state;
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        if (bytes[i] == '\0' || !next_byte(list, &next, bytes[i])) {
            return false;
        }
    }
    *state = next;
    return count > 0;
}

int32_t cm_walk_word(const struct cm_word_list *list, uint32_t state)
{
    uint32_t first = state / CM_WALK_BYTES;
    bool ends =
        first < list->count && state > 0 && list->words[first][state % CM_WALK_BYTES] == '\0';
    return ends ? (int32_t)first : -1;
}

/* Of the words that begin alike, the shortest is the first. */
bool cm_walk_goes_on(const struct cm_word_list *list, uint32_t state)
{
    uint32_t first = state / CM_WALK_BYTES;
    uint32_t length = state % CM_WALK_BYTES;
    if (first >= list->count || list->words[first][length] != '\0') {
        return first < list->count;
    }
    return first + 1 < list->count &&
           strncmp(list->words[first + 1], list->words[first], length) == 0;
}
