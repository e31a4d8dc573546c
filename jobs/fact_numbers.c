#include "jobs/fact_numbers.h"

#include "jobs/units.h"

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
    struct cm_span name = cm_span_of(attribute->name);
    struct cm_span value = cm_span_of(attribute->value);
    enum cm_status status = cm_numbers_add(numbers, name);
    if (status != CM_OK) {
        return status;
    }
    return cm_unit_is_untold(name, value) ? cm_numbers_add_untold(numbers, value)
                                          : cm_numbers_add(numbers, value);
}

static enum cm_status add_item(struct cm_numbers *numbers, const struct cm_item *item)
{
    enum cm_status status = CM_OK;
    for (int field = CM_ITEM_TITLE; field < CM_ITEM_FIELD_COUNT && status == CM_OK; field++) {
        struct cm_span value = cm_span_of(item->fields[field]);
        status = field == CM_ITEM_PRICE ? cm_numbers_add_untold(numbers, value)
                                        : cm_numbers_add(numbers, value);
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
