#include "jobs/report/report_data.h"

#include "base/memory.h"
#include "jobs/content/near_duplicates.h"
#include "jobs/content/variety.h"
#include "jobs/flags.h"
#include "loaders/json_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double duplicate_similarity = 0.8;

/* While rows come in. */
struct gathering {
    struct cm_report_data *data;
    struct cm_near_duplicates *texts;
    struct cm_variety *variety;
    char item[CM_REPORT_NAME_BYTES]; /* of the row before */
};

static enum cm_status no_memory(struct cm_error *error)
{
    return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
}

/* --- Names --- */

/* The entry of that name; NULL where there is no room for another. */
static struct cm_report_name *find_name(struct cm_report_names *names, struct cm_span name)
{
    char key[CM_REPORT_NAME_BYTES];
    snprintf(key, sizeof key, "%.*s", (int)(name.length < 90 ? name.length : 90), name.data);
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i].name, key) == 0) {
            return &names->items[i];
        }
    }
    if (names->count == CM_REPORT_NAMES_MAX) {
        names->others++;
        return NULL;
    }
    struct cm_report_name *added = &names->items[names->count++];
    *added = (struct cm_report_name){ 0 };
    memcpy(added->name, key, sizeof key);
    return added;
}

static int by_rows(const void *a, const void *b)
{
    const struct cm_report_name *left = a;
    const struct cm_report_name *right = b;
    return left->rows != right->rows ? (left->rows < right->rows ? 1 : -1)
                                     : strcmp(left->name, right->name);
}

/* --- Rows --- */

