#include "jobs/report/explain_command.h"

#include "base/log.h"
#include "base/memory.h"
#include "jobs/job_argument.h"
#include "jobs/ledger_entry.h"
#include "jobs/ledger_history.h"
#include "loaders/json_memory.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { ROWS_MAX = 100, COLUMN = 18 };

/* The rows that a name means. */
struct rows {
    int64_t ids[ROWS_MAX];
    int64_t settings[ROWS_MAX];
    size_t count;
    uint64_t total;
};

static enum cm_status note_row(const struct cm_ledger_entry *entry, void *context,
                               struct cm_error *error)
{
    (void)error;
    struct rows *rows = context;
    rows->total++;
    if (rows->count < ROWS_MAX) {
        rows->ids[rows->count] = entry->row_id;
        rows->settings[rows->count++] = entry->settings_id;
    }
    return CM_OK;
}

/* --- Printing --- */

/* Text of a catalog or a model must not move the cursor of a terminal. Lines after the first begin
 * with `indent`. */
static void print_safely(struct cm_span text, const char *indent)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == '\n') {
            printf("\n%s", indent);
        } else {
            putchar((byte < 0x20 && byte != '\t') || byte == 0x7f ? ' ' : text.data[i]);
        }
    }
}

static void print_text(const char *text, const char *indent)
{
    fputs(indent, stdout);
    print_safely(cm_span_of(text), indent);
    putchar('\n');
}

static void print_pair(const char *name, const char *value)
{
    if (value[0] != '\0') {
        printf("  %-*s ", COLUMN, name);
        print_text(value, "");
    }
}

static void print_object(const char *heading, const char *text)
{
    const char *name;
    json_t *value;
    json_t *object = text[0] != '\0' ? json_loads(text, 0, NULL) : NULL;
    printf("\n%s\n", heading);
    if (object == NULL) {
        puts("  not kept: the row was written by an earlier version");
    }
    json_object_foreach(object, name, value)
    {
        char *written = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        print_pair(name, written != NULL ? written : json_string_value(value));
        cm_free(written);
    }
    json_decref(object);
}

/* --- Evidence --- */

static const char *member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static void print_span(const json_t *span, const char *text)
{
    size_t length = strlen(text);
    size_t begin = (size_t)json_integer_value(json_object_get(span, "begin"));
    size_t end = (size_t)json_integer_value(json_object_get(span, "end"));
    if (begin >= end || end > length) {
        return;
    }
    const char *fact = member(span, "fact");
    const char *note = member(span, "note");
    printf("  %-*s \"", COLUMN, member(span, "kind"));
    print_safely((struct cm_span){ text + begin, end - begin }, " ");
    fputs(fact[0] != '\0' ? "\" - " : "\"", stdout);
    print_safely(cm_span_of(fact), " ");
    fputs(note[0] != '\0' ? ": " : "", stdout);
    print_text(note, "");
}

static void print_judgement(const struct cm_copy_row *row)
{
    const char *name;
    size_t index;
    json_t *value;
    json_t *judgement = row->judgement[0] != '\0' ? json_loads(row->judgement, 0, NULL) : NULL;
    printf("\nJudgement\n  %-*s %s\n  %-*s %.4g\n", COLUMN, "status",
           cm_row_status_name(row->status), COLUMN, "score", row->score);
    json_object_foreach(json_object_get(judgement, "scores"), name, value)
    {
        printf("  %-*s %.4g\n", COLUMN, name, json_number_value(value));
    }
    json_array_foreach(json_object_get(judgement, "flags"), index, value)
    {
        printf("  %-*s %s (%s): ", COLUMN, "flag", member(value, "rule"),
               member(value, "severity"));
        print_text(member(value, "reason"), "");
    }
    if (judgement == NULL) {
        print_pair("flags", row->flags);
    }
    json_array_foreach(json_object_get(judgement, "spans"), index, value)
    {
        print_span(value, row->text);
    }
    print_pair("error", row->error);
    json_decref(judgement);
}

/* --- A row --- */

static void print_origin(const struct cm_ledger_entry *entry)
{
    const struct cm_copy_row *row = &entry->row;
    puts("\nHow it was written");
    print_pair("scenario", row->scenario);
    print_pair("channel", row->channel);
    print_pair("language", row->language);
    print_pair("model", row->model);
    printf("  %-*s %" PRIu64 "\n", COLUMN, "seed", row->seed);
    printf("  %-*s %" PRIu32 " of %" PRIu32 "\n", COLUMN, "attempt kept", row->attempt, row->tries);
    printf("  %-*s %" PRIu32 " (%" PRIu32 " shared with other rows)\n", COLUMN, "prompt tokens",
           row->prompt_tokens, row->cached_tokens);
    printf("  %-*s %" PRIu32 ", ended by %s\n", COLUMN, "output tokens", row->output_tokens,
           row->finish_reason[0] != '\0' ? row->finish_reason : "nothing");
    print_pair("finished", entry->finished);
    print_pair("row key", row->key);
}

