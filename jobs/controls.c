#include "jobs/controls.h"

#include "base/memory.h"
#include "jobs/ban_list.h"
#include "jobs/content/line_format.h"
#include "jobs/fact_lock.h"
#include "jobs/language.h"
#include "loaders/file_map.h"

#include <string.h>

/* The part of the token limit, at its end, in which a text is closed with a sentence. */
enum { CLOSING_PART = 4 };

/* The lines of the channel and the banned words at once: a state of one times a state of the other.
 */
struct form {
    struct cm_line_format *format;
    struct cm_automaton lines;
    struct cm_automaton bans; /* `next` NULL: none */
    uint32_t bans_states;     /* 1 without bans */
    struct cm_token_subset *subset;
    struct cm_constraint *constraint; /* NULL: the channel has no lines */
};

enum { FORM_OTHER, FORM_CHINESE, FORMS };

/* What one kind of attempt may write. */
struct rules {
    struct cm_ban_list *bans; /* NULL: no words are banned */
    struct cm_token_subset *bans_subset;
    struct cm_constraint *bans_constraint;
    struct form forms[FORMS];
};

enum { USUAL, STRICT, STRICTNESSES };

struct cm_controls {
    const struct cm_run_options *options;
    struct rules rules[STRICTNESSES]; /* STRICT: its list alone where there is but one attempt */
    struct cm_token_subset *numbers_subset; /* NULL with --fact-lock off */
};

/* --- Banned words --- */

enum { BANS_BYTES_MAX = 8 << 20 };

/* The file of --ban, then the channel's words, then those of strict attempts. */
static enum cm_status gather_bans(const struct cm_run_options *options,
                                  const struct cm_channel *channel, struct cm_span forbidden,
                                  struct cm_text *list, struct cm_error *error)
{
    enum cm_status status = CM_OK;
    if (options->ban_path != NULL) {
        struct cm_file_map *map = NULL;
        status = cm_file_map_open(options->ban_path, &map, error);
        if (status != CM_OK) {
            return status;
        }
        struct cm_span text = { (const char *)cm_file_map_data(map), cm_file_map_bytes(map) };
        status = cm_text_append_span(list, text);
        cm_file_map_close(map);
    }
    for (size_t i = 0; i < channel->bans.words_count && status == CM_OK; i++) {
        status = cm_text_printf(list, "\n%s", channel->bans.words[i]);
    }
    if (status == CM_OK && forbidden.length > 0) {
        status = cm_text_append_string(list, "\n");
    }
    if (status == CM_OK) {
        status = cm_text_append_span(list, forbidden);
    }
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "out of memory for --ban");
}

static enum cm_status read_bans(const struct cm_run_options *options,
                                const struct cm_channel *channel, struct cm_span forbidden,
                                struct cm_ban_list **bans, struct cm_error *error)
{
    struct cm_text list = CM_TEXT_INIT(BANS_BYTES_MAX);
    enum cm_status status = gather_bans(options, channel, forbidden, &list, error);
    if (status == CM_OK) {
        status = cm_ban_list_parse(cm_text_span(&list),
                                   options->ban_path != NULL ? options->ban_path : channel->name,
                                   bans, error);
    }
    cm_text_deinit(&list);
    return status;
}

static enum cm_status compile_bans(struct rules *rules, const struct cm_tokenizer *tokenizer)
{
    struct cm_automaton automaton = cm_ban_list_automaton(rules->bans);
    enum cm_status status =
        cm_token_subset_open(tokenizer, automaton.relevant, NULL, &rules->bans_subset);
    return status == CM_OK
               ? cm_constraint_open(&automaton, rules->bans_subset, NULL, &rules->bans_constraint)
               : status;
}

/* --- Lines --- */

static uint32_t form_next(const void *context, uint32_t state, uint8_t byte)
{
    const struct form *form = context;
    uint32_t line = form->lines.next(form->lines.context, state / form->bans_states, byte);
    uint32_t ban = 0;
    if (line == CM_AUTOMATON_DEAD) {
        return line;
    }
    if (form->bans.next != NULL) {
        ban = form->bans.next(form->bans.context, state % form->bans_states, byte);
    }
    return ban == CM_AUTOMATON_DEAD ? ban : line * form->bans_states + ban;
}

static bool form_may_end(const void *context, uint32_t state)
{
    const struct form *form = context;
    return form->lines.may_end(form->lines.context, state / form->bans_states) &&
           (form->bans.next == NULL ||
            form->bans.may_end(form->bans.context, state % form->bans_states));
}

static bool form_may_cut(const void *context, uint32_t state)
{
    const struct form *form = context;
    return form->lines.may_cut(form->lines.context, state / form->bans_states) &&
           (form->bans.next == NULL ||
            form->bans.may_end(form->bans.context, state % form->bans_states));
}

static enum cm_attention form_attention(const void *context, uint32_t state)
{
    const struct form *form = context;
    return form->lines.attention(form->lines.context, state / form->bans_states);
}

