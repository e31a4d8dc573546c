#include "jobs/content/score_file.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "jobs/content/catalog_index.h"
#include "jobs/content/channel.h"
#include "jobs/content/judge.h"
#include "jobs/content/meaning.h"
#include "jobs/content/near_duplicates.h"
#include "jobs/content/score_summary.h"
#include "jobs/content/variety.h"
#include "jobs/output_file.h"
#include "jobs/table_writer.h"
#include "loaders/json_memory.h"
#include "loaders/questions.h"
#include "loaders/segments.h"
#include "loaders/sheet.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CHANNELS_MAX = 16, COLUMNS_MAX = 1024, NUMBER_BYTES = 32, JSON_BYTES_MAX = 1 << 20 };

/* The columns that are used, as places among all of them; SIZE_MAX: not there. */
enum used {
    TEXT,
    ITEM,
    SEGMENT,
    LANGUAGE,
    FIELDS,
    CHANNEL,
    FINISH,
    SCORE,
    FLAGS,
    EVIDENCE,
    QUESTION,
    SCENARIO,
    USED
};
static const char *const USED_NAMES[USED] = { "text",   "item_id",   "segment_id",    "language",
                                              "fields", "channel",   "finish_reason", "score",
                                              "flags",  "judgement", "question",      "scenario" };

struct work {
    const struct cm_score_options *options;
    struct cm_judge *judge;
    struct cm_catalog_index *catalog; /* NULL: none */
    struct cm_segments segments;
    struct cm_questions questions;
    struct cm_channel *channels[CHANNELS_MAX]; /* that rows were written for */
    size_t channels_count;
    struct cm_meaning *meaning; /* NULL: no embedder */
    struct cm_near_duplicates *near;
    char **names; /* [near count] "item, segment" of each text that was added */
    size_t names_capacity;
    struct cm_variety *variety;

    char *columns[COLUMNS_MAX];
    size_t columns_count;
    size_t used[USED];
    char *cells[COLUMNS_MAX]; /* of the row in hand; NULL: none */
    struct cm_table_writer *writer;
    struct cm_score_summary summary;
    struct cm_judgement judgement;
    struct cm_text json;
    struct cm_error *error;
};

static enum cm_status no_memory(struct work *work)
{
    return cm_error_set(work->error, CM_OUT_OF_MEMORY, "out of memory");
}

/* --- Columns --- */

static size_t find_column(const struct work *work, struct cm_span name)
{
    for (size_t i = 0; i < work->columns_count; i++) {
        if (cm_span_equal_text(name, work->columns[i])) {
            return i;
        }
    }
    return SIZE_MAX;
}

static enum cm_status add_column(struct work *work, struct cm_span name, size_t *place)
{
    *place = find_column(work, name);
    if (*place != SIZE_MAX) {
        return CM_OK;
    }
    if (work->columns_count == COLUMNS_MAX) {
        return cm_error_set(work->error, CM_LIMIT, "%s: more than %d columns",
                            work->options->copy_path, COLUMNS_MAX);
    }
    char *copy = cm_strndup(name.data, name.length);
    if (copy == NULL) {
        return no_memory(work);
    }
    *place = work->columns_count;
    work->columns[work->columns_count++] = copy;
    return CM_OK;
}

static void find_used(struct work *work)
{
    for (size_t i = 0; i < USED; i++) {
        work->used[i] = SIZE_MAX;
    }
    for (size_t i = 0; i < work->columns_count; i++) {
        struct cm_sheet_cell cell = { .name = cm_span_of(work->columns[i]) };
        for (size_t j = 0; j < USED; j++) {
            if (work->used[j] == SIZE_MAX && cm_sheet_cell_is(&cell, USED_NAMES[j])) {
                work->used[j] = i;
            }
        }
    }
}

