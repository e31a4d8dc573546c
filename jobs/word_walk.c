#include "jobs/word_walk.h"

#include <string.h>

#include <utf8proc.h>

/* The first word that begins with what was walked, and how many bytes that is. */
uint32_t cm_walk_states(const struct cm_word_list *list)
{
    return list->count == 0 ? 1 : list->count * CM_WALK_BYTES;
}

static bool next_byte(const struct cm_word_list *list, uint32_t *state, uint8_t byte)
{
    uint32_t first = *state / CM_WALK_BYTES;
    uint32_t length = *state % CM_WALK_BYTES;
    for (uint32_t i = first; i < list->count; i++) {
        if (strncmp(list->words[i], list->words[first], length) != 0) {
            return false;
        }
        if ((uint8_t)list->words[i][length] == byte) {
            *state = i * CM_WALK_BYTES + length + 1;
            return true;
        }
    }
    return false;
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