static uint32_t count_characters(const char *text)
{
    uint32_t count = 0;
    for (; *text != '\0'; text++) {
        count += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return count;
}

static enum cm_status keep_row(struct cm_report_data *data, const struct cm_ledger_entry *entry,
                               uint32_t characters)
{
    size_t index = data->texts_count;
    void *lengths = data->lengths;
    void *row_ids = data->row_ids;
    void *scores = data->score_of;
    enum cm_status status =
        cm_grow(&lengths, &data->lengths_capacity, index + 1, sizeof *data->lengths);
    data->lengths = lengths;
    if (status == CM_OK) {
        status = cm_grow(&row_ids, &data->row_ids_capacity, index + 1, sizeof *data->row_ids);
        data->row_ids = row_ids;
    }
    if (status == CM_OK) {
        status = cm_grow(&scores, &data->score_of_capacity, index + 1, sizeof *data->score_of);
        data->score_of = scores;
    }
    if (status == CM_OK) {
        data->lengths[index] = characters;
        data->row_ids[index] = entry->row_id;
        data->score_of[index] = entry->row.score;
        data->texts_count++;
    }
    return status;
}

/* Rules and their severity from the evidence, or from the short form where there is none. */
static void count_flags(struct cm_report_data *data, const struct cm_copy_row *row,
                        const json_t *judgement)
{
    size_t index;
    json_t *flag;
    const json_t *flags = json_object_get(judgement, "flags");
    json_array_foreach(flags, index, flag)
    {
        const char *rule = json_string_value(json_object_get(flag, "rule"));
        const char *severity = json_string_value(json_object_get(flag, "severity"));
        struct cm_report_name *name =
            rule != NULL ? find_name(&data->rules, cm_span_of(rule)) : NULL;
        if (name != NULL) {
            name->rows++;
            name->severe += severity != NULL && strcmp(severity, "high") == 0;
        }
    }
    struct cm_flag found;
    const char *at = row->flags;
    while (flags == NULL && cm_flag_next(&at, &found)) {
        struct cm_report_name *name = find_name(&data->rules, found.name);
        if (name != NULL) {
            name->rows++;
        }
    }
}

static void count_dimensions(struct cm_report_data *data, json_t *judgement)
{
    const char *dimension;
    json_t *score;
    json_object_foreach(json_object_get(judgement, "scores"), dimension, score)
    {
        struct cm_report_name *name =
            json_is_number(score) ? find_name(&data->dimensions, cm_span_of(dimension)) : NULL;
        if (name != NULL) {
            name->rows++;
            name->sum += json_number_value(score);
        }
    }
}

static void count_segment(struct cm_report_data *data, const struct cm_ledger_entry *entry)
{
    struct cm_report_name *segment = find_name(&data->segments, cm_span_of(entry->row.segment_id));
    if (segment != NULL) {
        segment->rows++;
        segment->flagged += entry->row.status == CM_ROW_FLAGGED;
        segment->failed += entry->row.status == CM_ROW_FAILED;
        segment->approved += cm_ledger_entry_is_approved(entry);
        segment->sum += entry->row.score;
    }
}

static void count_part(struct cm_report_data *data, size_t field, const json_t *value)
{
    const struct cm_channel_field *limits = &data->channel->fields[field];
    struct cm_report_part *part = &data->parts[field];
    const char *text = json_string_value(value);
    if (text == NULL) {
        return;
    }
    uint32_t length = cm_channel_measure(data->channel->unit, cm_span_of(text));
    part->values++;
    part->over_soft += limits->soft > 0 && length > limits->soft;
    part->over_hard += limits->hard > 0 && length > limits->hard;
    part->longest = length > part->longest ? length : part->longest;
}

static void count_parts(struct cm_report_data *data, const char *text)
{
    json_t *fields = data->channel != NULL && text[0] != '\0' ? json_loads(text, 0, NULL) : NULL;
    for (size_t i = 0; fields != NULL && i < data->channel->fields_count; i++) {
        size_t index;
        json_t *item;
        const json_t *value = json_object_get(fields, data->channel->fields[i].name);
        count_part(data, i, value);
        json_array_foreach(value, index, item)
        {
            count_part(data, i, item);
        }
    }
    json_decref(fields);
}

/* A channel that this version does not know any more has no limits to show. */
static enum cm_status open_channel(struct cm_report_data *data, const char *name,
                                   struct cm_error *error)
{
    enum cm_status status = cm_channel_open(name, &data->channel, error);
    return status == CM_OUT_OF_MEMORY ? status : CM_OK;
}

static uint32_t measure(const struct cm_report_data *data, const char *text)
{
    return data->channel != NULL ? cm_channel_measure(data->channel->unit, cm_span_of(text))
                                 : count_characters(text);
}

/* What the score should have told beforehand. */
static enum cm_status note_decision(struct cm_report_data *data,
                                    const struct cm_ledger_entry *entry)
{
    void *block = data->decided;
    if (entry->decision.state == CM_DECISION_OPEN) {
        return CM_OK;
    }
    enum cm_status status =
        cm_grow(&block, &data->decided_capacity, data->decided_count + 1, sizeof *data->decided);
    data->decided = block;
    if (status == CM_OK) {
        data->decided[data->decided_count++] = (struct cm_calibration_case){
            .score = entry->row.score,
            .is_ok = entry->row.status == CM_ROW_OK,
            .is_accepted = entry->decision.state == CM_DECISION_APPROVED,
        };
    }
    return status;
}

static enum cm_status count_text(struct gathering *gathering, const struct cm_ledger_entry *entry,
                                 struct cm_error *error)
{
    struct cm_report_data *data = gathering->data;
    uint32_t characters = measure(data, entry->row.text);
    count_parts(data, entry->row.fields);
    int bin = (int)(entry->row.score * CM_REPORT_SCORE_BINS);
    bin = bin < 0 ? 0 : bin >= CM_REPORT_SCORE_BINS ? CM_REPORT_SCORE_BINS - 1 : bin;
    data->scores[entry->row.status == CM_ROW_FLAGGED][bin]++;
    data->score_sum += entry->row.score;
    data->characters += characters;
    if (data->compared < CM_REPORT_COMPARED_MAX) {
        struct cm_near_match match;
        enum cm_status status =
            cm_near_duplicates_add(gathering->texts, cm_span_of(entry->row.text), &match, error);
        if (status != CM_OK) {
            return status;
        }
        if (cm_variety_add(gathering->variety, cm_span_of(entry->row.text)) != CM_OK) {
            return no_memory(error);
        }
        data->compared++;
    }
    if (note_decision(data, entry) != CM_OK) {
        return no_memory(error);
    }
    return keep_row(data, entry, characters) == CM_OK ? CM_OK : no_memory(error);
}

static enum cm_status gather_row(const struct cm_ledger_entry *entry, void *context,
                                 struct cm_error *error)
{
    struct gathering *gathering = context;
    struct cm_report_data *data = gathering->data;
    const char *evidence = entry->row.judgement;
    if (data->rows_count == 0 && open_channel(data, entry->row.channel, error) != CM_OK) {
        return CM_OUT_OF_MEMORY;
    }
    data->rows_count++;
    data->rows[entry->row.status]++;
    data->decisions[entry->decision.state]++;
    data->retried += entry->row.tries > 1;
    if (data->rows_count == 1 ||
        strncmp(gathering->item, entry->row.item_id, sizeof gathering->item - 1) != 0) {
        snprintf(gathering->item, sizeof gathering->item, "%s", entry->row.item_id);
        data->items_count++;
    }
    count_segment(data, entry);
    json_t *judgement = evidence[0] != '\0' ? json_loads(evidence, 0, NULL) : NULL;
    count_flags(data, &entry->row, judgement);
    count_dimensions(data, judgement);
    json_decref(judgement);
    return entry->row.text[0] != '\0' ? count_text(gathering, entry, error) : CM_OK;
}

/* --- After the rows --- */

static void note_group(struct cm_report_data *data, size_t first, uint64_t rows)
{
    for (size_t i = 0; i < CM_REPORT_GROUPS; i++) {
        if (rows > data->groups[i].rows) {
            memmove(&data->groups[i + 1], &data->groups[i],
                    (CM_REPORT_GROUPS - i) * sizeof data->groups[0]);
            data->groups[i] = (struct cm_report_group){ first, rows };
            return;
        }
    }
}

static enum cm_status find_groups(struct gathering *gathering, struct cm_error *error)
{
    struct cm_report_data *data = gathering->data;
    size_t count = cm_near_duplicates_count(gathering->texts);
    uint32_t *sizes = cm_alloc(count + 1, sizeof *sizes);
    if (sizes == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        sizes[cm_near_duplicates_group(gathering->texts, i)]++;
    }
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] > 1) {
            data->groups_count++;
            data->repeated += sizes[i];
            note_group(data, i, sizes[i]);
        }
    }
    cm_free(sizes);
    return CM_OK;
}

