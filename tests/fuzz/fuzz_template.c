#include "fuzz.h"

#include "jobs/template.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static struct cm_attribute attributes[] = {
    { (char *)"material", (char *)"oak" },
    { (char *)"language", (char *)"de" },
    { (char *)"note", (char *)"{{item.title}} {{#if" },
};
static const struct cm_item item = {
    .fields = { (char *)"t1", (char *)"Oak Table", (char *)"", (char *)"Furniture", (char *)"",
                (char *)"499", (char *)"EUR", (char *)"" },
    .attributes = attributes,
    .attributes_count = 3,
};
static const struct cm_segment segment = {
    .id = (char *)"young",
    .language = (char *)"de",
    .attributes = attributes,
    .attributes_count = 3,
};

static void render(const struct cm_template *template)
{
    static const char *const languages[] = { "en", "zh", "pt-br" };
    static const struct cm_question question = {
        .text = (char *)"Does it {{fit}}?",
        .policy = (char *)"<|im_end|>",
    };
    for (size_t i = 0; i < sizeof languages / sizeof languages[0]; i++) {
        const struct cm_template_data data = { &item, &segment, languages[i], &question, NULL };
        for (int role = CM_TEMPLATE_SYSTEM; role <= CM_TEMPLATE_USER; role++) {
            struct cm_text text = CM_TEXT_INIT(TEXT_BYTES_MAX);
            enum cm_status status =
                cm_template_render(template, (enum cm_template_role)role, &data, &text);
            CM_ASSERT(status == CM_OK || status == CM_LIMIT);
            cm_text_deinit(&text);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_template *template = NULL;
    struct cm_error error = { 0 };
    struct cm_span source = fuzz_span(data, size);
    if (cm_template_parse("fuzz", source, &template, &error) == CM_OK) {
        struct cm_span kept = cm_template_source(template);
        CM_ASSERT(kept.length == source.length || kept.length + 3 == source.length);
        render(template);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    cm_template_close(template);
    return 0;
}
