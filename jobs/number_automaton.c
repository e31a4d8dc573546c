#include "jobs/number_automaton.h"

#include "base/memory.h"
#include "jobs/number_words.h"
#include "jobs/units.h"

#include <string.h>

enum { PLACE_DEAD = -1 };

/* --- Places ---
 *
 * Where in a text the automaton is: the nodes of the trie; then for each set of units every state
 * of a walk along the units; then the states of walks along the words and the numerals; and two
 * more.
 */
static uint32_t first_unit_place(const struct cm_number_lock *lock)
{
    return (uint32_t)lock->nodes_count;
}

static uint32_t first_word_place(const struct cm_number_lock *lock)
{
    return first_unit_place(lock) + lock->unit_sets_count * cm_walk_states(&cm_units);
}

static uint32_t first_chinese_place(const struct cm_number_lock *lock)
{
    return first_word_place(lock) + cm_walk_states(&cm_number_words);
}

static uint32_t other_numeral_place(const struct cm_number_lock *lock)
{
    return first_chinese_place(lock) + cm_walk_states(&lock->chinese);
}

/* After 百分 or 三分, which 之 makes a percentage or a fraction. */
static uint32_t parts_place(const struct cm_number_lock *lock)
{
    return other_numeral_place(lock) + 1;
}

/* --- Steps; PLACE_DEAD where the character may not stand --- */

static bool is_numeral_allowed(const struct cm_number_lock *lock, int32_t character)
{
    for (size_t i = 0; i < lock->numerals_count; i++) {
        if (lock->numerals[i] == character) {
            return true;
        }
    }
    return false;
}

static int64_t step_numeral(const struct cm_number_lock *lock, uint32_t walk, int32_t character)
{
    return cm_walk_next(&lock->chinese, &walk, character) ? first_chinese_place(lock) + walk
                                                          : other_numeral_place(lock);
}

/* Between numbers, with words on. */
static int64_t step_words(const struct cm_number_lock *lock, bool in_word, int32_t character)
{
    uint32_t walk = 0;
    if (cm_is_chinese_numeral(character)) {
        return step_numeral(lock, 0, character);
    }
    if (!cm_is_word_letter(character)) {
        return CM_NODE_OUTSIDE;
    }
    return !in_word && cm_walk_next(&cm_number_words, &walk, cm_lower_ascii(character))
               ? first_word_place(lock) + walk
               : CM_NODE_IN_WORD;
}

/* Between numbers: a digit begins one, but not right behind a separator. */
static int64_t step_outside(const struct cm_number_lock *lock, uint32_t node, int32_t character)
{
    enum cm_number_sign sign = cm_number_sign_of(character);
    if (sign < CM_SIGN_POINT) {
        uint32_t child = lock->nodes[CM_NODE_ROOT].children[sign];
        return child == 0 || node == CM_NODE_AFTER_SEPARATOR ? PLACE_DEAD : (int64_t)child;
    }
    if (sign == CM_SIGN_PERCENT) {
        return PLACE_DEAD;
    }
    if (sign == CM_SIGN_NUMERAL) {
        return is_numeral_allowed(lock, character) ? CM_NODE_OUTSIDE : PLACE_DEAD;
    }
    return lock->with_words ? step_words(lock, node == CM_NODE_IN_WORD, character)
                            : CM_NODE_OUTSIDE;
}

static bool is_unit_allowed(const struct cm_number_lock *lock, uint32_t set, int32_t spelling)
{
    return cm_unit_allowed(lock->unit_sets[set], cm_unit_of(spelling));
}

/* Only with words on does it matter that a word has begun. */
static int64_t in_word(const struct cm_number_lock *lock)
{
    return lock->with_words ? CM_NODE_IN_WORD : CM_NODE_OUTSIDE;
}

/* A clear unit that is not allowed ends here, one that other words begin with only where it is a
 * whole word. */
static int64_t after_unit(const struct cm_number_lock *lock, uint32_t set, uint32_t walk)
{
    int32_t spelling = cm_walk_word(&cm_units, walk);
    bool is_allowed = is_unit_allowed(lock, set, spelling);
    if (cm_unit_is_clear(spelling) && !is_allowed) {
        return PLACE_DEAD;
    }
    if (is_allowed && !cm_walk_goes_on(&cm_units, walk)) {
        return in_word(lock);
    }
    return first_unit_place(lock) + set * cm_walk_states(&cm_units) + walk;
}

