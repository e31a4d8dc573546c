#include "host/pre_tokenizer.h"

#include "base/memory.h"
#include "base/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Unicode's White_Space, spelled out because PCRE2's \s also holds U+180E. */
#define SPACES \
    "\\t-\\r " \
    "\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define SPACE "[" SPACES "]"
#define NOT_SPACE "[^" SPACES "]"
#define SYMBOLS " ?[^" SPACES "\\p{L}\\p{N}]+"
#define CONTRACTIONS "'s|'t|'re|'ve|'m|'ll|'d"
#define LAST_SPACES SPACE "+(?!" NOT_SPACE ")|" SPACE "+"

/* Words with the space before them, numbers, symbols, and white space without its last character,
 * which goes to the word that follows. */
#define GPT2_PATTERN CONTRACTIONS "| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|" LAST_SPACES

/* Llama 3 and Qwen 2 differ only in how many digits make a number. */
#define LLAMA3_PATTERN(number)                                                                   \
    "(?i:" CONTRACTIONS ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "|" SYMBOLS "[\\r\\n]*|" SPACE \
    "*[\\r\\n]+|" LAST_SPACES

/* The text is first cut at every digit and then by GPT-2's pattern. In one expression: a digit
 * takes no space, and white space before a digit ends its piece, so it stays whole. */
#define SMOLLM_PATTERN \
    CONTRACTIONS "| ?\\p{L}+|\\p{N}|" SYMBOLS "|" SPACE "+(?![^" SPACES "\\p{N}])|" SPACE "+"

struct cm_word_pattern {
    pcre2_general_context *memory;
    pcre2_code *code; /* NULL: the whole text is one word */
};

static void *allocate(size_t bytes, void *context)
{
    (void)context;
    return cm_alloc(bytes, 1);
}

static void release(void *block, void *context)
{
    (void)context;
    cm_free(block);
}

static const char *source_of(enum cm_pre_tokenizer kind)
{
    switch (kind) {
    case CM_PRE_GPT2:
        return GPT2_PATTERN;
    case CM_PRE_LLAMA3:
        return LLAMA3_PATTERN("\\p{N}{1,3}");
    case CM_PRE_QWEN2:
        return LLAMA3_PATTERN("\\p{N}");
    case CM_PRE_SMOLLM:
        return SMOLLM_PATTERN;
    case CM_PRE_NONE:
        break;
    }
    return NULL;
}

/* The patterns are constants, so this is want of memory or a PCRE2 built without Unicode. */
static enum cm_status pattern_refused(int reason, struct cm_error *error)
{
    char message[128] = "";
    pcre2_get_error_message(reason, (PCRE2_UCHAR *)message, sizeof message);
    return cm_error_set(error, CM_UNSUPPORTED, "PCRE2 refuses the tokenizer's word pattern: %s.",
                        message);
}

enum cm_status cm_word_pattern_open(enum cm_pre_tokenizer kind, struct cm_word_pattern **pattern,
                                    struct cm_error *error)
{
    struct cm_word_pattern *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        goto out_of_memory;
    }
    opened->memory = pcre2_general_context_create(allocate, release, NULL);
    if (opened->memory == NULL) {
        goto out_of_memory;
    }
    const char *source = source_of(kind);
    if (source != NULL) {
        int reason = 0;
        PCRE2_SIZE place = 0;
        pcre2_compile_context *compile = pcre2_compile_context_create(opened->memory);
        if (compile == NULL) {
            goto out_of_memory;
        }
        opened->code =
            pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &reason, &place, compile);
        pcre2_compile_context_free(compile);
        if (opened->code == NULL) {
            cm_word_pattern_close(opened);
            return pattern_refused(reason, error);
        }
        /* Where the machine forbids writable code pages the interpreter does the same, slower. */
        (void)pcre2_jit_compile(opened->code, PCRE2_JIT_COMPLETE);
    }
    *pattern = opened;
    return CM_OK;

out_of_memory:
    cm_word_pattern_close(opened);
    return cm_error_set(error, CM_OUT_OF_MEMORY, "No memory for the tokenizer's word pattern.");
}

void cm_word_pattern_close(struct cm_word_pattern *pattern)
{
    if (pattern != NULL) {
        pcre2_code_free(pattern->code);
        pcre2_general_context_free(pattern->memory);
        cm_free(pattern);
    }
}

enum cm_status cm_word_cursor_init(struct cm_word_cursor *cursor,
                                   const struct cm_word_pattern *pattern, struct cm_span text)
{
    *cursor = (struct cm_word_cursor){ .pattern = pattern, .rest = text };
    if (pattern->code != NULL) {
        cursor->match = pcre2_match_data_create(1, pattern->memory);
        return cursor->match == NULL ? CM_OUT_OF_MEMORY : CM_OK;
    }
    return CM_OK;
}

void cm_word_cursor_deinit(struct cm_word_cursor *cursor)
{
    pcre2_match_data_free(cursor->match);
    cursor->match = NULL;
}

/* Bytes up to the next that begin a valid character. */
static size_t invalid_bytes(struct cm_span text)
{
    const uint8_t *bytes = (const uint8_t *)text.data;
    size_t position = 0;
    size_t length;
    while (position < text.length &&
           cm_utf8_step(bytes + position, text.length - position, &length) != CM_UTF8_VALID) {
        position += length;
    }
    return position;
}

/* Bytes of the first word of `rest`. The patterns leave no character out, so a match begins at the
 * start; should PCRE2 give up at one of its limits, all that is left becomes one word. */
static size_t word_bytes(const struct cm_word_cursor *cursor)
{
    const pcre2_code *code = cursor->pattern->code;
    if (code == NULL) {
        return cursor->valid_bytes;
    }
    int found = pcre2_match(code, (PCRE2_SPTR)cursor->rest.data, cursor->valid_bytes, 0,
                            PCRE2_NO_UTF_CHECK, cursor->match, NULL);
    size_t end = found > 0 ? pcre2_get_ovector_pointer(cursor->match)[1] : 0;
    return end > 0 ? end : cursor->valid_bytes;
}

bool cm_word_cursor_next(struct cm_word_cursor *cursor, struct cm_span *word)
{
    if (cursor->rest.length == 0) {
        return false;
    }
    size_t taken;
    if (cursor->valid_bytes == 0) {
        cursor->valid_bytes =
            cm_utf8_valid_bytes((const uint8_t *)cursor->rest.data, cursor->rest.length);
    }
    if (cursor->valid_bytes == 0) {
        taken = invalid_bytes(cursor->rest);
    } else {
        taken = word_bytes(cursor);
        cursor->valid_bytes -= taken;
    }
    *word = (struct cm_span){ cursor->rest.data, taken };
    cursor->rest.data += taken;
    cursor->rest.length -= taken;
    return true;
}
