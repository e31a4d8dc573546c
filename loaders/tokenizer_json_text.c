/* How the tokenizer.json of a model prepares and cuts text. The library that writes such files puts
 * these together freely; each combination that known models use is recognised, all else is refused
 * by name, since a text that is cut in another way than in training is not understood. */
#include "loaders/tokenizer_json_parts.h"

enum { STEPS_MAX = 8 };

#define SPACE_MARK "\xE2\x96\x81" /* U+2581 */

/* The patterns of pre-tokenizers of the kind Split, as files spell them. */
static const char LLAMA3_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char QWEN2_PATTERN[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+"
    "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char GPT2_PATTERN[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static bool text_is(const json_t *object, const char *key, const char *expected)
{
    return cm_span_equal_text(cm_json_span(json_object_get(object, key)), expected);
}

static bool pattern_is(const json_t *object, const char *kind, const char *expected)
{
    return text_is(json_object_get(object, "pattern"), kind, expected);
}

/* --- Normalizer --- */

/* Whether a step of the normalizer writes spaces as SentencePiece's mark. */
static enum cm_status read_normalizer_step(struct cm_tokenizer_reader *reader, const json_t *step,
                                           bool *marks_spaces)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    if (cm_tokenizer_json_is(step, "NFC")) {
        data->normalize_nfc = true;
        return CM_OK;
    }
    if (cm_tokenizer_json_is(step, "Prepend") && text_is(step, "prepend", SPACE_MARK)) {
        data->space_prefix = CM_SPACE_PREFIX_PARTS;
        return CM_OK;
    }
    if (cm_tokenizer_json_is(step, "Replace") && pattern_is(step, "String", " ") &&
        text_is(step, "content", SPACE_MARK)) {
        *marks_spaces = true;
        return CM_OK;
    }
    return cm_tokenizer_json_unsupported(
        reader, "normalizer does more than NFC, Prepend of U+2581 and Replace of spaces by U+2581");
}

static enum cm_status read_normalizer(struct cm_tokenizer_reader *reader, const json_t *normalizer,
                                      bool *marks_spaces)
{
    *marks_spaces = false;
    if (normalizer == NULL) {
        return CM_OK;
    }
    if (!cm_tokenizer_json_is(normalizer, "Sequence")) {
        return read_normalizer_step(reader, normalizer, marks_spaces);
    }
    const json_t *steps = json_object_get(normalizer, "normalizers");
    if (!json_is_array(steps) || json_array_size(steps) > STEPS_MAX) {
        return cm_tokenizer_json_invalid(reader, "normalizer.normalizers is no list of a few");
    }
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < json_array_size(steps) && status == CM_OK; i++) {
        status = read_normalizer_step(reader, json_array_get(steps, i), marks_spaces);
    }
    return status;
}

/* --- Byte level --- */

static enum cm_status read_split(const struct cm_tokenizer_reader *reader, const json_t *split,
                                 enum cm_pre_tokenizer *pre_tokenizer)
{
    static const struct {
        const char *pattern;
        enum cm_pre_tokenizer pre_tokenizer;
    } known[] = {
        { LLAMA3_PATTERN, CM_PRE_LLAMA3 },
        { QWEN2_PATTERN, CM_PRE_QWEN2 },
        { GPT2_PATTERN, CM_PRE_GPT2 },
    };
    bool isolated = text_is(split, "behavior", "Isolated");
    bool inverted = json_is_true(json_object_get(split, "invert"));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (isolated && !inverted && pattern_is(split, "Regex", known[i].pattern)) {
            *pre_tokenizer = known[i].pre_tokenizer;
            return CM_OK;
        }
    }
    return cm_tokenizer_json_unsupported(reader, "pre_tokenizer splits by a pattern other than "
                                                 "those of GPT-2, Llama 3 and Qwen 2");
}

/* The known shapes: ByteLevel with its own pattern; Digits one by one before that; Split with a
 * known pattern before ByteLevel without one. `first` is NULL where `last` stands alone. */
