#include "jobs/content/fact_sheet.h"

#include "jobs/fact_numbers.h"
#include "jobs/facts.h"

#include <string.h>
#include <strings.h>

enum { SHEET_BYTES_MAX = 4 << 20 };

void cm_fact_sheet_deinit(struct cm_fact_sheet *sheet)
{
    cm_text_deinit(&sheet->text);
    cm_plain_text_deinit(&sheet->plain);
    cm_plain_text_deinit(&sheet->proof);
    cm_text_words_deinit(&sheet->words);
    cm_word_set_deinit(&sheet->set);
    cm_numbers_deinit(&sheet->numbers);
    cm_quantities_deinit(&sheet->quantities);
    cm_plain_text_deinit(&sheet->brand);
    cm_plain_text_deinit(&sheet->audience);
    cm_text_words_deinit(&sheet->audience_words);
    sheet->slots_count = 0;
}

/* A line of the sheet's text. Facts past the room for them are left out. */
static enum cm_status add_line(struct cm_text *text, const char *name, const char *value)
{
    enum cm_status status = cm_text_printf(text, "%s %s\n", name, value);
    return status == CM_LIMIT ? CM_OK : status;
}

static enum cm_status add_slot(struct cm_fact_sheet *sheet, const char *name, const char *value,
                               bool is_key)
{
    if (value[0] == '\0') {
        return CM_OK;
    }
    if (sheet->slots_count < CM_FACT_SLOTS_MAX) {
        sheet->slots[sheet->slots_count++] = (struct cm_fact_slot){ name, value, is_key };
    }
    return add_line(&sheet->text, name, value);
}

static enum cm_status add_names(struct cm_fact_sheet *sheet, const struct cm_item *item,
                                size_t *bytes)
{
    static const enum cm_item_field names[] = { CM_ITEM_TITLE, CM_ITEM_BRAND, CM_ITEM_CATEGORY };
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && status == CM_OK; i++) {
        status = add_slot(sheet, cm_item_field_name(names[i]), item->fields[names[i]],
                          names[i] != CM_ITEM_CATEGORY);
    }
    *bytes = sheet->text.length;
    return status;
}

static enum cm_status add_item(struct cm_fact_sheet *sheet, const struct cm_item *item,
                               struct cm_span copy)
{
    static const enum cm_item_field fields[] = { CM_ITEM_DESCRIPTION, CM_ITEM_PRICE,
                                                 CM_ITEM_CURRENCY };
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0] && status == CM_OK; i++) {
        const char *value = item->fields[fields[i]];
        bool is_copy = fields[i] == CM_ITEM_DESCRIPTION &&
                       cm_span_equal(cm_span_trim(cm_span_of(value)), cm_span_trim(copy));
        if (!is_copy) {
            status = add_slot(sheet, cm_item_field_name(fields[i]), value, false);
        }
    }
    for (size_t i = 0; i < item->attributes_count && status == CM_OK; i++) {
        const struct cm_attribute *attribute = &item->attributes[i];
        status =
            add_slot(sheet, attribute->name, attribute->value, cm_facts_is_readable(attribute));
    }
    return status;
}

static enum cm_status add_segment(struct cm_fact_sheet *sheet, const struct cm_segment *segment)
{
    struct cm_text audience = CM_TEXT_INIT(SHEET_BYTES_MAX);
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < segment->attributes_count && status == CM_OK; i++) {
        const struct cm_attribute *attribute = &segment->attributes[i];
        bool is_offer = strcasecmp(attribute->name, "offer") == 0 ||
                        strcasecmp(attribute->name, "promotion") == 0 ||
                        strcasecmp(attribute->name, "discount") == 0;
        if (is_offer) {
            status = add_line(&sheet->text, attribute->name, attribute->value);
        }
        if (status == CM_OK && strcasecmp(attribute->name, "language") != 0) {
            status = add_line(&audience, "", attribute->value);
        }
    }
    if (status == CM_OK) {
        status = cm_plain_text_fill(&sheet->audience, cm_text_span(&audience));
    }
    if (status == CM_OK) {
        status = cm_text_words_fill(&sheet->audience_words, &sheet->audience);
    }
    cm_text_deinit(&audience);
    return status;
}

static enum cm_status add_question(struct cm_fact_sheet *sheet, const struct cm_question *question)
{
    return add_line(&sheet->text, "", question->policy);
}

/* What the text may name: its facts' numbers and, because repeating them invents nothing, those of
 * the segment and the question. */
static enum cm_status add_numbers(struct cm_fact_sheet *sheet,
                                  const struct cm_sheet_sources *sources)
{
    enum cm_status status = cm_numbers_add(&sheet->numbers, cm_text_span(&sheet->text));
    if (status == CM_OK && sources->segment != NULL) {
        status = cm_fact_numbers_add_segment(&sheet->numbers, sources->segment);
    }
    if (status == CM_OK && sources->question != NULL) {
        status = cm_numbers_add(&sheet->numbers, cm_span_of(sources->question->text));
    }
    return status;
}

enum cm_status cm_fact_sheet_fill(struct cm_fact_sheet *sheet,
                                  const struct cm_sheet_sources *sources)
{
    sheet->slots_count = 0;
    sheet->text.length_max = SHEET_BYTES_MAX;
    cm_text_clear(&sheet->text);
    cm_numbers_deinit(&sheet->numbers);
    cm_word_set_clear(&sheet->set);
    sheet->audience.count = 0;
    sheet->audience_words.count = 0;
    size_t names_bytes = 0;
    enum cm_status status = add_names(sheet, sources->item, &names_bytes);
    if (status == CM_OK) {
        status = add_item(sheet, sources->item, sources->copy);
    }
    if (status == CM_OK && sources->segment != NULL) {
        status = add_segment(sheet, sources->segment);
    }
    if (status == CM_OK && sources->question != NULL) {
        status = add_question(sheet, sources->question);
    }
    if (status == CM_OK) {
        status = cm_plain_text_fill(&sheet->plain, cm_text_span(&sheet->text));
    }
    if (status == CM_OK) {
        struct cm_span text = cm_text_span(&sheet->text);
        struct cm_span proof = { text.data + names_bytes, text.length - names_bytes };
        status = cm_plain_text_fill(&sheet->proof, proof);
    }
    if (status == CM_OK) {
        status = cm_text_words_fill(&sheet->words, &sheet->plain);
    }
    if (status == CM_OK) {
        status = cm_word_set_add(&sheet->set, &sheet->words);
    }
    cm_word_set_sort(&sheet->set);
    if (status == CM_OK) {
        status = add_numbers(sheet, sources);
    }
    if (status == CM_OK) {
        status = cm_quantities_fill_facts(&sheet->quantities, cm_text_span(&sheet->text));
    }
    if (status == CM_OK) {
        status =
            cm_plain_text_fill(&sheet->brand, cm_span_of(sources->item->fields[CM_ITEM_BRAND]));
    }
    return status;
}