/* Behind a number; `walk` is what was read of a unit. */
static int64_t step_unit(const struct cm_number_lock *lock, uint32_t set, uint32_t walk,
                         int32_t character)
{
    uint32_t next = walk;
    if (walk == 0 && cm_is_unit_gap(character)) {
        return first_unit_place(lock) + set * cm_walk_states(&cm_units);
    }
    if (cm_walk_next(&cm_units, &next, cm_lower_ascii(character))) {
        return after_unit(lock, set, next);
    }
    if (walk > 0 && cm_is_word_letter(character)) {
        return in_word(lock);
    }
    return is_unit_allowed(lock, set, cm_walk_word(&cm_units, walk))
               ? step_outside(lock, CM_NODE_OUTSIDE, character)
               : PLACE_DEAD;
}

static int64_t step_number(const struct cm_number_lock *lock, uint32_t at, int32_t character)
{
    const struct cm_number_node *node = &lock->nodes[at];
    enum cm_number_sign sign = cm_number_sign_of(character);
    uint32_t child = sign < CM_SIGN_COUNT ? node->children[sign] : 0;
    if (child != 0) {
        return child;
    }
    if (sign < CM_SIGN_POINT || sign == CM_SIGN_PERCENT || !node->may_end) {
        return PLACE_DEAD;
    }
    if (sign == CM_SIGN_POINT || sign == CM_SIGN_COMMA || sign == CM_SIGN_APOSTROPHE) {
        return CM_NODE_AFTER_SEPARATOR;
    }
    return node->unit_set != 0 ? step_unit(lock, node->unit_set, 0, character)
                               : step_outside(lock, CM_NODE_OUTSIDE, character);
}

static bool is_word_allowed(const struct cm_number_lock *lock, uint32_t walk)
{
    int32_t word = cm_walk_word(&cm_number_words, walk);
    return word < 0 || (lock->words & (UINT64_C(1) << word)) != 0;
}

static int64_t step_word(const struct cm_number_lock *lock, uint32_t walk, int32_t character)
{
    uint32_t next = walk;
    if (cm_walk_next(&cm_number_words, &next, cm_lower_ascii(character))) {
        return first_word_place(lock) + next;
    }
    if (cm_is_word_letter(character)) {
        return CM_NODE_IN_WORD;
    }
    return is_word_allowed(lock, walk) ? step_outside(lock, CM_NODE_OUTSIDE, character)
                                       : PLACE_DEAD;
}

/* After Chinese numerals; `is_known`: they are a number of the facts. */
static int64_t step_chinese(const struct cm_number_lock *lock, uint32_t place, int32_t character)
{
    enum { FEN = 0x5206, ZHI = 0x4E4B };
    if (place == parts_place(lock)) {
        return character == ZHI && !lock->has_percent
                   ? PLACE_DEAD
                   : step_outside(lock, CM_NODE_OUTSIDE, character);
    }
    bool is_other = place == other_numeral_place(lock);
    uint32_t walk = place - first_chinese_place(lock);
    if (cm_is_chinese_numeral(character)) {
        return is_other ? (int64_t)place : step_numeral(lock, walk, character);
    }
    if (character == FEN) {
        return parts_place(lock);
    }
    bool is_known = !is_other && cm_walk_word(&lock->chinese, walk) >= 0;
    return cm_is_measure_word(character) && !is_known
               ? PLACE_DEAD
               : step_outside(lock, CM_NODE_OUTSIDE, character);
}

static int64_t step(const struct cm_number_lock *lock, uint32_t place, int32_t character)
{
    if (place < CM_NODE_ROOT) {
        return step_outside(lock, place, character);
    }
    if (place < first_unit_place(lock)) {
        return step_number(lock, place, character);
    }
    if (place < first_word_place(lock)) {
        uint32_t at = place - first_unit_place(lock);
        uint32_t states = cm_walk_states(&cm_units);
        return step_unit(lock, at / states, at % states, character);
    }
    return place < first_chinese_place(lock)
               ? step_word(lock, place - first_word_place(lock), character)
               : step_chinese(lock, place, character);
}

/* --- Characters ---
 *
 * A state is a place and what has been read of a character: nothing; the first byte of two; the
 * first or the first two of three; the first, two or three of four, which F0 begins, since no
 * number lies further. */
