/* Channels: lengths in their units, parts read from what a model wrote, limits that are never
 * exceeded. */
#include "jobs/content/channel.h"
#include "jobs/content/clean_value.h"
#include "jobs/content/copy_fields.h"
#include "jobs/content/judge.h"
#include "jobs/content/line_format.h"

#include "base/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static struct cm_attribute attributes[] = {
    { (char *)"material", (char *)"100% cotton oxford" },
    { (char *)"color", (char *)"light blue" },
    { (char *)"size", (char *)"S to XXL" },
    { (char *)"collar", (char *)"button-down" },
    { (char *)"care", (char *)"machine washable at 40 degrees" },
    { (char *)"fit", (char *)"regular" },
};
static struct cm_item item = {
    .fields = { (char *)"1", (char *)"Oxford Button-Down Shirt", (char *)"Samplewear",
                (char *)"Shirts", (char *)"", (char *)"49", (char *)"USD", (char *)"" },
    .attributes = attributes,
    .attributes_count = sizeof attributes / sizeof attributes[0],
};

static struct cm_channel *open_channel(const char *name)
{
    struct cm_channel *channel;
    struct cm_error error;
    if (cm_channel_open(name, &channel, &error) != CM_OK) {
        fail_msg("%s", error.message);
    }
    return channel;
}

static void lengths_are_counted_in_the_channels_unit(void **state)
{
    (void)state;
    static const struct {
        enum cm_channel_unit unit;
        const char *text;
        uint32_t length;
    } CASES[] = {
        { CM_COUNT_CHARACTER, "cafe", 4 },
        { CM_COUNT_CHARACTER, "cafe\xCC\x81", 5 },
        { CM_COUNT_GRAPHEME, "cafe\xCC\x81", 4 },
        { CM_COUNT_GRAPHEME, "👩‍👩‍👧", 1 },
        { CM_COUNT_HAN_2, "冲锋衣 M", 8 },
        { CM_COUNT_HAN_2, "Ｍ", 2 },
        { CM_COUNT_X, "hello", 5 },
        { CM_COUNT_X, "你好", 4 },
        { CM_COUNT_X, "👩‍👩‍👧", 2 },
        { CM_COUNT_X, "see https://example.com/a/very/long/path/that/goes/on now", 31 },
        { CM_COUNT_X, "cafe\xCC\x81", 4 },
        { CM_COUNT_X, "", 0 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        uint32_t length = cm_channel_measure(CASES[i].unit, cm_span_of(CASES[i].text));
        if (length != CASES[i].length) {
            fail_msg("\"%s\": expected %u, found %u", CASES[i].text, CASES[i].length, length);
        }
    }
}

static void texts_are_cut_at_sentences_and_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t limit;
        bool sentences;
        const char *cut;
    } CASES[] = {
        { "One two three.", 20, false, "One two three." },
        { "One two three.", 9, false, "One two" },
        { "One two three.", 7, false, "One two" },
        { "It is light. It is warm.", 20, true, "It is light." },
        { "A. It is really light and warm.", 20, true, "A. It is really" },
        { "轻便防水冲锋衣", 4, false, "轻便防水" },
        { "Unbreakable", 4, false, "Unbr" },
        { "Light, and warm", 7, false, "Light" },
        { "Perfect for a long walk", 15, false, "Perfect" },
        { "For a", 4, false, "For" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", CASES[i].text);
        cm_cut_value(text, CM_COUNT_CHARACTER, CASES[i].limit, CASES[i].sentences);
        assert_string_equal(text, CASES[i].cut);
    }
}

/* The parts as JSON; the caller frees. */
static char *parts_of(const char *channel_name, const char *scenario, const char *text,
                      size_t *repairs_count)
{
    struct cm_channel *channel = open_channel(channel_name);
    struct cm_copy_fields fields = { .count = 0 };
    struct cm_copy_fields_input input = { channel, scenario, "en", &item, cm_span_of(text) };
    json_t *object = json_object();
    assert_int_equal(cm_copy_fields_read(&input, &fields), CM_OK);
    assert_int_equal(cm_copy_fields_describe(&fields, channel, object), 0);
    char *json = json_dumps(object, JSON_COMPACT);
    *repairs_count = fields.repairs_count;
    json_decref(object);
    cm_copy_fields_deinit(&fields);
    cm_channel_close(channel);
    return json;
}