/* A first pass over the file, because the rows of JSONL need not have the same keys. */
static enum cm_status read_columns(struct work *work)
{
    struct cm_sheet *sheet = NULL;
    struct cm_sheet_record record;
    size_t place;
    enum cm_status status = cm_sheet_open(work->options->copy_path, "text", &sheet, work->error);
    if (status != CM_OK) {
        return status;
    }
    while ((status = cm_sheet_next(sheet, &record, work->error)) == CM_OK) {
        for (size_t i = 0; i < record.cells_count && status == CM_OK; i++) {
            status = add_column(work, record.cells[i].name, &place);
        }
        if (status != CM_OK) {
            break;
        }
    }
    cm_sheet_close(sheet);
    if (status != CM_END) {
        return status;
    }
    find_used(work);
    if (work->used[TEXT] == SIZE_MAX) {
        return cm_error_set(work->error, CM_INVALID_DATA,
                            "%s: no column \"text\": expected the copy in a column of that name",
                            work->options->copy_path);
    }
    static const enum used filled[] = { SCORE, FLAGS, EVIDENCE };
    size_t filled_count = work->options->evidence ? 3 : 2;
    status = CM_OK;
    for (size_t i = 0; i < filled_count && status == CM_OK; i++) {
        if (work->used[filled[i]] == SIZE_MAX) {
            status = add_column(work, cm_span_of(USED_NAMES[filled[i]]), &work->used[filled[i]]);
        }
    }
    return status;
}

static void clear_row(struct work *work)
{
    for (size_t i = 0; i < COLUMNS_MAX; i++) {
        cm_free(work->cells[i]);
        work->cells[i] = NULL;
    }
}

static enum cm_status set_cell(struct work *work, size_t place, struct cm_span value)
{
    cm_free(work->cells[place]);
    work->cells[place] = cm_strndup(value.data, value.length);
    return work->cells[place] != NULL ? CM_OK : no_memory(work);
}

static enum cm_status take_row(struct work *work, const struct cm_sheet_record *record)
{
    enum cm_status status = CM_OK;
    clear_row(work);
    for (size_t i = 0; i < record->cells_count && status == CM_OK; i++) {
        size_t place = find_column(work, record->cells[i].name);
        if (place != SIZE_MAX) {
            status = set_cell(work, place, record->cells[i].value);
        }
    }
    return status;
}

static const char *cell(const struct work *work, enum used used)
{
    size_t place = work->used[used];
    return place == SIZE_MAX || work->cells[place] == NULL ? "" : work->cells[place];
}

/* --- Rows --- */

static const struct cm_segment *find_segment(const struct work *work, const char *id)
{
    for (size_t i = 0; i < work->segments.count && work->options->segments_path != NULL; i++) {
        if (strcmp(work->segments.items[i].id, id) == 0) {
            return &work->segments.items[i];
        }
    }
    return NULL;
}

/* The question of the row: from its fields, or a column of that name; the policy from --questions.
 * `storage` is filled. NULL: none. */
static const struct cm_question *find_question(const struct work *work, json_t *fields,
                                               struct cm_question *storage)
{
    const char *id = json_string_value(json_object_get(fields, "question_id"));
    const char *text = json_string_value(json_object_get(fields, "question"));
    for (size_t i = 0; i < work->questions.count && id != NULL; i++) {
        if (strcmp(work->questions.items[i].id, id) == 0) {
            return &work->questions.items[i];
        }
    }
    text = text == NULL && cell(work, QUESTION)[0] != '\0' ? cell(work, QUESTION) : text;
    if (text == NULL) {
        return NULL;
    }
    *storage = (struct cm_question){ .id = (char *)"",
                                     .item_id = (char *)"",
                                     .text = (char *)text,
                                     .policy = (char *)"",
                                     .language = (char *)"" };
    return storage;
}