enum {
    PENDING_2 = 1,
    PENDING_3 = PENDING_2 + 32,
    PENDING_3_2 = PENDING_3 + 16,
    PENDING_4 = PENDING_3_2 + 16 * 64,
    PENDING_4_2 = PENDING_4 + 1,
    PENDING_4_3 = PENDING_4_2 + 64,
    PENDING_COUNT = PENDING_4_3 + 64 * 64,
};

/* Nodes, the units of each set, words and numerals, each with what is pending: at most 256 units
 * and 64 words. */
enum {
    PLACES_MAX = CM_NUMBER_NODES_MAX + CM_WALK_BYTES * (CM_UNIT_SETS_MAX * 256 + 64) +
                 CM_WALK_BYTES * CM_CHINESE_NUMBERS_MAX * CM_CHINESE_SPELLINGS + 2
};
_Static_assert((uint64_t)PENDING_COUNT *PLACES_MAX < UINT32_MAX, "states are of 32 bits");

static uint32_t begin_character(uint8_t byte)
{
    if (byte >= 0xc2 && byte < 0xe0) {
        return PENDING_2 + (byte & 31U);
    }
    if (byte >= 0xe0 && byte < 0xf0) {
        return PENDING_3 + (byte & 15U);
    }
    return byte == 0xf0 ? PENDING_4 : 0;
}

/* Goes on by a continuation byte; the whole character in `*character`, or what is pending. */
static uint32_t continue_character(uint32_t pending, uint8_t byte, int32_t *character)
{
    uint32_t bits = byte & 63U;
    uint32_t whole = 0;
    if (pending < PENDING_3) {
        whole = (pending - PENDING_2) << 6 | bits;
    } else if (pending < PENDING_3_2) {
        return PENDING_3_2 + ((pending - PENDING_3) << 6 | bits);
    } else if (pending < PENDING_4) {
        whole = (pending - PENDING_3_2) << 6 | bits;
    } else if (pending < PENDING_4_2) {
        return PENDING_4_2 + bits;
    } else if (pending < PENDING_4_3) {
        return PENDING_4_3 + ((pending - PENDING_4_2) << 6 | bits);
    } else {
        whole = (pending - PENDING_4_3) << 6 | bits;
    }
    *character = (int32_t)whole;
    return 0;
}

static enum cm_attention attention_of(const struct cm_number_lock *lock, uint32_t place)
{
    if (lock->with_words) {
        return CM_ATTENTION_ALL;
    }
    if (place < first_unit_place(lock)) {
        return lock->nodes[place].unit_set != 0 ? CM_ATTENTION_NEAR : CM_ATTENTION_RELEVANT;
    }
    bool has_begun = (place - first_unit_place(lock)) % cm_walk_states(&cm_units) > 0;
    return has_begun ? CM_ATTENTION_ALL : CM_ATTENTION_NEAR;
}

static uint32_t state_of(int64_t place)
{
    return place == PLACE_DEAD ? CM_AUTOMATON_DEAD : (uint32_t)place * PENDING_COUNT;
}

static uint32_t next_state(const void *context, uint32_t state, uint8_t byte)
{
    const struct cm_number_lock *lock = context;
    int64_t place = state / PENDING_COUNT;
    uint32_t pending = state % PENDING_COUNT;
    int32_t character = -1;
    if (pending != 0 && (byte & 0xc0) == 0x80) {
        uint32_t next = continue_character(pending, byte, &character);
        return next != 0 ? state - pending + next
                         : state_of(step(lock, (uint32_t)place, character));
    }
    if (pending != 0) {
        place = step(lock, (uint32_t)place, -1); /* what was begun is no character */
        if (place == PLACE_DEAD) {
            return CM_AUTOMATON_DEAD;
        }
    }
    bool is_read =
        cm_number_sign_leads[byte] || attention_of(lock, (uint32_t)place) != CM_ATTENTION_RELEVANT;
    uint32_t begun = is_read ? begin_character(byte) : 0;
    if (begun != 0) {
        return state_of(place) + begun;
    }
    return state_of(step(lock, (uint32_t)place, byte < 0x80 ? (int32_t)byte : -1));
}

static bool place_may_end(const struct cm_number_lock *lock, uint32_t place)
{
    if (place < first_unit_place(lock)) {
        return lock->nodes[place].may_end;
    }
    if (place < first_word_place(lock)) {
        uint32_t at = place - first_unit_place(lock);
        uint32_t states = cm_walk_states(&cm_units);
        return is_unit_allowed(lock, at / states, cm_walk_word(&cm_units, at % states));
    }
    return place >= first_chinese_place(lock) ||
           is_word_allowed(lock, place - first_word_place(lock));
}