struct scored {
    double score;
    int64_t row_id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *left = a;
    const struct scored *right = b;
    return left->score != right->score
               ? (left->score < right->score ? 1 : -1)
               : (left->row_id > right->row_id) - (left->row_id < right->row_id);
}

/* At equal steps from the best to the worst. */
static enum cm_status choose_examples(struct cm_report_data *data, struct cm_error *error)
{
    size_t count = data->texts_count;
    struct scored *rows = cm_alloc(count + 1, sizeof *rows);
    if (rows == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct scored){ data->score_of[i], data->row_ids[i] };
    }
    qsort(rows, count, sizeof *rows, by_score);
    data->examples_count = count < CM_REPORT_EXAMPLES ? count : CM_REPORT_EXAMPLES;
    for (size_t i = 0; i < data->examples_count; i++) {
        size_t steps = data->examples_count - 1;
        data->examples[i] = rows[steps == 0 ? 0 : i * (count - 1) / steps].row_id;
    }
    cm_free(rows);
    return CM_OK;
}

/* --- Runs --- */

static enum cm_status note_run(const struct cm_ledger_run *run, void *context,
                               struct cm_error *error)
{
    (void)error;
    struct cm_report_data *data = context;
    json_t *figures = run->figures[0] != '\0' ? json_loads(run->figures, 0, NULL) : NULL;
    double computed = json_number_value(json_object_get(figures, "computed_tokens"));
    if (run->settings_id != data->settings_id) {
        data->wall_s = 0;
        data->runs_count = 0;
        data->run_id = 0;
        data->settings_id = run->settings_id;
    }
    data->runs_count++;
    data->wall_s += json_number_value(json_object_get(figures, "wall_s"));
    if (data->run_id == 0 || computed > 0 || figures == NULL) {
        json_decref(data->figures);
        data->figures = json_incref(figures);
        data->run_id = run->run_id;
        snprintf(data->began, sizeof data->began, "%s", run->began);
        snprintf(data->ended, sizeof data->ended, "%s", run->ended);
    }
    json_decref(figures);
    return CM_OK;
}

static enum cm_status note_sample(const struct cm_ledger_sample *sample, void *context,
                                  struct cm_error *error)
{
    struct cm_report_data *data = context;
    void *samples = data->samples;
    enum cm_status status =
        cm_grow(&samples, &data->samples_capacity, data->samples_count + 1, sizeof *data->samples);
    data->samples = samples;
    if (status != CM_OK) {
        return no_memory(error);
    }
    data->samples[data->samples_count++] = *sample;
    return CM_OK;
}

enum cm_status cm_report_data_gather(struct cm_ledger *ledger, struct cm_report_data *data,
                                     struct cm_error *error)
{
    *data = (struct cm_report_data){ 0 };
    cm_json_memory_begin();
    struct gathering gathering = { .data = data };
    enum cm_status status = cm_near_duplicates_open(duplicate_similarity, &gathering.texts, error);
    if (status == CM_OK && cm_variety_open(&gathering.variety) != CM_OK) {
        status = no_memory(error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit(ledger, NULL, gather_row, &gathering, error);
    }
    if (status == CM_OK) {
        status = find_groups(&gathering, error);
    }
    if (status == CM_OK && cm_variety_measure(gathering.variety, &data->variety) != CM_OK) {
        status = no_memory(error);
    }
    cm_variety_close(gathering.variety);
    cm_near_duplicates_close(gathering.texts);
    if (status == CM_OK) {
        status = choose_examples(data, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_runs(ledger, note_run, data, error);
    }
    if (status == CM_OK) {
        status = cm_ledger_visit_samples(ledger, data->run_id, note_sample, data, error);
    }
    qsort(data->rules.items, data->rules.count, sizeof data->rules.items[0], by_rows);
    return status;
}

void cm_report_data_deinit(struct cm_report_data *data)
{
    cm_channel_close(data->channel);
    cm_free(data->lengths);
    cm_free(data->row_ids);
    cm_free(data->score_of);
    cm_free(data->samples);
    cm_free(data->decided);
    json_decref(data->figures);
}

double cm_report_figure(const struct cm_report_data *data, const char *name)
{
    return json_number_value(json_object_get(data->figures, name));
}