static void parts_are_read_however_the_lines_are_dressed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *json;
    } CASES[] = {
        { "Title: Oxford Shirt\nBullet: Soft\nBullet: Blue\nBullet: Warm\nBullet: Light\nBullet: "
          "Fit",
          "{\"title\":\"Oxford "
          "Shirt\",\"bullets\":[\"Soft\",\"Blue\",\"Warm\",\"Light\",\"Fit\"]}" },
        { "**Title**: \"Oxford Shirt\"\n\nBullets:\n- Soft\n- Blue\n* Warm\n4. Light\n• Fit\n• "
          "More",
          "{\"title\":\"Oxford "
          "Shirt\",\"bullets\":[\"Soft\",\"Blue\",\"Warm\",\"Light\",\"Fit\"]}" },
        { "标题：Oxford Shirt\n卖点：Soft\n卖点 2：Blue\nBullet 3: Warm\n卖点：Light\n卖点：Fit",
          "{\"title\":\"Oxford "
          "Shirt\",\"bullets\":[\"Soft\",\"Blue\",\"Warm\",\"Light\",\"Fit\"]}" },
        { "Title: Oxford Shirt\nBullet (use): Soft\nBullet (for whom): Blue\n卖点（好处）：Warm\n"
          "Bullet (a): Light\nBullet (b) : Fit",
          "{\"title\":\"Oxford "
          "Shirt\",\"bullets\":[\"Soft\",\"Blue\",\"Warm\",\"Light\",\"Fit\"]}" },
        { "Oxford Shirt\nSoft\nBlue\nWarm\nLight\nFit",
          "{\"title\":\"Oxford "
          "Shirt\",\"bullets\":[\"Soft\",\"Blue\",\"Warm\",\"Light\",\"Fit\"]}" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        size_t repairs;
        char *json = parts_of("amazon", "description", CASES[i].text, &repairs);
        assert_string_equal(json, CASES[i].json);
        assert_int_equal(repairs, 0);
        cm_free(json);
    }
}

/* Of a headline a word or two may go without a word; more is told. */
static void headlines_do_not_end_with_words_that_lead_on(void **state)
{
    (void)state;
    size_t repairs;
    char *json = parts_of("google-ads", "ad",
                          "Headline (name): Oxford Shirt\nHeadline (benefit): Made for a\n"
                          "Headline: A shirt that you will wear with\n"
                          "Description: Soft all day.\nDescription: Made of fine cotton and light "
                          "as a feather in the wind. It keeps its form for years, wherever you go.",
                          &repairs);
    assert_non_null(strstr(json, "[\"Oxford Shirt\",\"Made\",\"A shirt that you will wear\"]"));
    assert_int_equal(repairs, 1);
    cm_free(json);
}

static void missing_parts_come_from_the_item(void **state)
{
    (void)state;
    size_t repairs;
    char *json = parts_of("amazon", "description", "Title: A Shirt! $5 😀\nBullet: Soft", &repairs);
    assert_non_null(strstr(json, "\"title\":\"A Shirt. 5\""));
    assert_non_null(
        strstr(json, "\"Soft\",\"Material: 100% cotton oxford\",\"Color: light blue\""));
    assert_true(repairs >= 2);
    cm_free(json);
    json = parts_of("google-ads", "ad", "", &repairs);
    assert_non_null(strstr(json, "\"headlines\":[\"Material: 100% cotton oxford\""));
    cm_free(json);
    json = parts_of("instagram", "social", "Soft and light. #shirt #oxford, nice!", &repairs);
    assert_non_null(strstr(json, "\"hashtags\":[\"#shirt\",\"#oxford\"]"));
    cm_free(json);
}

/* Whatever comes in, no hard limit is exceeded and nothing banned stays: the judge agrees. */
static void hard_limits_hold_for_any_text(void **state)
{
    (void)state;
    static const char *const channels[] = {
        "generic",   "google-merchant", "amazon",      "google-ads", "meta",   "x",
        "instagram", "taobao",          "xiaohongshu", "aliexpress", "shopify"
    };
    static const char *const scenarios[] = { "description", "ad", "social", "recommend" };
    static const char *const pieces[] = {
        "Title: ",
        "Bullet: ",
        "Headline: ",
        "SALE NOW!!! ",
        "free shipping $5 ",
        "😀",
        "#tag ",
        "\n",
        "Description: ",
        "A very long sentence about the shirt that goes on and on. ",
        "冲锋衣防水轻便，适合通勤。",
        "Samplewear ",
        "标题：",
        "<b>",
        "Short title: ",
        "SEO title: ",
        "**",
    };
    uint32_t random = 1;
    for (size_t round = 0; round < 400; round++) {
        char text[4096] = "";
        size_t length = 0;
        for (size_t i = 0; i < 40 && length < sizeof text - 128; i++) {
            random = random * 1664525 + 1013904223;
            length += (size_t)snprintf(text + length, sizeof text - length, "%s",
                                       pieces[(random >> 16) % (sizeof pieces / sizeof pieces[0])]);
        }
        const char *name = channels[round % (sizeof channels / sizeof channels[0])];
        const char *scenario = scenarios[(round / 11) % 4];
        struct cm_error error;
        struct cm_channel *channel = open_channel(name);
        struct cm_judge *judge;
        struct cm_judgement judgement;
        struct cm_judge_options options = { 0 };
        size_t repairs;
        if (cm_channel_has_fields(channel, scenario)) {
            char *json = parts_of(name, scenario, text, &repairs);
            assert_int_equal(cm_judge_open(&options, &judge, &error), CM_OK);
            struct cm_judge_input input = { .text = cm_span_of(text),
                                            .channel = channel,
                                            .scenario = scenario,
                                            .fields = cm_span_of(json),
                                            .item = &item,
                                            .language = "" };
            assert_int_equal(cm_judge_text(judge, &input, &judgement), CM_OK);
            if (cm_judgement_has(&judgement, "too-long") ||
                cm_judgement_has(&judgement, "missing-field")) {
                char flags[CM_FLAGS_BYTES];
                cm_judgement_flags(&judgement, flags);
                fail_msg("%s %s: %s\n%s", name, scenario, flags, json);
            }
            cm_judge_close(judge);
            cm_free(json);
        }
        cm_channel_close(channel);
    }
}