static enum cm_status open_form(struct form *form, const struct cm_ban_list *bans,
                                const struct cm_channel *channel, const char *scenario,
                                const char *language, const struct cm_tokenizer *tokenizer)
{
    enum cm_status status = cm_line_format_open(channel, scenario, language, &form->format);
    if (status != CM_OK || form->format == NULL) {
        return status;
    }
    form->lines = cm_line_format_automaton(form->format);
    form->bans_states = 1;
    struct cm_automaton automaton = { .context = form,
                                      .next = form_next,
                                      .may_end = form_may_end,
                                      .may_cut = form_may_cut,
                                      .attention = form_attention };
    memcpy(automaton.relevant, form->lines.relevant, sizeof automaton.relevant);
    if (bans != NULL) {
        form->bans = cm_ban_list_automaton(bans);
        form->bans_states = cm_ban_list_states(bans);
        for (size_t i = 0; i < sizeof automaton.relevant; i++) {
            automaton.relevant[i] = automaton.relevant[i] || form->bans.relevant[i];
        }
    }
    if (form->bans_states > CM_AUTOMATON_DEAD / CM_LINE_FORMAT_STATES) {
        return CM_OK; /* so many bans leave no room: the lines are only asked for and repaired */
    }
    automaton.start = form->lines.start * form->bans_states + form->bans.start;
    status = cm_token_subset_open(tokenizer, automaton.relevant, NULL, &form->subset);
    return status == CM_OK ? cm_constraint_open(&automaton, form->subset, NULL, &form->constraint)
                           : status;
}

/* Everything about `rules` but its list. */
static enum cm_status compile(const struct cm_run_options *options, struct rules *rules,
                              const struct cm_channel *channel,
                              const struct cm_tokenizer *tokenizer, struct cm_error *error)
{
    static const char *const languages[FORMS] = { "en", "zh" };
    enum cm_status status = CM_OK;
    if (rules->bans != NULL) {
        status = compile_bans(rules, tokenizer);
    }
    for (size_t i = 0; i < FORMS && status == CM_OK && options->template_path == NULL; i++) {
        status = open_form(&rules->forms[i], rules->bans, channel, options->scenario, languages[i],
                           tokenizer);
    }
    return status == CM_OK ? CM_OK
                           : cm_error_set(error, status, "out of memory for --ban and --channel");
}

enum cm_status cm_controls_open(const struct cm_run_options *options,
                                const struct cm_channel *channel,
                                const struct cm_tokenizer *tokenizer, struct cm_span forbidden,
                                struct cm_controls **controls, struct cm_error *error)
{
    struct cm_controls *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->options = options;
    enum cm_status status = CM_OK;
    if (options->ban_path != NULL || channel->bans.words_count > 0) {
        status =
            read_bans(options, channel, (struct cm_span){ 0 }, &opened->rules[USUAL].bans, error);
    }
    if (status == CM_OK) {
        status = compile(options, &opened->rules[USUAL], channel, tokenizer, error);
    }
    if (status == CM_OK && forbidden.length > 0) {
        status = read_bans(options, channel, forbidden, &opened->rules[STRICT].bans, error);
    }
    if (status == CM_OK && options->attempts > 1) {
        status = compile(options, &opened->rules[STRICT], channel, tokenizer, error);
    }
    if (status == CM_OK && options->fact_lock != CM_FACT_LOCK_OFF) {
        status = cm_fact_lock_tokens(tokenizer, &opened->numbers_subset);
        if (status != CM_OK) {
            cm_error_set(error, status, "out of memory for the fact lock");
        }
    }
    if (status != CM_OK) {
        cm_controls_close(opened);
        return status;
    }
    *controls = opened;
    return CM_OK;
}

static void rules_deinit(struct rules *rules)
{
    for (size_t i = 0; i < FORMS; i++) {
        cm_constraint_release(rules->forms[i].constraint);
        cm_token_subset_close(rules->forms[i].subset);
        cm_line_format_close(rules->forms[i].format);
    }
    cm_constraint_release(rules->bans_constraint);
    cm_token_subset_close(rules->bans_subset);
    cm_ban_list_close(rules->bans);
}

void cm_controls_close(struct cm_controls *controls)
{
    if (controls != NULL) {
        for (size_t i = 0; i < STRICTNESSES; i++) {
            rules_deinit(&controls->rules[i]);
        }
        cm_token_subset_close(controls->numbers_subset);
        cm_free(controls);
    }
}

void cm_controls_hash(const struct cm_controls *controls, struct cm_hash *hash)
{
    const struct cm_run_options *options = controls->options;
    cm_hash_u64(hash, options->fact_lock);
    for (size_t i = 0; i < STRICTNESSES; i++) {
        cm_hash_u64(hash, controls->rules[i].bans != NULL);
        if (controls->rules[i].bans != NULL) {
            cm_ban_list_hash(controls->rules[i].bans, hash);
        }
    }
    cm_hash_u64(hash, options->stops_count);
    for (size_t i = 0; i < options->stops_count; i++) {
        cm_hash_text(hash, options->stops[i]);
    }
    cm_hash_u64(hash, CLOSING_PART);
    cm_hash_u64(hash, options->best_of);
}

enum cm_status cm_controls_lock_facts(const struct cm_controls *controls,
                                      const struct cm_fact_sources *sources,
                                      struct cm_constraint **lock)
{
    *lock = NULL;
    return controls->numbers_subset == NULL
               ? CM_OK
               : cm_fact_lock_open(sources, controls->options->fact_lock == CM_FACT_LOCK_WORDS,
                                   controls->numbers_subset, lock);
}

void cm_controls_apply(const struct cm_controls *controls, const char *language, bool is_strict,
                       struct cm_constraint *lock, struct cm_request *request)
{
    const struct rules *rules = &controls->rules[is_strict ? STRICT : USUAL];
    const struct form *form =
        &rules->forms[cm_language_is(language, "zh") ? FORM_CHINESE : FORM_OTHER];
    request->constraints[0] = form->constraint != NULL ? form->constraint : rules->bans_constraint;
    request->constraints[1] = lock;
    request->stop_strings = controls->options->stops;
    request->stop_strings_count = (uint32_t)controls->options->stops_count;
    request->closing_tokens = request->output_tokens_max / CLOSING_PART;
}