static bool may_end(const void *context, uint32_t state)
{
    return state % PENDING_COUNT == 0 && place_may_end(context, state / PENDING_COUNT);
}

static enum cm_attention attention(const void *context, uint32_t state)
{
    return attention_of(context, state / PENDING_COUNT);
}

struct cm_automaton cm_number_lock_automaton(const struct cm_number_lock *lock)
{
    struct cm_automaton automaton = {
        .context = lock,
        .start = CM_NODE_OUTSIDE * PENDING_COUNT,
        .next = next_state,
        .may_end = may_end,
        .attention = attention,
    };
    memcpy(automaton.relevant, cm_number_sign_leads, sizeof automaton.relevant);
    return automaton;
}

/* --- Filling --- */

static enum cm_status add_node(struct cm_number_lock *lock, uint32_t *index)
{
    void *block = lock->nodes;
    enum cm_status status =
        cm_grow(&block, &lock->nodes_capacity, lock->nodes_count + 1, sizeof *lock->nodes);
    lock->nodes = block;
    if (status == CM_OK) {
        *index = (uint32_t)lock->nodes_count++;
        lock->nodes[*index] = (struct cm_number_node){ 0 };
    }
    return status;
}

enum cm_status cm_number_lock_open(bool with_words, struct cm_number_lock **lock)
{
    struct cm_number_lock *opened = cm_alloc(1, sizeof *opened);
    enum cm_status status = opened == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    for (uint32_t i = 0; i < CM_NODES_FIXED && status == CM_OK; i++) {
        uint32_t index;
        status = add_node(opened, &index);
    }
    if (status != CM_OK) {
        cm_number_lock_close(opened);
        return status;
    }
    for (uint32_t i = 0; i < CM_NODE_ROOT; i++) {
        opened->nodes[i].may_end = true;
    }
    opened->with_words = with_words;
    opened->unit_sets[0] = UINT64_MAX;
    opened->unit_sets_count = 1;
    *lock = opened;
    return CM_OK;
}

void cm_number_lock_close(struct cm_number_lock *lock)
{
    if (lock != NULL) {
        cm_free(lock->nodes);
        cm_free(lock->numerals);
        cm_free(lock->chinese_words);
        cm_free(lock->chinese_text);
        cm_free(lock);
    }
}

/* The place of a set among all; the first where there is no room for another. */
static uint8_t find_set(struct cm_number_lock *lock, uint64_t units)
{
    for (uint32_t i = 0; i < lock->unit_sets_count; i++) {
        if (lock->unit_sets[i] == units) {
            return (uint8_t)i;
        }
    }
    if (lock->unit_sets_count == CM_UNIT_SETS_MAX) {
        return 0;
    }
    lock->unit_sets[lock->unit_sets_count] = units;
    return (uint8_t)lock->unit_sets_count++;
}

enum cm_status cm_number_lock_add(struct cm_number_lock *lock, const char *spelling, uint64_t units)
{
    uint32_t at = CM_NODE_ROOT;
    if (lock->nodes_count + strlen(spelling) > CM_NUMBER_NODES_MAX) {
        return CM_OK;
    }
    for (const char *c = spelling; *c != '\0'; c++) {
        enum cm_number_sign sign = cm_number_sign_of(*c);
        CM_ASSERT(sign < CM_SIGN_COUNT);
        uint32_t next = lock->nodes[at].children[sign];
        if (next == 0) {
            enum cm_status status = add_node(lock, &next);
            if (status != CM_OK) {
                return status;
            }
            lock->nodes[at].children[sign] = next;
        }
        at = next;
    }
    lock->nodes[at].may_end = true;
    lock->nodes[at].unit_set = find_set(lock, units);
    return CM_OK;
}

void cm_number_lock_finish(struct cm_number_lock *lock)
{
    for (size_t i = CM_NODES_FIXED; i < lock->nodes_count; i++) {
        for (int s = CM_SIGN_POINT; s <= CM_SIGN_COMMA && lock->nodes[i].may_end; s++) {
            uint32_t child = lock->nodes[i].children[s];
            if (child != 0) {
                lock->nodes[child].may_end = true;
            }
        }
    }
}
