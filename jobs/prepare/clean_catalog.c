#include "jobs/prepare/clean_catalog.h"

#include "base/log.h"
#include "base/memory.h"
#include "jobs/output_file.h"
#include "jobs/prepare/duplicates.h"
#include "jobs/prepare/item_cleaner.h"
#include "jobs/prepare/item_table.h"
#include "jobs/prepare/prepare_report.h"
#include "jobs/prepare/text_items.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DETAIL_BYTES = 300 };

struct work {
    const struct cm_prepare_options *options;
    const char *input_path;
    struct cm_catalog *catalog; /* one of the two */
    struct cm_text_items *texts;
    struct cm_taxonomy *taxonomy;
    struct cm_item_cleaner cleaner;
    struct cm_duplicates *duplicates;
    struct cm_item_store *store;
    struct cm_prepare_report report;
    uint64_t changes; /* of the item in hand */
    struct cm_error *error;
};

/* The attribute that names the earlier item; readers of catalogs leave it out of the facts. */
static const char NEAR_DUPLICATE_OF[] = "near_duplicate_of";

static enum cm_status out_of_memory(struct work *work)
{
    return cm_error_set(work->error, CM_OUT_OF_MEMORY, "%s: out of memory", work->input_path);
}

static enum cm_status report(struct work *work, const struct cm_item *item, const char *action,
                             const char *field, const char *reason, const char *detail)
{
    const char *id = item->fields[CM_ITEM_ID];
    return cm_prepare_report_add(&work->report, item->line, id == NULL ? "" : id, action, field,
                                 reason, detail, work->error);
}

static enum cm_status hear_change(void *context, const struct cm_item *item, const char *field,
                                  const char *reason, const char *detail)
{
    struct work *work = context;
    work->changes++;
    return report(work, item, "changed", field, reason, detail);
}

/* --- Items --- */