static enum cm_status print_row(const struct cm_ledger_entry *entry, void *context,
                                struct cm_error *error)
{
    (void)context;
    (void)error;
    const struct cm_copy_row *row = &entry->row;
    printf("%s, segment %s, row %" PRIu64 " of the output\n", row->item_id, row->segment_id,
           entry->position + 1);
    if (entry->title[0] != '\0') {
        print_text(entry->title, "");
    }
    if (entry->decision.state == CM_DECISION_EDITED) {
        puts("\nText, as edited");
        print_text(entry->decision.text, "  ");
        puts("\nText, as generated");
    } else {
        puts("\nText");
    }
    print_text(row->text[0] != '\0' ? row->text : "(none)", "  ");
    if (row->fields[0] != '\0') {
        print_object("Parts", row->fields);
    }
    print_object("Facts", entry->facts);
    print_object("Audience", entry->segment);
    print_origin(entry);
    return CM_OK;
}

static enum cm_status print_evidence(const struct cm_ledger_entry *entry, void *context,
                                     struct cm_error *error)
{
    (void)context;
    (void)error;
    print_judgement(&entry->row);
    return CM_OK;
}

static enum cm_status print_setting(const struct cm_ledger_setting *setting, void *context,
                                    struct cm_error *error)
{
    /* What the row itself says already is not said again. */
    static const char *const known[] = { "scenario", "channel", "seed", "model_name", "out" };
    (void)context;
    (void)error;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(setting->name, known[i]) == 0) {
            return CM_OK;
        }
    }
    bool own = strcmp(setting->name, "template") == 0 && setting->value[0] == '\0';
    print_pair(setting->name, own ? "of the scenario" : setting->value);
    return CM_OK;
}

static enum cm_status print_decision(const struct cm_decided *decision, void *context,
                                     struct cm_error *error)
{
    (void)error;
    uint64_t *count = context;
    if ((*count)++ == 0) {
        puts("\nDecisions");
    }
    printf("  %s %s%s%s", decision->time, cm_decision_name(decision->state),
           decision->reviewer[0] != '\0' ? " by " : "", decision->reviewer);
    if (decision->distance > 0) {
        printf(", %" PRIu32 " characters changed", decision->distance);
    }
    printf("%s%s\n", decision->reason[0] != '\0' ? ": " : "", decision->reason);
    return CM_OK;
}

static enum cm_status explain_row(struct cm_ledger *ledger, int64_t row_id, int64_t settings_id,
                                  struct cm_error *error)
{
    uint64_t decisions_count = 0;
    enum cm_status status = cm_ledger_visit_row(ledger, row_id, print_row, NULL, error);
    if (status == CM_OK) {
        puts("\nSettings of the run");
        status = cm_ledger_visit_settings(ledger, settings_id, print_setting, NULL, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_row(ledger, row_id, print_evidence, NULL, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_decisions(ledger, row_id, print_decision, &decisions_count, error);
    }
    if (status == CM_OK && decisions_count == 0) {
        puts("\nDecisions\n  none yet");
    }
    return status == CM_NOT_FOUND ? CM_OK : status;
}

/* --- The command --- */

static enum cm_status explain(const char *job, const char *name, struct cm_error *error)
{
    char path[CM_JOB_PATH_BYTES];
    struct cm_ledger *ledger = NULL;
    struct rows rows = { 0 };
    cm_json_memory_begin();
    enum cm_status status = cm_job_path(job, path, error);
    if (status == CM_OK) {
        status = cm_ledger_open_reading(path, &ledger, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_named(ledger, name, note_row, &rows, error);
    }
    for (size_t i = 0; status == CM_OK && i < rows.count; i++) {
        fputs(i > 0 ? "\n----------------------------------------------------------------\n\n" : "",
              stdout);
        status = explain_row(ledger, rows.ids[i], rows.settings[i], error);
    }
    if (status == CM_OK && rows.total > rows.count) {
        cm_log(CM_LOG_WARNING, "the first %zu of %" PRIu64 " rows; ITEM:SEGMENT names one",
               rows.count, rows.total);
    }
    cm_ledger_close(ledger);
    return status;
}

enum cm_exit cm_explain_command(int argc, char **argv)
{
    struct cm_job_arguments arguments;
    struct cm_error error = { 0 };
    enum cm_status status = cm_job_arguments_parse(NULL, 0, NULL, argc, argv, &arguments, &error);
    if (status == CM_END) {
        printf("Usage: copymill explain JOB ROW\n\n"
               "Prints everything that led to a text: facts, audience, template, model, seed,\n"
               "attempts, scores with their evidence, decisions. JOB is the ledger (copy.csv.job)\n"
               "or the copy file beside it. ROW is ITEM, ITEM:SEGMENT, the row_key of the copy\n"
               "file or its beginning, or #N for the Nth row.\n");
        return CM_EXIT_OK;
    }
    if (status == CM_OK && arguments.words_count != 2) {
        status =
            cm_error_set(&error, CM_INVALID_ARGUMENT,
                         "expected a job and a row: copymill explain copy.csv.job ITEM:SEGMENT");
    }
    if (status == CM_OK) {
        status = explain(arguments.words[0], arguments.words[1], &error);
    }
    if (status == CM_OK) {
        return CM_EXIT_OK;
    }
    cm_log(CM_LOG_ERROR, "%s", error.message);
    return status == CM_IO || status == CM_OUT_OF_MEMORY ? CM_EXIT_FAILED : CM_EXIT_USAGE;
}
