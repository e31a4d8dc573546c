#include "jobs/prepare/import_data.h"

#include "base/digest_count.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/memory.h"
#include "jobs/output_file.h"
#include "jobs/prepare/item_table.h"
#include "loaders/json_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct work {
    const struct cm_import_options *options;
    struct cm_import_counts *counts;
    struct cm_data_set *set;
    struct cm_item_store *store;
    struct cm_digest_count *items; /* met so far */
    struct cm_hash *hash;
    FILE *pairs; /* NULL: none */
    struct cm_error *error;
};

static enum cm_status out_of_memory(struct work *work)
{
    return cm_error_set(work->error, CM_OUT_OF_MEMORY, "%s: out of memory",
                        work->options->input_path);
}

/* Data sets without ids: the name of the set and a hash of the facts, so that the same item has the
 * same id in every file. */
static enum cm_status name_item(struct work *work, struct cm_item *item, bool *is_new)
{
    enum { ID_HASH_BYTES = 6 };
    uint8_t digest[CM_SHA256_BYTES];
    char hex[2 * ID_HASH_BYTES + 1];
    char id[64];
    uint32_t nth = 0;
    cm_hash_restart(work->hash);
    for (unsigned i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        cm_hash_text(work->hash, item->fields[i]);
    }
    for (size_t i = 0; i < item->attributes_count; i++) {
        cm_hash_text(work->hash, item->attributes[i].name);
        cm_hash_text(work->hash, item->attributes[i].value);
    }
    cm_hash_digest(work->hash, digest);
    enum cm_status status = cm_digest_count_add(work->items, digest, &nth);
    *is_new = nth == 0;
    if (status != CM_OK || item->fields[CM_ITEM_ID][0] != '\0') {
        return status;
    }
    cm_hex(digest, ID_HASH_BYTES, hex);
    snprintf(id, sizeof id, "%s-%s", cm_data_set_name(work->options->kind), hex);
    char *copy = cm_strdup(id);
    if (copy == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_free(item->fields[CM_ITEM_ID]);
    item->fields[CM_ITEM_ID] = copy;
    return CM_OK;
}

/* --- Pairs --- */

/* The facts are all but the text that was written from them. */
static json_t *facts_of(const struct cm_item *item)
{
    json_t *facts = json_object();
    bool whole = facts != NULL;
    for (unsigned i = CM_ITEM_ID + 1; whole && i < CM_ITEM_FIELD_COUNT; i++) {
        const char *name = cm_item_field_name((enum cm_item_field)i);
        if (i != CM_ITEM_DESCRIPTION && item->fields[i][0] != '\0') {
            whole = json_object_set_new(facts, name, json_string(item->fields[i])) == 0;
        }
    }
    for (size_t i = 0; whole && i < item->attributes_count; i++) {
        whole = json_object_set_new(facts, item->attributes[i].name,
                                    json_string(item->attributes[i].value)) == 0;
    }
    if (!whole) {
        json_decref(facts);
        return NULL;
    }
    return facts;
}

static json_t *segment_of(const struct cm_data_record *record)
{
    json_t *segment = json_object();
    bool whole = segment != NULL;
    if (whole && record->aspect[0] != '\0') {
        whole = json_object_set_new(segment, "aspect", json_string(record->aspect)) == 0;
    }
    if (whole && record->audience[0] != '\0') {
        whole = json_object_set_new(segment, "user_category", json_string(record->audience)) == 0;
    }
    if (!whole) {
        json_decref(segment);
        return NULL;
    }
    return segment;
}

static enum cm_status write_pair(struct work *work, const struct cm_data_record *record)
{
    cm_json_memory_begin();
    json_t *facts = facts_of(&record->item);
    json_t *segment = segment_of(record);
    json_t *pair = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s}", "item_id",
                             record->item.fields[CM_ITEM_ID], "segment_id", record->audience,
                             "scenario", "description", "channel", "generic", "language",
                             record->item.fields[CM_ITEM_LANGUAGE], "facts", facts, "segment",
                             segment, "text", record->text);
    bool whole =
        pair != NULL && (json_dumpf(pair, work->pairs, JSON_COMPACT) == 0 || ferror(work->pairs));
    fputc('\n', work->pairs);
    json_decref(pair);
    if (ferror(work->pairs)) {
        return cm_error_set(work->error, CM_IO, "%s: cannot write: %s", work->options->pairs_path,
                            strerror(errno));
    }
    work->counts->pairs++;
    return whole ? CM_OK : out_of_memory(work);
}