static enum cm_status read_byte_level(struct cm_tokenizer_reader *reader, const json_t *first,
                                      const json_t *last)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    bool own_pattern = !json_is_false(json_object_get(last, "use_regex"));
    bool has_prefix = json_is_true(json_object_get(last, "add_prefix_space"));
    data->model = CM_TOKENIZER_BYTE_BPE;
    if (first == NULL) {
        data->pre_tokenizer = own_pattern ? CM_PRE_GPT2 : CM_PRE_NONE;
        data->space_prefix = has_prefix ? CM_SPACE_PREFIX_PARTS_MISSING : CM_SPACE_PREFIX_NONE;
        return CM_OK;
    }
    if (has_prefix) {
        return cm_tokenizer_json_unsupported(reader, "pre_tokenizer adds a space to every word");
    }
    if (cm_tokenizer_json_is(first, "Digits") && own_pattern &&
        json_is_true(json_object_get(first, "individual_digits"))) {
        data->pre_tokenizer = CM_PRE_SMOLLM;
        return CM_OK;
    }
    if (cm_tokenizer_json_is(first, "Split") && !own_pattern) {
        return read_split(reader, first, &data->pre_tokenizer);
    }
    return cm_tokenizer_json_unsupported(reader, "pre_tokenizer is an unknown combination");
}

/* --- SentencePiece --- */

static enum cm_status read_metaspace(struct cm_tokenizer_reader *reader, const json_t *pre)
{
    static const struct {
        const char *scheme;
        enum cm_space_prefix prefix;
    } known[] = {
        { "always", CM_SPACE_PREFIX_PARTS_MISSING },
        { "first", CM_SPACE_PREFIX_TEXT_MISSING },
        { "never", CM_SPACE_PREFIX_NONE },
    };
    struct cm_tokenizer_data *data = &reader->file->data;
    const json_t *scheme = cm_json_get(pre, "prepend_scheme");
    bool never = scheme == NULL && json_is_false(json_object_get(pre, "add_prefix_space"));
    struct cm_span name =
        scheme != NULL ? cm_json_span(scheme) : cm_span_of(never ? "never" : "always");
    if (!text_is(pre, "replacement", SPACE_MARK) || data->space_prefix != CM_SPACE_PREFIX_NONE) {
        return cm_tokenizer_json_unsupported(reader, "pre_tokenizer Metaspace writes spaces other "
                                                     "than as U+2581, or after a Prepend");
    }
    data->split_at_spaces = !json_is_false(json_object_get(pre, "split"));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (cm_span_equal_text(name, known[i].scheme)) {
            data->space_prefix = known[i].prefix;
            return CM_OK;
        }
    }
    return cm_tokenizer_json_invalid(reader, "pre_tokenizer.prepend_scheme is none of always, "
                                             "first and never");
}

/* Nothing cuts the text but, at most, its spaces. Splitting at spaces that the normalizer has
 * replaced (Gemma) cuts nowhere. */
static enum cm_status read_sentencepiece(struct cm_tokenizer_reader *reader, const json_t *pre,
                                         bool marks_spaces)
{
    struct cm_tokenizer_data *data = &reader->file->data;
    data->model = CM_TOKENIZER_SENTENCEPIECE;
    data->pre_tokenizer = CM_PRE_NONE;
    if (cm_tokenizer_json_is(pre, "Metaspace")) {
        return read_metaspace(reader, pre);
    }
    bool cuts_nowhere =
        pre == NULL || (cm_tokenizer_json_is(pre, "Split") && pattern_is(pre, "String", " "));
    if (marks_spaces && cuts_nowhere) {
        return CM_OK;
    }
    return cm_tokenizer_json_unsupported(
        reader, "pre_tokenizer is not one of ByteLevel, Digits + ByteLevel, Split + ByteLevel, "
                "Metaspace or, with spaces replaced by U+2581, none");
}

enum cm_status cm_tokenizer_json_read_text(struct cm_tokenizer_reader *reader,
                                           const json_t *document)
{
    const json_t *pre = cm_json_get(document, "pre_tokenizer");
    const json_t *steps =
        cm_tokenizer_json_is(pre, "Sequence") ? json_object_get(pre, "pretokenizers") : NULL;
    size_t steps_count = json_array_size(steps);
    const json_t *last = steps_count > 0 ? json_array_get(steps, steps_count - 1) : pre;
    struct cm_tokenizer_data *data = &reader->file->data;
    bool marks_spaces;
    enum cm_status status =
        read_normalizer(reader, cm_json_get(document, "normalizer"), &marks_spaces);
    if (status != CM_OK) {
        return status;
    }
    if (!cm_tokenizer_json_is(last, "ByteLevel")) {
        return read_sentencepiece(reader, pre, marks_spaces);
    }
    if (steps_count > 2 || marks_spaces || data->space_prefix != CM_SPACE_PREFIX_NONE) {
        return cm_tokenizer_json_unsupported(reader, "pre_tokenizer is an unknown combination");
    }
    return read_byte_level(reader, steps_count == 2 ? json_array_get(steps, 0) : NULL, last);
}
