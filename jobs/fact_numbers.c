#include "jobs/fact_numbers.h"

#include <strings.h>

static bool is_offer(const struct cm_attribute *attribute)
{
    return strcasecmp(attribute->name, "offer") == 0 ||
           strcasecmp(attribute->name, "promotion") == 0 ||
           strcasecmp(attribute->name, "discount") == 0;
}

static enum cm_status add_attribute(struct cm_numbers *numbers,
                                    const struct cm_attribute *attribute)
{
    enum cm_status status = cm_numbers_add(numbers, cm_span_of(attribute->name));
    return status == CM_OK ? cm_numbers_add(numbers, cm_span_of(attribute->value)) : status;
}

static enum cm_status add_item(struct cm_numbers *numbers, const struct cm_item *item)
{
    enum cm_status status = CM_OK;
    for (int field = CM_ITEM_TITLE; field < CM_ITEM_FIELD_COUNT && status == CM_OK; field++) {
        status = cm_numbers_add(numbers, cm_span_of(item->fields[field]));
    }
    for (size_t i = 0; i < item->attributes_count && status == CM_OK; i++) {
        status = add_attribute(numbers, &item->attributes[i]);
    }
    return status;
}

enum cm_status cm_fact_numbers_add(struct cm_numbers *numbers,
                                   const struct cm_fact_sources *sources)
{
    const struct cm_segment *segment = sources->segment;
    enum cm_status status = add_item(numbers, sources->item);
    for (size_t i = 0; i < segment->attributes_count && status == CM_OK; i++) {
        if (is_offer(&segment->attributes[i])) {
            status = add_attribute(numbers, &segment->attributes[i]);
        }
    }
    if (status == CM_OK && sources->question != NULL) {
        status = cm_numbers_add(numbers, cm_span_of(sources->question->text));
        if (status == CM_OK) {
            status = cm_numbers_add(numbers, cm_span_of(sources->question->policy));
        }
    }
    return status;
}

enum cm_status cm_fact_numbers_add_segment(struct cm_numbers *numbers,
                                           const struct cm_segment *segment)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; i < segment->attributes_count && status == CM_OK; i++) {
        status = add_attribute(numbers, &segment->attributes[i]);
    }
    return status;
}

bool cm_fact_numbers_has_offer(const struct cm_segment *segment)
{
    for (size_t i = 0; i < segment->attributes_count; i++) {
        if (is_offer(&segment->attributes[i])) {
            return true;
        }
    }
    return false;
}
