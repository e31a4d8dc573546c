#include "jobs/content/judge.h"

#include "base/memory.h"
#include "jobs/content/judge_parts.h"
#include "jobs/embedded_files.h"
#include "jobs/language.h"
#include "loaders/file_map.h"

#include <stdio.h>
#include <string.h>

extern const struct cm_embedded_file CM_LEXICON_FILES[];
extern const size_t CM_LEXICON_FILES_COUNT;

static const char *const LISTS[] = { "advertising_law_zh.txt", "health_finance_zh.txt",
                                     "claims_en.txt", "template_phrases.txt", "injections.txt" };
static const char *const PROFANITY_LANGUAGES[] = { "en", "zh", "ja", "de", "fr", "es" };
enum {
    LISTS_COUNT = sizeof LISTS / sizeof LISTS[0],
    LANGUAGES_COUNT = sizeof PROFANITY_LANGUAGES / sizeof PROFANITY_LANGUAGES[0],
};

struct cm_judge {
    struct cm_lexicon *claims; /* all lists but profanity */
    struct cm_lexicon *profanity[LANGUAGES_COUNT];
    struct cm_vocabulary *vocabulary;
    struct cm_plain_text plain; /* of the text in work; reused */
    struct cm_text_words words;
    struct cm_fact_sheet facts;
    struct cm_scratch scratch;
};

static const struct cm_item NO_ITEM = {
    .fields = { (char *)"", (char *)"", (char *)"", (char *)"", (char *)"", (char *)"", (char *)"",
                (char *)"" },
};

/* --- Opening --- */

static struct cm_span lexicon_file(const char *name)
{
    for (size_t i = 0; i < CM_LEXICON_FILES_COUNT; i++) {
        if (strcmp(CM_LEXICON_FILES[i].name, name) == 0) {
            return (struct cm_span){ CM_LEXICON_FILES[i].bytes, CM_LEXICON_FILES[i].length };
        }
    }
    CM_ASSERT(!"a lexicon is missing from the build");
    return (struct cm_span){ 0 };
}

static enum cm_status add_path(struct cm_judge *judge, const char *path, struct cm_error *error)
{
    struct cm_file_map *map = NULL;
    enum cm_status status = cm_file_map_open(path, &map, error);
    if (status == CM_OK) {
        struct cm_span text = { (const char *)cm_file_map_data(map), cm_file_map_bytes(map) };
        status = cm_lexicon_add(judge->claims, text, path, "banned-word", error);
    }
    cm_file_map_close(map);
    return status;
}

static enum cm_status open_claims(struct cm_judge *judge, const struct cm_judge_options *options,
                                  struct cm_error *error)
{
    enum cm_status status = cm_lexicon_open(&judge->claims);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory");
    }
    for (size_t i = 0; i < options->lexicon_paths_count && status == CM_OK; i++) {
        status = add_path(judge, options->lexicon_paths[i], error);
    }
    for (size_t i = 0; i < LISTS_COUNT && status == CM_OK; i++) {
        status = cm_lexicon_add(judge->claims, lexicon_file(LISTS[i]), LISTS[i], NULL, error);
    }
    if (status == CM_OK) {
        cm_lexicon_seal(judge->claims);
    }
    return status;
}

static enum cm_status open_profanity(struct cm_judge *judge, size_t index, struct cm_error *error)
{
    char name[32];
    snprintf(name, sizeof name, "profanity_%s.txt", PROFANITY_LANGUAGES[index]);
    enum cm_status status = cm_lexicon_open(&judge->profanity[index]);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory");
    }
    static const char ambiguous[] = "profanity_ambiguous.txt";
    struct cm_lexicon *lexicon = judge->profanity[index];
    status = cm_lexicon_add(lexicon, lexicon_file(name), name, "profanity", error);
    if (status == CM_OK) {
        status = cm_lexicon_add(lexicon, lexicon_file(ambiguous), ambiguous, NULL, error);
    }
    if (status == CM_OK) {
        cm_lexicon_seal(lexicon);
    }
    return status;
}

/* Every rule that a list names must be one of judgement.c: a list of the user's may not. */
static enum cm_status open_vocabulary(struct cm_judge *judge, struct cm_error *error)
{
    static const char classes[] = "value_classes.txt";
    enum cm_status status = cm_vocabulary_open(&judge->vocabulary);
    if (status != CM_OK) {
        return cm_error_set(error, status, "out of memory");
    }
    return cm_vocabulary_add_list(judge->vocabulary, lexicon_file(classes), classes, error);
}

enum cm_status cm_judge_open(const struct cm_judge_options *options, struct cm_judge **judge,
                             struct cm_error *error)
{
    struct cm_judge *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    enum cm_status status = open_claims(opened, options, error);
    for (size_t i = 0; i < LANGUAGES_COUNT && status == CM_OK; i++) {
        status = open_profanity(opened, i, error);
    }
    if (status == CM_OK) {
        status = open_vocabulary(opened, error);
    }
    if (status != CM_OK) {
        cm_judge_close(opened);
        return status;
    }
    if (!options->learns_catalog) {
        cm_judge_ready(opened);
    }
    *judge = opened;
    return CM_OK;
}

enum cm_status cm_judge_append_forbidden(const struct cm_judge *judge, struct cm_text *text)
{
    return cm_lexicon_append_terms(judge->claims, CM_SEVERITY_HIGH, text);
}