/* --- Records --- */

static enum cm_status take(struct work *work, struct cm_data_record *record)
{
    bool is_new = false;
    work->counts->records++;
    if (record->item.damaged) {
        work->counts->damaged++;
        cm_log(CM_LOG_WARNING, "%s:%" PRIu64 ": left out: %s", work->options->input_path,
               record->item.line, record->item.problem);
        return CM_OK;
    }
    if (name_item(work, &record->item, &is_new) != CM_OK) {
        return out_of_memory(work);
    }
    enum cm_status status = CM_OK;
    if (is_new) {
        work->counts->items++;
        status = cm_item_store_add(work->store, &record->item, work->error);
    }
    if (status == CM_OK && work->pairs != NULL && record->text[0] != '\0') {
        status = write_pair(work, record);
    }
    return status;
}

static enum cm_status read_all(struct work *work)
{
    enum cm_status status = CM_OK;
    uint64_t limit = work->options->limit;
    while (status == CM_OK && (limit == 0 || work->counts->records < limit)) {
        struct cm_data_record record;
        status = cm_data_set_next(work->set, &record, work->error);
        if (status == CM_OK) {
            status = take(work, &record);
            cm_data_record_deinit(&record);
        }
    }
    if (status != CM_OK && status != CM_END) {
        return status;
    }
    return work->counts->items > 0
               ? CM_OK
               : cm_error_set(work->error, CM_INVALID_DATA, "%s: holds no record of %s",
                              work->options->input_path, cm_data_set_name(work->options->kind));
}

/* --- The whole --- */

static enum cm_status open_all(struct work *work)
{
    enum cm_status status =
        cm_data_set_open(work->options->kind, work->options->input_path, &work->set, work->error);
    if (status == CM_OK) {
        status = cm_item_store_open(&work->store, work->error);
    }
    if (status == CM_OK &&
        (cm_hash_open(&work->hash) != CM_OK || cm_digest_count_open(&work->items) != CM_OK)) {
        status = out_of_memory(work);
    }
    return status;
}

enum cm_status cm_import_data(const struct cm_import_options *options,
                              struct cm_import_counts *counts, struct cm_error *error)
{
    struct work work = { .options = options, .counts = counts, .error = error };
    struct cm_output_file *catalog = NULL;
    struct cm_output_file *pairs = NULL;
    *counts = (struct cm_import_counts){ .records = 0 };
    enum cm_status status = open_all(&work);
    if (status == CM_OK && options->catalog_path != NULL) {
        status = cm_output_file_open(options->catalog_path, &catalog, error);
    }
    if (status == CM_OK && options->pairs_path != NULL) {
        status = cm_output_file_open(options->pairs_path, &pairs, error);
        work.pairs = status == CM_OK ? cm_output_file_stream(pairs) : NULL;
    }
    if (status == CM_OK) {
        status = read_all(&work);
    }
    if (status == CM_OK && catalog != NULL) {
        status = cm_item_table_write(work.store, cm_output_file_stream(catalog),
                                     options->catalog_path, false, error);
    }
    if (status == CM_OK && catalog != NULL) {
        status = cm_output_file_publish(catalog, NULL, error);
    }
    if (status == CM_OK && pairs != NULL) {
        status = cm_output_file_publish(pairs, NULL, error);
    }
    cm_output_file_close(pairs);
    cm_output_file_close(catalog);
    cm_digest_count_close(work.items);
    cm_hash_close(work.hash);
    cm_item_store_close(work.store);
    cm_data_set_close(work.set);
    return status;
}