static enum cm_status add_attribute(struct cm_item *item, const char *name, const char *value)
{
    struct cm_attribute *attributes =
        cm_realloc(item->attributes, item->attributes_count + 1, sizeof *item->attributes);
    if (attributes == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    item->attributes = attributes;
    attributes[item->attributes_count] = (struct cm_attribute){ cm_strdup(name), cm_strdup(value) };
    const struct cm_attribute *added = &attributes[item->attributes_count++];
    return added->name == NULL || added->value == NULL ? CM_OUT_OF_MEMORY : CM_OK;
}

static enum cm_status keep(struct work *work, struct cm_item *item, const char *reason)
{
    enum cm_status status = cm_item_store_add(work->store, item, work->error);
    if (status == CM_OK) {
        status = cm_duplicates_keep(work->duplicates, work->error);
    }
    return status == CM_OK ? report(work, item, "kept", "", reason, "") : status;
}

/* Merges into the earlier item, or labels the two as near. */
static enum cm_status settle_near(struct work *work, struct cm_item *item,
                                  const struct cm_duplicate *found, const char *kept_reason)
{
    struct cm_item earlier;
    bool changed = false;
    char detail[DETAIL_BYTES];
    enum cm_status status = cm_item_store_read(work->store, found->index, &earlier, work->error);
    if (status != CM_OK) {
        return status;
    }
    snprintf(detail, sizeof detail, "%.150s (line %" PRIu64 "), similarity %.2f",
             earlier.fields[CM_ITEM_ID], earlier.line, found->similarity);
    if (cm_items_agree(&earlier, item)) {
        status = cm_items_merge(&earlier, item, &changed);
        if (status == CM_OK && changed) {
            status = cm_item_store_replace(work->store, found->index, &earlier, work->error);
        }
        if (status == CM_OK) {
            status = report(work, item, "merged", "",
                            changed ? "near duplicate, which gave what the other lacked"
                                    : "near duplicate",
                            detail);
        }
    } else {
        status = add_attribute(item, NEAR_DUPLICATE_OF, earlier.fields[CM_ITEM_ID]);
        if (status == CM_OK) {
            status = report(work, item, "labelled", NEAR_DUPLICATE_OF,
                            "nearly the same text, but other facts", detail);
        }
        if (status == CM_OK) {
            status = keep(work, item, kept_reason);
        }
    }
    cm_item_deinit(&earlier);
    return status == CM_OUT_OF_MEMORY ? out_of_memory(work) : status;
}

static enum cm_status settle_exact(struct work *work, const struct cm_item *item,
                                   const struct cm_duplicate *found)
{
    struct cm_item earlier;
    char detail[DETAIL_BYTES];
    enum cm_status status = cm_item_store_read(work->store, found->index, &earlier, work->error);
    if (status == CM_OK) {
        snprintf(detail, sizeof detail, "%.150s (line %" PRIu64 ")", earlier.fields[CM_ITEM_ID],
                 earlier.line);
        status = report(work, item, "merged", "", "exact duplicate", detail);
        cm_item_deinit(&earlier);
    }
    return status;
}

static enum cm_status refuse_personal(struct work *work, const struct cm_item *item)
{
    return cm_error_set(work->error, CM_INVALID_DATA,
                        "%s:%" PRIu64 ": the item %.80s holds e-mail addresses, phone, card or "
                        "identity numbers; remove them, or use --pii mask",
                        work->input_path, item->line, item->fields[CM_ITEM_ID]);
}

static enum cm_status take(struct work *work, struct cm_item *item)
{
    if (item->damaged) {
        return report(work, item, "dropped", "", "damaged or without content", item->problem);
    }
    work->changes = 0;
    enum cm_status status = cm_item_clean(&work->cleaner, item);
    if (status == CM_OK && work->cleaner.personal_count > 0 &&
        work->options->pii == CM_PII_REFUSE) {
        return refuse_personal(work, item);
    }
    if (status != CM_OK) {
        return status == CM_OUT_OF_MEMORY ? out_of_memory(work) : status;
    }
    const char *text_fields[] = { item->fields[CM_ITEM_TITLE], item->fields[CM_ITEM_DESCRIPTION] };
    if (text_fields[0][0] == '\0' && text_fields[1][0] == '\0') {
        return report(work, item, "dropped", "", "nothing left to write about", "");
    }
    struct cm_duplicate found;
    status = cm_duplicates_find(work->duplicates, item, &found, work->error);
    if (status != CM_OK) {
        return status;
    }
    const char *reason = work->changes > 0 ? "changed" : "clean as it was";
    switch (found.kind) {
    case CM_DUPLICATE_EXACT:
        return settle_exact(work, item, &found);
    case CM_DUPLICATE_NEAR:
        return settle_near(work, item, &found, reason);
    case CM_DUPLICATE_NONE:
        break;
    }
    return keep(work, item, reason);
}

static enum cm_status read_catalog(struct work *work)
{
    enum cm_status status = CM_OK;
    while (status == CM_OK) {
        struct cm_item item;
        status = work->texts != NULL ? cm_text_items_next(work->texts, &item, work->error)
                                     : cm_catalog_next(work->catalog, &item, work->error);
        if (status == CM_OK) {
            status = take(work, &item);
            cm_item_deinit(&item);
        }
    }
    return status == CM_END ? CM_OK : status;
}

/* Rows that became no item of their own, so that the rows of the file add up too. */
static enum cm_status report_rows(struct work *work)
{
    if (work->catalog == NULL) {
        return CM_OK; /* every line is an item */
    }
    struct cm_catalog_counts counts = cm_catalog_counts(work->catalog);
    const struct {
        uint64_t count;
        const char *action;
        const char *reason;
    } rows[] = {
        { counts.rows_joined, "joined", "further rows of an item (variants, pictures)" },
        { counts.rows_variant, "left out", "rows that only repeat a variant" },
        { counts.rows_repeated, "left out", "rows of a handle that had its item further up" },
        { counts.rows_untitled, "left out", "rows of a handle without a title" },
    };
    cm_log(CM_LOG_INFO, "%s: %s; %" PRIu64 " rows, %" PRIu64 " items", work->input_path,
           cm_catalog_describe(work->catalog), counts.rows, counts.items);
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < sizeof rows / sizeof rows[0]; i++) {
        char number[24];
        if (rows[i].count == 0) {
            continue;
        }
        snprintf(number, sizeof number, "%" PRIu64, rows[i].count);
        cm_log(CM_LOG_INFO, "rows %s: %s: %s", rows[i].action, rows[i].reason, number);
        status = work->report.writer == NULL
                     ? CM_OK
                     : cm_table_writer_add(work->report.writer,
                                           (const char *const[]){ "", "", "rows", rows[i].action,
                                                                  rows[i].reason, number },
                                           work->error);
    }
    return status;
}

