#include "jobs/export/origin.h"

#include "base/memory.h"
#include "jobs/language.h"

#include <jansson.h>

const char *cm_origin_mark(const char *language)
{
    return cm_language_is(language, "zh") ? "（本文由AI生成）" : "(AI-generated)";
}

enum cm_status cm_origin_append_metadata(struct cm_text *text, const char *producer,
                                         const char *row_key)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "Label", "1",
                               "ContentProducer", producer, "ProduceID", row_key, "ReservedCode1",
                               "", "ContentPropagator", "", "PropagateID", "", "ReservedCode2", "");
    char *written = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    enum cm_status status =
        written != NULL ? cm_text_append_string(text, written) : CM_OUT_OF_MEMORY;
    cm_free(written);
    json_decref(object);
    return status;
}
