#include "jobs/ban_list.h"

#include "base/memory.h"
#include "loaders/file_map.h"

#include <ctype.h>
#include <string.h>

enum {
    SYMBOLS = 257, /* the bytes and the border of a word */
    SYMBOL_BORDER = 256,
    SHORT_WORD_LETTERS = 3, /* up to here a word must also end where the banned one does */
};

struct cm_ban_list {
    /* The trie, then the automaton: for each state and symbol the next state. */
    uint32_t (*next)[SYMBOLS];
    bool *banned; /* [states_count] a word ends here, or in a suffix of here */
    size_t next_capacity;
    size_t banned_capacity;
    uint32_t states_count;
    size_t words_count;
    bool relevant[256];
    struct cm_hash *hash;
    uint8_t digest[CM_SHA256_BYTES]; /* of the words in their order */
};

/* --- The trie --- */

static bool is_word_byte(uint8_t byte)
{
    return byte < 0x80 && isalnum(byte);
}

static enum cm_status add_state(struct cm_ban_list *list, uint32_t *state)
{
    void *next = list->next;
    void *banned = list->banned;
    enum cm_status status =
        cm_grow(&next, &list->next_capacity, list->states_count + 1, sizeof *list->next);
    list->next = next;
    if (status == CM_OK) {
        status =
            cm_grow(&banned, &list->banned_capacity, list->states_count + 1, sizeof *list->banned);
        list->banned = banned;
    }
    if (status == CM_OK) {
        *state = list->states_count++;
        memset(list->next[*state], 0, sizeof list->next[*state]);
        list->banned[*state] = false;
    }
    return status;
}

static enum cm_status follow(struct cm_ban_list *list, uint32_t *state, uint32_t symbol)
{
    uint32_t child = list->next[*state][symbol];
    if (child == 0) {
        enum cm_status status = add_state(list, &child);
        if (status != CM_OK) {
            return status;
        }
        list->next[*state][symbol] = child;
    }
    *state = child;
    return CM_OK;
}

/* The symbols that a text with this word in it gives, borders included. */
static enum cm_status add_word(struct cm_ban_list *list, struct cm_span word)
{
    uint32_t state = 0;
    bool in_word = false;
    size_t letters_count = 0;
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < word.length && status == CM_OK; i++) {
        uint8_t byte = (uint8_t)word.data[i];
        bool is_word = is_word_byte(byte);
        if (is_word != in_word) {
            status = follow(list, &state, SYMBOL_BORDER);
        }
        in_word = is_word;
        letters_count += is_word;
        if (status == CM_OK) {
            uint8_t folded = (uint8_t)(byte < 0x80 ? tolower(byte) : byte);
            status = follow(list, &state, folded);
        }
        list->relevant[byte] = true;
    }
    if (status == CM_OK && in_word && letters_count == word.length &&
        letters_count <= SHORT_WORD_LETTERS) {
        status = follow(list, &state, SYMBOL_BORDER);
    }
    if (status == CM_OK) {
        list->banned[state] = true;
        list->words_count++;
        cm_hash_field(list->hash, word);
    }
    return status;
}

/* --- The automaton --- */

/* Breadth first: a state's missing symbols go where its longest proper suffix goes. */
static enum cm_status link_states(struct cm_ban_list *list)
{
    uint32_t *suffix = cm_alloc(list->states_count, sizeof *suffix);
    uint32_t *order = cm_alloc(list->states_count, sizeof *order);
    uint32_t order_count = 0;
    if (suffix == NULL || order == NULL) {
        cm_free(suffix);
        cm_free(order);
        return CM_OUT_OF_MEMORY;
    }
    for (uint32_t symbol = 0; symbol < SYMBOLS; symbol++) {
        if (list->next[0][symbol] != 0) {
            order[order_count++] = list->next[0][symbol];
        }
    }
    for (uint32_t i = 0; i < order_count; i++) {
        uint32_t state = order[i];
        list->banned[state] = list->banned[state] || list->banned[suffix[state]];
        for (uint32_t symbol = 0; symbol < SYMBOLS; symbol++) {
            uint32_t child = list->next[state][symbol];
            uint32_t of_suffix = list->next[suffix[state]][symbol];
            if (child != 0) {
                suffix[child] = of_suffix;
                order[order_count++] = child;
            } else {
                list->next[state][symbol] = of_suffix;
            }
        }
    }
    cm_free(suffix);
    cm_free(order);
    return CM_OK;
}

/* A state of the text: the automaton's, and whether the last byte belongs to a word. */
static uint32_t text_state(uint32_t state, bool in_word)
{
    return 2 * state + in_word;
}