static enum cm_status check_near(struct work *work, const char *name)
{
    struct cm_near_match match;
    enum cm_status status =
        cm_near_duplicates_add(work->near, cm_span_of(cell(work, TEXT)), &match, work->error);
    if (status != CM_OK) {
        return status;
    }
    size_t count = cm_near_duplicates_count(work->near);
    void *block = work->names;
    if (cm_grow(&block, &work->names_capacity, count, sizeof *work->names) != CM_OK) {
        return no_memory(work);
    }
    work->names = block;
    work->names[count - 1] = cm_strdup(name);
    if (work->names[count - 1] == NULL) {
        return no_memory(work);
    }
    if (match.found) {
        cm_judgement_flag(&work->judgement, "near-duplicate", "of %s", work->names[match.index]);
        work->judgement.scores[CM_CREATIVITY] *= cm_rule_find("near-duplicate")->factor;
        work->judgement.score *= cm_rule_find("near-duplicate")->factor;
    }
    return CM_OK;
}

/* The channel of the options, else the row's. One that is not known has no rules, unless it was
 * asked for. */
static enum cm_status find_channel(struct work *work, const struct cm_channel **channel)
{
    const char *asked = work->options->channel;
    const char *name = asked != NULL ? asked : cell(work, CHANNEL);
    struct cm_error unknown;
    *channel = NULL;
    for (size_t i = 0; i < work->channels_count; i++) {
        if (strcmp(work->channels[i]->name, name) == 0) {
            *channel = work->channels[i];
            return CM_OK;
        }
    }
    if (name[0] == '\0' || work->channels_count == CHANNELS_MAX) {
        return CM_OK;
    }
    struct cm_channel **place = &work->channels[work->channels_count];
    enum cm_status status = cm_channel_open(name, place, asked != NULL ? work->error : &unknown);
    if (status == CM_OK) {
        *channel = *place;
        work->channels_count++;
    }
    return status == CM_INVALID_ARGUMENT && asked == NULL ? CM_OK : status;
}

static enum cm_status judge_text(struct work *work, json_t *fields, const char *name)
{
    const struct cm_segment *segment = find_segment(work, cell(work, SEGMENT));
    const char *language = cell(work, LANGUAGE);
    struct cm_question storage;
    if (strcmp(work->options->language, "auto") != 0) {
        language = work->options->language;
    } else if (language[0] == '\0' && segment != NULL) {
        language = segment->language;
    }
    const char *finish = cell(work, FINISH);
    const char *scenario = cell(work, SCENARIO);
    struct cm_judge_input input = {
        .text = cm_span_of(cell(work, TEXT)),
        .scenario = scenario[0] != '\0' ? scenario : NULL,
        .fields = cm_span_of(cell(work, FIELDS)),
        .segment = segment,
        .question = find_question(work, fields, &storage),
        .language = language,
        .end = strcmp(finish, "stop") == 0     ? CM_TEXT_END_STOP
               : strcmp(finish, "length") == 0 ? CM_TEXT_END_LENGTH
                                               : CM_TEXT_END_UNKNOWN,
    };
    enum cm_status status = find_channel(work, &input.channel);
    if (status != CM_OK) {
        return status;
    }
    if (work->catalog != NULL) {
        input.item = cm_catalog_index_find(work->catalog, cell(work, ITEM));
        work->summary.rows_no_item += input.item == NULL;
    }
    status = work->options->comply ? cm_judge_compliance(work->judge, &input, &work->judgement)
                                   : cm_judge_text(work->judge, &input, &work->judgement);
    if (status == CM_OK && !work->options->comply) {
        status = cm_variety_add(work->variety, input.text);
    }
    if (status != CM_OK) {
        return no_memory(work);
    }
    if (work->options->comply) {
        return CM_OK;
    }
    status = check_near(work, name);
    if (status != CM_OK || work->meaning == NULL) {
        return status;
    }
    const struct cm_meaning_row row = { input.text, cell(work, ITEM), segment, name };
    return cm_meaning_judge(work->meaning, &row, &work->judgement, work->error);
}

/* Fills score, flags and evidence. */
static enum cm_status fill_cells(struct work *work, const char *flags)
{
    char score[NUMBER_BYTES];
    snprintf(score, sizeof score, "%.4f", work->judgement.score);
    enum cm_status status = set_cell(work, work->used[SCORE], cm_span_of(score));
    if (status == CM_OK) {
        status = set_cell(work, work->used[FLAGS], cm_span_of(flags));
    }
    if (status == CM_OK && work->options->evidence) {
        cm_text_clear(&work->json);
        status = cm_judgement_json(&work->judgement, &work->json) == CM_OK
                     ? set_cell(work, work->used[EVIDENCE], cm_text_span(&work->json))
                     : no_memory(work);
    }
    return status;
}

