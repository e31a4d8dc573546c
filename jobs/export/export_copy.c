/* The project's own formats: the copy with its decisions as CSV and JSON lines, and pairs of facts
 * and copy for fine-tuning. */
#include "jobs/export/export_row.h"

#include "base/memory.h"

#include <stdio.h>

const char *const CM_EXPORT_COLUMNS[] = { "item_id",   "segment_id", "title",   "scenario",
                                          "channel",   "language",   "text",    "fields",
                                          "score",     "status",     "flags",   "decision",
                                          "reviewer",  "decided",    "reason",  "edit_distance",
                                          "generated", "model",      "row_key", NULL };

enum cm_status cm_export_csv_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                 struct cm_error *error)
{
    char score[32];
    char distance[32];
    const struct cm_copy_row *row = &copy->entry->row;
    const struct cm_decided *decision = &copy->entry->decision;
    char *fields = copy->fields != NULL ? json_dumps(copy->fields, JSON_COMPACT) : NULL;
    if (copy->fields != NULL && fields == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", exported->name);
    }
    snprintf(score, sizeof score, "%.4g", row->score);
    snprintf(distance, sizeof distance, "%u", decision->distance);
    const char *const values[] = {
        row->item_id,
        row->segment_id,
        copy->entry->title,
        row->scenario,
        row->channel,
        row->language,
        copy->text,
        fields,
        score,
        cm_row_status_name(row->status),
        row->flags,
        cm_decision_name(decision->state),
        decision->reviewer,
        decision->time,
        decision->reason,
        distance,
        row->text,
        row->model,
        row->key,
        copy->aigc,
    };
    exported->counts->written++;
    enum cm_status status = cm_table_writer_add(exported->table, values, error);
    cm_free(fields);
    return status;
}

/* JSON that is kept as text; an empty object where there is none. */
static json_t *stored_json(const char *text)
{
    json_t *value = text[0] != '\0' ? json_loads(text, 0, NULL) : NULL;
    return value != NULL ? value : json_object();
}

/* Takes the object. */
static enum cm_status write_line(struct cm_export *exported, json_t *object, struct cm_error *error)
{
    bool whole = object != NULL && (json_dumpf(object, exported->stream,
                                               JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0 ||
                                    ferror(exported->stream));
    fputc('\n', exported->stream);
    json_decref(object);
    if (!whole) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "%s: out of memory", exported->name);
    }
    exported->counts->written++;
    return CM_OK;
}

static json_t *fields_of(const struct cm_export_copy *copy)
{
    return copy->fields != NULL ? json_incref(copy->fields) : json_object();
}

static void add_aigc(json_t *object, const struct cm_export_copy *copy)
{
    if (copy->aigc != NULL) {
        json_object_set_new(object, "AIGC", stored_json(copy->aigc));
    }
}

enum cm_status cm_export_json_row(struct cm_export *exported, const struct cm_export_copy *copy,
                                  struct cm_error *error)
{
    const struct cm_copy_row *row = &copy->entry->row;
    const struct cm_decided *decision = &copy->entry->decision;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:f, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s, s:s,"
        " s:s}",
        "item_id", row->item_id, "segment_id", row->segment_id, "title", copy->entry->title,
        "scenario", row->scenario, "channel", row->channel, "language", row->language, "text",
        copy->text, "fields", fields_of(copy), "score", row->score, "status",
        cm_row_status_name(row->status), "flags", row->flags, "decision",
        cm_decision_name(decision->state), "reviewer", decision->reviewer, "decided",
        decision->time, "reason", decision->reason, "edit_distance", (json_int_t)decision->distance,
        "generated", row->text, "model", row->model, "row_key", row->key);
    add_aigc(object, copy);
    return write_line(exported, object, error);
}

enum cm_status cm_export_pair(struct cm_export *exported, const struct cm_export_copy *copy,
                              struct cm_error *error)
{
    const struct cm_copy_row *row = &copy->entry->row;
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "item_id", row->item_id, "segment_id",
                  row->segment_id, "scenario", row->scenario, "channel", row->channel, "language",
                  row->language, "facts", stored_json(copy->entry->facts), "segment",
                  stored_json(copy->entry->segment), "text", copy->text);
    json_t *fields = stored_json(row->fields);
    json_t *question = json_object_get(fields, "question");
    if (question != NULL) {
        json_object_set(object, "question", question);
    }
    if (copy->entry->decision.state == CM_DECISION_EDITED) {
        /* What the person did not want to read: the other half of a preference. */
        json_object_set_new(object, "rejected", json_string(row->text));
    }
    add_aigc(object, copy);
    json_decref(fields);
    return write_line(exported, object, error);
}