static uint32_t next_state(const void *context, uint32_t state, uint8_t byte)
{
    const struct cm_ban_list *list = context;
    bool in_word = state % 2 != 0;
    bool is_word = is_word_byte(byte);
    state /= 2;
    if (is_word != in_word) {
        state = list->next[state][SYMBOL_BORDER];
        if (list->banned[state]) {
            return CM_AUTOMATON_DEAD;
        }
    }
    state = list->next[state][byte < 0x80 ? tolower(byte) : byte];
    return list->banned[state] ? CM_AUTOMATON_DEAD : text_state(state, is_word);
}

static bool may_end(const void *context, uint32_t state)
{
    const struct cm_ban_list *list = context;
    return state % 2 == 0 || !list->banned[list->next[state / 2][SYMBOL_BORDER]];
}

struct cm_automaton cm_ban_list_automaton(const struct cm_ban_list *list)
{
    struct cm_automaton automaton = {
        .context = list,
        .start = text_state(0, false),
        .next = next_state,
        .may_end = may_end,
    };
    memcpy(automaton.relevant, list->relevant, sizeof automaton.relevant);
    return automaton;
}

/* --- Reading --- */

/* Letters move words across a border, so all of them matter, in both cases. */
static void mark_letters(struct cm_ban_list *list)
{
    for (int byte = 0; byte < 0x80; byte++) {
        list->relevant[byte] = list->relevant[byte] || isalnum(byte);
    }
}

static enum cm_status add_line(struct cm_ban_list *list, struct cm_span line, const char *name,
                               uint64_t line_number, struct cm_error *error)
{
    struct cm_span word = cm_span_trim(line);
    if (word.length == 0 || word.data[0] == '#') {
        return CM_OK;
    }
    if (word.length > CM_BAN_WORD_BYTES_MAX || list->words_count == CM_BAN_WORDS_MAX) {
        return cm_error_set(
            error, CM_LIMIT, "%s:%llu: at most %d banned words of at most %d bytes each", name,
            (unsigned long long)line_number, CM_BAN_WORDS_MAX, CM_BAN_WORD_BYTES_MAX);
    }
    enum cm_status status = add_word(list, word);
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "%s: out of memory", name);
}

enum cm_status cm_ban_list_parse(struct cm_span text, const char *name, struct cm_ban_list **list,
                                 struct cm_error *error)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    struct cm_ban_list *opened = cm_alloc(1, sizeof *opened);
    uint32_t root;
    if (opened == NULL || cm_hash_open(&opened->hash) != CM_OK ||
        add_state(opened, &root) != CM_OK) {
        cm_ban_list_close(opened);
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", name);
    }
    if (text.length >= 3 && memcmp(text.data, byte_order_mark, 3) == 0) {
        text = (struct cm_span){ text.data + 3, text.length - 3 };
    }
    enum cm_status status = CM_OK;
    for (uint64_t line_number = 1; text.length > 0 && status == CM_OK; line_number++) {
        const char *end = memchr(text.data, '\n', text.length);
        size_t length = end != NULL ? (size_t)(end - text.data) : text.length;
        status = add_line(opened, (struct cm_span){ text.data, length }, name, line_number, error);
        length += end != NULL;
        text = (struct cm_span){ text.data + length, text.length - length };
    }
    if (status == CM_OK && opened->words_count == 0) {
        status = cm_error_set(error, CM_INVALID_DATA, "%s: holds no word; write one a line", name);
    }
    if (status == CM_OK && link_states(opened) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", name);
    }
    if (status != CM_OK) {
        cm_ban_list_close(opened);
        return status;
    }
    mark_letters(opened);
    cm_hash_digest(opened->hash, opened->digest);
    *list = opened;
    return CM_OK;
}

enum cm_status cm_ban_list_open(const char *path, struct cm_ban_list **list, struct cm_error *error)
{
    struct cm_file_map *map = NULL;
    enum cm_status status = cm_file_map_open(path, &map, error);
    if (status == CM_OK) {
        struct cm_span text = { (const char *)cm_file_map_data(map), cm_file_map_bytes(map) };
        status = cm_ban_list_parse(text, path, list, error);
    }
    cm_file_map_close(map);
    return status;
}

void cm_ban_list_close(struct cm_ban_list *list)
{
    if (list != NULL) {
        cm_free(list->next);
        cm_free(list->banned);
        cm_hash_close(list->hash);
        cm_free(list);
    }
}

uint32_t cm_ban_list_states(const struct cm_ban_list *list)
{
    return 2 * list->states_count;
}

size_t cm_ban_list_count(const struct cm_ban_list *list)
{
    return list->words_count;
}

void cm_ban_list_hash(const struct cm_ban_list *list, struct cm_hash *hash)
{
    cm_hash_bytes(hash, list->digest, sizeof list->digest);
}