void cm_judge_close(struct cm_judge *judge)
{
    if (judge == NULL) {
        return;
    }
    cm_lexicon_close(judge->claims);
    for (size_t i = 0; i < LANGUAGES_COUNT; i++) {
        cm_lexicon_close(judge->profanity[i]);
    }
    cm_vocabulary_close(judge->vocabulary);
    cm_plain_text_deinit(&judge->plain);
    cm_text_words_deinit(&judge->words);
    cm_fact_sheet_deinit(&judge->facts);
    cm_plain_text_deinit(&judge->scratch.plain);
    cm_text_words_deinit(&judge->scratch.words);
    cm_quantities_deinit(&judge->scratch.quantities);
    cm_word_set_deinit(&judge->scratch.said);
    cm_free(judge);
}

enum cm_status cm_judge_learn(struct cm_judge *judge, const struct cm_item *item)
{
    return cm_vocabulary_add_item(judge->vocabulary, item);
}

void cm_judge_ready(struct cm_judge *judge)
{
    cm_vocabulary_seal(judge->vocabulary);
}

/* --- Judging --- */

static enum cm_status prepare(struct cm_judge *judge, const struct cm_judge_input *input)
{
    struct cm_sheet_sources sources = {
        .item = input->item != NULL ? input->item : &NO_ITEM,
        .segment = input->segment,
        .question = input->question,
        .copy = input->text,
    };
    enum cm_status status = cm_plain_text_fill(&judge->plain, input->text);
    if (status == CM_OK) {
        status = cm_text_words_fill(&judge->words, &judge->plain);
    }
    if (status == CM_OK) {
        cm_word_set_clear(&judge->scratch.said);
        status = cm_word_set_add(&judge->scratch.said, &judge->words);
        cm_word_set_sort(&judge->scratch.said);
    }
    return status == CM_OK ? cm_fact_sheet_fill(&judge->facts, &sources) : status;
}

static void check_safety(struct cm_judge *judge, const struct cm_case *text)
{
    const char *language = text->input->language;
    const char *detected = language[0] != '\0' ? language : cm_language_detect(text->input->text);
    cm_check_words(text, judge->claims);
    for (size_t i = 0; i < LANGUAGES_COUNT && detected != NULL; i++) {
        if (cm_language_is(detected, PROFANITY_LANGUAGES[i])) {
            cm_check_words(text, judge->profanity[i]);
        }
    }
    cm_check_privacy(text);
    cm_check_patterns(text);
}

/* Among texts without faults the one that the model was surer of is a little better: mean
 * log-probabilities from -0.5 (sure) to -3.5. */
static double confidence(double mean_logprob)
{
    double doubt = (-mean_logprob - 0.5) / 3.0;
    doubt = doubt < 0 ? 0 : doubt > 1 ? 1 : doubt;
    return 1 - doubt;
}

static double clamp(double value)
{
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

/* What the graded measures leave of each dimension where nothing was found: never less than this
 * part, because they are hints, not faults. */
static const double GRADED_PART = 0.2;

static void add_up(struct cm_judgement *judgement, const double graded[CM_DIMENSION_COUNT])
{
    double mean = 0;
    double product = 1;
    for (int i = 0; i < CM_DIMENSION_COUNT; i++) {
        judgement->scores[i] = 1 - GRADED_PART * (1 - clamp(graded[i]));
        mean += clamp(graded[i]) / CM_DIMENSION_COUNT;
    }
    for (size_t i = 0; i < judgement->findings_count; i++) {
        const struct cm_finding *finding = &judgement->findings[i];
        judgement->scores[finding->rule->dimension] *= cm_finding_factor(finding);
        product *= cm_finding_factor(finding);
    }
    judgement->score = product * (1 - GRADED_PART * (1 - mean));
}

enum cm_status cm_judge_text(struct cm_judge *judge, const struct cm_judge_input *input,
                             struct cm_judgement *judgement)
{
    *judgement = (struct cm_judgement){ .score = 0 };
    enum cm_status status = prepare(judge, input);
    if (status != CM_OK) {
        return status;
    }
    struct cm_case text = { input,         &judge->plain, &judge->words,
                            &judge->facts, judgement,     &judge->scratch };
    struct cm_facts_grade facts = { 1, 1 };
    if (input->item != NULL) {
        status = cm_check_facts(&text, judge->vocabulary, &facts);
    }
    if (status == CM_OK && input->question != NULL) {
        status = cm_check_answer(&text);
    }
    if (status == CM_OK) {
        status = cm_check_form(&text);
    }
    check_safety(judge, &text);
    if (status == CM_OK && input->channel != NULL) {
        status = cm_check_channel(&text);
    }
    /* Half of the words from the facts is as much as prose can hold. */
    double graded[CM_DIMENSION_COUNT] = {
        [CM_ACCURACY] = 0.5 * facts.coverage + 0.5 * clamp(2 * facts.precision),
        [CM_TARGETING] = cm_check_audience(&text),
        [CM_FLUENCY] = confidence(input->mean_logprob),
        [CM_SAFETY] = 1,
        [CM_CREATIVITY] = clamp((cm_form_variety(&judge->words) - 0.5) * 2),
    };
    add_up(judgement, graded);
    if (judge->words.count == 0) {
        judgement->score = 0;
    }
    return status;
}

enum cm_status cm_judge_compliance(struct cm_judge *judge, const struct cm_judge_input *input,
                                   struct cm_judgement *judgement)
{
    static const double full[CM_DIMENSION_COUNT] = { 1, 1, 1, 1, 1 };
    *judgement = (struct cm_judgement){ .score = 0 };
    enum cm_status status = prepare(judge, input);
    if (status == CM_OK) {
        struct cm_case text = { input,         &judge->plain, &judge->words,
                                &judge->facts, judgement,     &judge->scratch };
        check_safety(judge, &text);
        if (input->channel != NULL) {
            status = cm_check_channel(&text);
        }
        add_up(judgement, full);
    }
    return status;
}
