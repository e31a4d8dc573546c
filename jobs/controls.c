#include "jobs/controls.h"

#include "base/memory.h"
#include "jobs/ban_list.h"
#include "jobs/fact_lock.h"

/* The part of the token limit, at its end, in which a text is closed with a sentence. */
enum { CLOSING_PART = 4 };

struct cm_controls {
    const struct cm_run_options *options;
    struct cm_ban_list *bans; /* NULL without --ban */
    struct cm_token_subset *bans_subset;
    struct cm_constraint *bans_constraint;
    struct cm_token_subset *numbers_subset; /* NULL with --fact-lock off */
};

static enum cm_status open_bans(struct cm_controls *controls, const struct cm_tokenizer *tokenizer,
                                struct cm_error *error)
{
    enum cm_status status = cm_ban_list_open(controls->options->ban_path, &controls->bans, error);
    if (status != CM_OK) {
        return status;
    }
    struct cm_automaton automaton = cm_ban_list_automaton(controls->bans);
    status = cm_token_subset_open(tokenizer, automaton.relevant, NULL, &controls->bans_subset);
    if (status == CM_OK) {
        status =
            cm_constraint_open(&automaton, controls->bans_subset, NULL, &controls->bans_constraint);
    }
    return status == CM_OK ? CM_OK : cm_error_set(error, status, "out of memory for --ban");
}

enum cm_status cm_controls_open(const struct cm_run_options *options,
                                const struct cm_tokenizer *tokenizer, struct cm_controls **controls,
                                struct cm_error *error)
{
    struct cm_controls *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    opened->options = options;
    enum cm_status status = CM_OK;
    if (options->ban_path != NULL) {
        status = open_bans(opened, tokenizer, error);
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

void cm_controls_close(struct cm_controls *controls)
{
    if (controls != NULL) {
        cm_constraint_release(controls->bans_constraint);
        cm_token_subset_close(controls->bans_subset);
        cm_ban_list_close(controls->bans);
        cm_token_subset_close(controls->numbers_subset);
        cm_free(controls);
    }
}

void cm_controls_hash(const struct cm_controls *controls, struct cm_hash *hash)
{
    const struct cm_run_options *options = controls->options;
    cm_hash_u64(hash, options->fact_lock);
    cm_hash_u64(hash, controls->bans != NULL);
    if (controls->bans != NULL) {
        cm_ban_list_hash(controls->bans, hash);
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

void cm_controls_apply(const struct cm_controls *controls, struct cm_constraint *lock,
                       struct cm_request *request)
{
    request->constraints[0] = controls->bans_constraint;
    request->constraints[1] = lock;
    request->stop_strings = controls->options->stops;
    request->stop_strings_count = (uint32_t)controls->options->stops_count;
    request->closing_tokens = request->output_tokens_max / CLOSING_PART;
}