/* --- The whole --- */

static enum cm_status open_all(struct work *work)
{
    const struct cm_prepare_options *options = work->options;
    struct cm_catalog_options catalog = {
        .path = options->catalog_path,
        .maps = (const char *const *)options->maps,
        .maps_count = options->maps_count,
    };
    enum cm_status status = options->texts_path != NULL
                                ? cm_text_items_open(options->texts_path, &work->texts, work->error)
                                : cm_catalog_open(&catalog, &work->catalog, work->error);
    if (status == CM_OK && options->taxonomy_path != NULL) {
        status = cm_taxonomy_open(options->taxonomy_path, &work->taxonomy, work->error);
    }
    if (status == CM_OK) {
        status = cm_duplicates_open(options->similarity, &work->duplicates, work->error);
    }
    if (status == CM_OK) {
        status = cm_item_store_open(&work->store, work->error);
    }
    work->cleaner.taxonomy = work->taxonomy;
    work->cleaner.listener = hear_change;
    work->cleaner.context = work;
    return status;
}

static enum cm_status work_through(struct work *work, struct cm_output_file *out,
                                   struct cm_output_file *report_file)
{
    enum cm_status status = cm_prepare_report_open(
        &work->report, report_file == NULL ? NULL : cm_output_file_stream(report_file),
        work->options->report_path, work->options->excel, work->error);
    if (status == CM_OK) {
        status = read_catalog(work);
    }
    if (status == CM_OK) {
        status = report_rows(work);
    }
    if (status != CM_OK) {
        return status;
    }
    cm_prepare_report_say(&work->report);
    if (work->report.kept == 0) {
        return cm_error_set(work->error, CM_NOT_FOUND, "%s: no item is left; nothing was written",
                            work->input_path);
    }
    return cm_item_table_write(work->store, cm_output_file_stream(out), work->options->out_path,
                               work->options->excel, work->error);
}

enum cm_status cm_prepare_catalog(const struct cm_prepare_options *options, struct cm_error *error)
{
    struct work work = {
        .options = options,
        .input_path = options->texts_path != NULL ? options->texts_path : options->catalog_path,
        .error = error,
    };
    struct cm_output_file *out = NULL;
    struct cm_output_file *report_file = NULL;
    cm_item_cleaner_init(&work.cleaner);
    enum cm_status status = open_all(&work);
    if (status == CM_OK) {
        status = cm_output_file_open(options->out_path, &out, error);
    }
    if (status == CM_OK && options->report_path != NULL) {
        status = cm_output_file_open(options->report_path, &report_file, error);
    }
    if (status == CM_OK) {
        status = work_through(&work, out, report_file);
    }
    if (status == CM_OK) {
        status = cm_output_file_publish(out, NULL, error);
    }
    if (status == CM_OK && report_file != NULL) {
        status = cm_output_file_publish(report_file, NULL, error);
    }
    cm_prepare_report_close(&work.report);
    cm_output_file_close(report_file);
    cm_output_file_close(out);
    cm_item_store_close(work.store);
    cm_duplicates_close(work.duplicates);
    cm_item_cleaner_deinit(&work.cleaner);
    cm_taxonomy_close(work.taxonomy);
    cm_catalog_close(work.catalog);
    cm_text_items_close(work.texts);
    return status;
}
