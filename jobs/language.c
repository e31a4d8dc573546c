#include "jobs/language.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <utf8proc.h>

enum script { LATIN, HAN, KANA, HANGUL, CYRILLIC, GREEK, ARABIC, HEBREW, DEVANAGARI, THAI, OTHER };
enum { SCRIPT_COUNT = OTHER + 1 };

/* utf8proc knows no scripts; these blocks hold the letters in use (Unicode 15, Blocks.txt). */
static const struct {
    uint32_t first;
    uint32_t last;
    enum script script;
} BLOCKS[] = {
    { 0x0041, 0x024F, LATIN },      { 0x0370, 0x03FF, GREEK },  { 0x0400, 0x052F, CYRILLIC },
    { 0x0590, 0x05FF, HEBREW },     { 0x0600, 0x06FF, ARABIC }, { 0x0750, 0x077F, ARABIC },
    { 0x0900, 0x097F, DEVANAGARI }, { 0x0E00, 0x0E7F, THAI },   { 0x1100, 0x11FF, HANGUL },
    { 0x1E00, 0x1EFF, LATIN },      { 0x3040, 0x30FF, KANA },   { 0x3130, 0x318F, HANGUL },
    { 0x31F0, 0x31FF, KANA },       { 0x3400, 0x4DBF, HAN },    { 0x4E00, 0x9FFF, HAN },
    { 0xAC00, 0xD7AF, HANGUL },     { 0xF900, 0xFAFF, HAN },    { 0xFF21, 0xFF5A, LATIN },
    { 0xFF66, 0xFF9D, KANA },       { 0x20000, 0x323AF, HAN },
};

static const struct language {
    const char *code;
    const char *name;
    enum script script;
    const char *words; /* space at both ends; frequent, and rare in the other languages here */
} LANGUAGES[] = {
    { "en", "English", LATIN,
      " the and with for your this is of to are that it you from our an has be by in i do not can "
      "if my what how does " },
    { "zh", "Chinese", HAN, NULL },
    { "ja", "Japanese", KANA, NULL },
    { "ko", "Korean", HANGUL, NULL },
    { "de", "German", LATIN,
      " der die das und ist mit für von ein eine den dem sich nicht auf auch ihre aus zu im " },
    { "fr", "French", LATIN,
      " le les des et est une pour avec dans vous votre ce cette sur qui au du pas sont la " },
    { "es", "Spanish", LATIN,
      " el los las y es una para con del por que su este esta más como tu son en la " },
    { "it", "Italian", LATIN,
      " il gli di è una per con del della che questo questa sono nel alla dei tuo anche la " },
    { "pt", "Portuguese", LATIN,
      " os as e é uma para com do da que seu sua este esta não em você mais são um " },
    { "nl", "Dutch", LATIN,
      " het een en van voor met zijn niet dit op aan ook bij je uw deze worden naar de is in " },
    { "pl", "Polish", LATIN, " i w na z do się jest nie dla oraz to że od po jak ten są lub " },
    { "sv", "Swedish", LATIN, " och att det är som för med på av ett den din inte till har en " },
    { "tr", "Turkish", LATIN, " ve bir bu için ile çok daha olarak olan en gibi her da de " },
    { "id", "Indonesian", LATIN, " dan yang untuk dengan ini dari di anda adalah pada ke atau " },
    { "vi", "Vietnamese", LATIN, " và của cho là với các những được một này có không trong " },
    { "ru", "Russian", CYRILLIC, NULL },
    { "uk", "Ukrainian", CYRILLIC, NULL },
    { "el", "Greek", GREEK, NULL },
    { "ar", "Arabic", ARABIC, NULL },
    { "he", "Hebrew", HEBREW, NULL },
    { "hi", "Hindi", DEVANAGARI, NULL },
    { "th", "Thai", THAI, NULL },
};
enum { LANGUAGES_COUNT = sizeof LANGUAGES / sizeof LANGUAGES[0] };

/* What was seen in a text. */
struct evidence {
    uint32_t letters[SCRIPT_COUNT];
    uint32_t weighed; /* all letters, a Han character or Hangul syllable counted as several */
    uint32_t ukrainian_letters;
    uint32_t words;
    uint32_t hits[LANGUAGES_COUNT]; /* common words of each language */
};

enum { IDEOGRAPH_WEIGHT = 3, WORD_BYTES_MAX = 12 };

static enum script script_of(uint32_t character)
{
    for (size_t i = 0; i < sizeof BLOCKS / sizeof BLOCKS[0]; i++) {
        if (character >= BLOCKS[i].first && character <= BLOCKS[i].last) {
            return BLOCKS[i].script;
        }
    }
    return OTHER;
}

static uint32_t script_weight(const struct evidence *seen, enum script script)
{
    bool ideographs = script == HAN || script == HANGUL || script == KANA;
    return seen->letters[script] * (ideographs ? IDEOGRAPH_WEIGHT : 1);
}

static bool is_letter(utf8proc_int32_t character)
{
    utf8proc_category_t category = utf8proc_category(character);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_MC;
}

/* `word` has a space at both ends, as the words of a language have. */
static void count_word(struct evidence *seen, const char *word)
{
    seen->words++;
    for (size_t i = 0; i < LANGUAGES_COUNT; i++) {
        if (LANGUAGES[i].words != NULL && strstr(LANGUAGES[i].words, word) != NULL) {
            seen->hits[i]++;
        }
    }
}