/* Runs a text through the lines of a channel: 'd' dead, 'e' may end, 'c' may be cut, '-' neither.
 */
static char run_lines(const char *name, const char *scenario, const char *language,
                      const char *text)
{
    struct cm_channel *channel = open_channel(name);
    struct cm_line_format *format;
    assert_int_equal(cm_line_format_open(channel, scenario, language, &format), CM_OK);
    assert_non_null(format);
    struct cm_automaton lines = cm_line_format_automaton(format);
    uint32_t state = lines.start;
    for (const char *at = text; *at != '\0' && state != CM_AUTOMATON_DEAD; at++) {
        state = lines.next(lines.context, state, (uint8_t)*at);
        assert_true(state == CM_AUTOMATON_DEAD || state < CM_LINE_FORMAT_STATES);
    }
    char found = state == CM_AUTOMATON_DEAD            ? 'd'
                 : lines.may_end(lines.context, state) ? 'e'
                 : lines.may_cut(lines.context, state) ? 'c'
                                                       : '-';
    cm_line_format_close(format);
    cm_channel_close(channel);
    return found;
}

static void lines_hold_a_text_to_its_form(void **state)
{
    (void)state;
    assert_int_equal(run_lines("amazon", "description", "en", "Tit"), '-');
    assert_int_equal(run_lines("amazon", "description", "en", "The"), 'd');
    assert_int_equal(run_lines("amazon", "description", "en", "Title: A shirt"), 'c');
    assert_int_equal(run_lines("amazon", "description", "en", "Title: A shirt!"), 'd');
    assert_int_equal(run_lines("amazon", "description", "en", "Title: A\n"), 'd');
    assert_int_equal(run_lines("amazon", "description", "en", "Title: A shirt\nBullet"), '-');
    assert_int_equal(run_lines("amazon", "description", "en", "Title: A shirt\nTitle"), 'd');
    assert_int_equal(
        run_lines("amazon", "description", "zh", "标题：纯棉衬衫\n卖点（材质做工）：柔软舒适"),
        'c');
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫"), 'e');
    /* A character that is not whole ends no line and no text. */
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫\xe6"), '-');
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫\xe6\xa3"), '-');
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫\xe6\xa3\x89"), 'e');
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫\xe6好"), 'd');
    assert_int_equal(run_lines("taobao", "description", "zh", "标题：纯棉衬衫\x89"), 'd');
    assert_int_equal(run_lines("amazon", "description", "zh", "标题：纯棉衬衫\xe6\n"), 'd');
    assert_int_equal(
        run_lines("xiaohongshu", "description", "en", "Short title: A shirt that is too long"),
        'd');
    struct cm_channel *channel = open_channel("generic");
    struct cm_line_format *none;
    assert_int_equal(cm_line_format_open(channel, "description", "en", &none), CM_OK);
    assert_null(none);
    cm_channel_close(channel);
}

static void unknown_channels_are_told_the_known_ones(void **state)
{
    (void)state;
    struct cm_channel *channel;
    struct cm_error error;
    assert_int_equal(cm_channel_open("radio", &channel, &error), CM_INVALID_ARGUMENT);
    assert_non_null(strstr(error.message, "google-ads"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_counted_in_the_channels_unit),
        cmocka_unit_test(texts_are_cut_at_sentences_and_words),
        cmocka_unit_test(parts_are_read_however_the_lines_are_dressed),
        cmocka_unit_test(headlines_do_not_end_with_words_that_lead_on),
        cmocka_unit_test(missing_parts_come_from_the_item),
        cmocka_unit_test(hard_limits_hold_for_any_text),
        cmocka_unit_test(lines_hold_a_text_to_its_form),
        cmocka_unit_test(unknown_channels_are_told_the_known_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