static void describe_row(struct work *work, struct cm_worst_row *row, uint64_t line, bool is_low)
{
    *row = (struct cm_worst_row){ .score = work->judgement.score, .line = line };
    snprintf(row->name, sizeof row->name, "%.40s%s%.40s", cell(work, ITEM),
             cell(work, SEGMENT)[0] != '\0' ? ", " : "", cell(work, SEGMENT));
    cm_judgement_flags(&work->judgement, row->flags);
    size_t length = strlen(row->flags);
    if (is_low && length + sizeof "; low-score" < sizeof row->flags) {
        snprintf(row->flags + length, sizeof row->flags - length, "%slow-score",
                 length > 0 ? "; " : "");
    }
    snprintf(row->text, sizeof row->text, "%s", cell(work, TEXT));
    cm_utf8_clean(row->name);
    cm_utf8_clean(row->text);
}

static enum cm_status judge_row(struct work *work, uint64_t line)
{
    struct cm_worst_row row;
    char name[96];
    work->summary.rows++;
    if (cm_span_trim(cm_span_of(cell(work, TEXT))).length == 0) {
        work->summary.rows_no_text++;
        return CM_OK;
    }
    snprintf(name, sizeof name, "%.40s/%.40s", cell(work, ITEM), cell(work, SEGMENT));
    cm_utf8_clean(name);
    cm_json_memory_begin();
    json_t *fields = json_loads(cell(work, FIELDS), 0, NULL);
    enum cm_status status = judge_text(work, fields, name);
    json_decref(fields);
    if (status != CM_OK) {
        return status;
    }
    bool is_low = !work->options->comply && work->judgement.score < work->options->min_score;
    describe_row(work, &row, line, is_low);
    cm_score_summary_add(&work->summary, &work->judgement, &row, is_low);
    return fill_cells(work, row.flags);
}

static enum cm_status judge_rows(struct work *work)
{
    struct cm_sheet *sheet = NULL;
    struct cm_sheet_record record;
    enum cm_status status = cm_sheet_open(work->options->copy_path, "text", &sheet, work->error);
    if (status != CM_OK) {
        return status;
    }
    while ((status = cm_sheet_next(sheet, &record, work->error)) == CM_OK) {
        if (record.problem != NULL) {
            status = cm_sheet_refuse(sheet, &record, work->error, record.problem);
        } else {
            status = take_row(work, &record);
        }
        if (status == CM_OK) {
            status = judge_row(work, record.line);
        }
        if (status == CM_OK && work->writer != NULL) {
            status =
                cm_table_writer_add(work->writer, (const char *const *)work->cells, work->error);
        }
        if (status != CM_OK) {
            break;
        }
    }
    cm_sheet_close(sheet);
    return status == CM_END ? CM_OK : status;
}

/* --- The whole --- */

static enum cm_status open_catalog(struct work *work)
{
    const struct cm_score_options *options = work->options;
    struct cm_catalog_options catalog = { .path = options->catalog_path,
                                          .maps = options->maps,
                                          .maps_count = options->maps_count,
                                          .keeps_reputation = true };
    if (options->catalog_path == NULL) {
        cm_judge_ready(work->judge);
        return CM_OK;
    }
    enum cm_status status = cm_catalog_index_open(&catalog, &work->catalog, work->error);
    for (size_t i = 0; status == CM_OK && i < cm_catalog_index_count(work->catalog); i++) {
        if (cm_judge_learn(work->judge, cm_catalog_index_at(work->catalog, i)) != CM_OK) {
            status = no_memory(work);
        }
    }
    cm_judge_ready(work->judge);
    return status;
}