static void count_letter(struct evidence *seen, utf8proc_int32_t character)
{
    seen->letters[script_of((uint32_t)character)]++;
    switch (character) {
    case 0x0454: /* є */
    case 0x0456: /* і */
    case 0x0457: /* ї */
    case 0x0491: /* ґ */
        seen->ukrainian_letters++;
        break;
    default:
        break;
    }
}

static struct evidence look_at(struct cm_span text)
{
    struct evidence seen = { 0 };
    char word[WORD_BYTES_MAX + 8] = " ";
    size_t word_bytes = 1;
    for (size_t at = 0; at <= text.length;) {
        utf8proc_int32_t character = ' ';
        utf8proc_ssize_t bytes = 1;
        if (at < text.length) {
            bytes = utf8proc_iterate((const utf8proc_uint8_t *)text.data + at,
                                     (utf8proc_ssize_t)(text.length - at), &character);
        }
        at += bytes > 0 ? (size_t)bytes : 1;
        if (bytes <= 0) {
            continue;
        }
        if (is_letter(character)) {
            character = utf8proc_tolower(character);
            count_letter(&seen, character);
            if (word_bytes <= WORD_BYTES_MAX) {
                word_bytes +=
                    (size_t)utf8proc_encode_char(character, (utf8proc_uint8_t *)word + word_bytes);
            }
        } else if (word_bytes > 1) {
            word[word_bytes] = ' ';
            word[word_bytes + 1] = '\0';
            count_word(&seen, word);
            word_bytes = 1;
        }
    }
    for (enum script script = LATIN; script <= OTHER; script++) {
        seen.weighed += script_weight(&seen, script);
    }
    return seen;
}

static const struct language *find_language(const char *code)
{
    for (size_t i = 0; i < LANGUAGES_COUNT; i++) {
        if (cm_language_is(code, LANGUAGES[i].code)) {
            return &LANGUAGES[i];
        }
    }
    return NULL;
}

/* Index of the language with most common words in the text; the first of equals. */
static size_t most_hits(const struct evidence *seen)
{
    size_t best = 0;
    for (size_t i = 1; i < LANGUAGES_COUNT; i++) {
        best = seen->hits[i] > seen->hits[best] ? i : best;
    }
    return best;
}

static const char *language_of(const struct evidence *seen)
{
    if (seen->weighed == 0) {
        return NULL;
    }
    enum script script = LATIN;
    for (enum script other = LATIN; other < OTHER; other++) {
        script = script_weight(seen, other) > script_weight(seen, script) ? other : script;
    }
    if (script_weight(seen, script) == 0) {
        return NULL;
    }
    switch (script) {
    case LATIN: {
        size_t best = most_hits(seen);
        return seen->hits[best] > 0 ? LANGUAGES[best].code : NULL;
    }
    case HAN: /* Japanese writes many of its words in Han characters, and always some kana */
        return seen->letters[KANA] * 10 > seen->letters[HAN] ? "ja" : "zh";
    case CYRILLIC:
        return seen->ukrainian_letters * 50 > seen->letters[CYRILLIC] ? "uk" : "ru";
    default:
        for (size_t i = 0; i < LANGUAGES_COUNT; i++) {
            if (LANGUAGES[i].script == script) {
                return LANGUAGES[i].code;
            }
        }
        return NULL;
    }
}

const char *cm_language_detect(struct cm_span text)
{
    struct evidence seen = look_at(text);
    return language_of(&seen);
}

/* Other scripts may hold names and models, so half of the (weighed) letters are enough. */
static bool script_fits(const struct evidence *seen, const struct language *language)
{
    uint32_t weight = script_weight(seen, language->script);
    if (language->script == KANA) {
        return seen->letters[KANA] > 0 && (weight + script_weight(seen, HAN)) * 2 >= seen->weighed;
    }
    if (language->script == HAN && seen->letters[KANA] * 10 > seen->letters[HAN]) {
        return false;
    }
    /* Foreign names are seldom ideographs, so far fewer of those already show another language. */
    uint32_t foreign = seen->letters[HAN] + seen->letters[KANA] + seen->letters[HANGUL];
    if (language->script == LATIN && foreign * 10 > seen->letters[LATIN]) {
        return false;
    }
    return weight * 2 >= seen->weighed;
}

bool cm_language_matches(struct cm_span text, const char *language)
{
    const struct language *expected = find_language(language);
    if (expected == NULL) {
        return true;
    }
    struct evidence seen = look_at(text);
    if (seen.weighed == 0) {
        return true;
    }
    if (!script_fits(&seen, expected)) {
        return false;
    }
    if (expected->words == NULL) {
        return true;
    }
    enum { HITS_MIN = 4 };
    uint32_t hits = seen.hits[expected - LANGUAGES];
    uint32_t most = seen.hits[most_hits(&seen)];
    return most < HITS_MIN || most <= hits * 2;
}

bool cm_language_is(const char *language, const char *base)
{
    size_t length = strlen(base);
    return strncasecmp(language, base, length) == 0 &&
           (language[length] == '\0' || language[length] == '-' || language[length] == '_');
}

const char *cm_language_name(const char *code)
{
    const struct language *language = find_language(code);
    return language == NULL ? code : language->name;
}

bool cm_language_is_code(const char *text)
{
    size_t letters = 0;
    while (isalpha((unsigned char)text[letters])) {
        letters++;
    }
    if (letters < 2 || letters > 3 || strlen(text) > 15) {
        return false;
    }
    const char *rest = text + letters;
    while (*rest == '-' && isalnum((unsigned char)rest[1])) {
        rest++;
        while (isalnum((unsigned char)*rest)) {
            rest++;
        }
    }
    return *rest == '\0';
}