static enum cm_status open_inputs(struct work *work)
{
    const struct cm_score_options *options = work->options;
    struct cm_judge_options judge = { .lexicon_paths = options->lexicons,
                                      .lexicon_paths_count = options->lexicons_count,
                                      .learns_catalog = true };
    enum cm_status status = cm_judge_open(&judge, &work->judge, work->error);
    if (status == CM_OK) {
        status = open_catalog(work);
    }
    if (status == CM_OK && options->segments_path != NULL) {
        status = cm_segments_open(options->segments_path, &work->segments, work->error);
    }
    if (status == CM_OK && options->embedder != NULL) {
        status = cm_meaning_open(options->embedder, &work->segments, &work->meaning, work->error);
    }
    if (status == CM_OK && options->questions_path != NULL) {
        status = cm_questions_open(options->questions_path, &work->questions, work->error);
    }
    if (status == CM_OK) {
        status = cm_near_duplicates_open(options->near_duplicate, &work->near, work->error);
    }
    if (status == CM_OK && cm_variety_open(&work->variety) != CM_OK) {
        status = no_memory(work);
    }
    if (status == CM_OK) {
        status = read_columns(work);
    }
    work->summary.worst_limit = options->worst;
    work->summary.worst = cm_alloc(options->worst + 1, sizeof *work->summary.worst);
    return status == CM_OK && work->summary.worst == NULL ? no_memory(work) : status;
}

static void close_work(struct work *work)
{
    clear_row(work);
    size_t names =
        work->near != NULL && work->names != NULL ? cm_near_duplicates_count(work->near) : 0;
    for (size_t i = 0; i < names; i++) {
        cm_free(work->names[i]);
    }
    cm_free(work->names);
    for (size_t i = 0; i < work->columns_count; i++) {
        cm_free(work->columns[i]);
    }
    cm_variety_close(work->variety);
    cm_free(work->summary.worst);
    cm_text_deinit(&work->json);
    for (size_t i = 0; i < work->channels_count; i++) {
        cm_channel_close(work->channels[i]);
    }
    cm_meaning_close(work->meaning);
    cm_near_duplicates_close(work->near);
    cm_questions_deinit(&work->questions);
    cm_segments_deinit(&work->segments);
    cm_catalog_index_close(work->catalog);
    cm_judge_close(work->judge);
    cm_free(work);
}

static enum cm_status judge_into(struct work *work, struct cm_output_file *file)
{
    const struct cm_score_options *options = work->options;
    struct cm_copy_writer_options writer = { .format = cm_copy_format_of(options->out_path),
                                             .excel = options->excel };
    enum cm_status status = cm_table_writer_open(
        cm_output_file_stream(file), options->out_path, (const char *const *)work->columns,
        work->columns_count, &writer, &work->writer, work->error);
    if (status == CM_OK) {
        status = judge_rows(work);
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(file, NULL, work->error);
    }
    cm_table_writer_close(work->writer);
    return status;
}

enum cm_status cm_score_file(const struct cm_score_options *options, bool *grave,
                             struct cm_error *error)
{
    struct cm_output_file *file = NULL;
    struct work *work = cm_alloc(1, sizeof *work);
    if (work == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
    }
    work->options = options;
    work->error = error;
    work->json = CM_TEXT_INIT(JSON_BYTES_MAX);
    enum cm_status status = open_inputs(work);
    if (status == CM_OK && options->out_path != NULL) {
        status = cm_output_file_open(options->out_path, &file, error);
    }
    if (status == CM_OK) {
        status = file != NULL ? judge_into(work, file) : judge_rows(work);
    }
    cm_output_file_close(file);
    if (status == CM_OK && cm_variety_measure(work->variety, &work->summary.variety) != CM_OK) {
        status = no_memory(work);
    }
    if (status == CM_OK) {
        bool to_stdout = options->out_path != NULL && strcmp(options->out_path, "-") == 0;
        cm_score_summary_print(&work->summary, to_stdout ? stderr : stdout, options->comply);
        *grave = work->summary.rows_grave > 0;
    }
    close_work(work);
    return status;
}
