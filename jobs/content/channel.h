/* Where copy appears: which parts it has there, how long they may be in the channel's own unit, and
 * what may not be in them. Profiles are data, see jobs/channels/README.md. */
#ifndef CM_JOBS_CONTENT_CHANNEL_H
#define CM_JOBS_CONTENT_CHANNEL_H

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CM_CHANNEL_FIELDS_MAX = 8,
    CM_CHANNEL_SCENARIOS_MAX = 8,
    CM_CHANNEL_BAN_WORDS_MAX = 64,
    CM_CHANNEL_ANGLES_MAX = 8,
    CM_CHANNEL_LIST_MAX = 32, /* items of a field with several */
};

/* How length is counted. */
enum cm_channel_unit {
    CM_COUNT_CHARACTER, /* code points */
    CM_COUNT_GRAPHEME,  /* what a reader sees as one character (Unicode annex 29) */
    CM_COUNT_HAN_2,     /* East Asian and full-width characters count 2 */
    CM_COUNT_X,         /* X's weights: after NFC, CJK and emoji 2, a link 23 */
};

/* How a field is found in what the model wrote. */
enum cm_field_read {
    CM_READ_LABEL, /* in lines that begin with its label */
    CM_READ_ALL,
    CM_READ_FIRST_LINE,
    CM_READ_REST,
    CM_READ_HASHTAGS,
    CM_READ_WITHOUT_HASHTAGS,
};

enum cm_field_else { CM_ELSE_NOTHING, CM_ELSE_TITLE, CM_ELSE_FACTS };

/* Texts are never NULL (absent: ""); limits of 0 are none. */
struct cm_channel_field {
    const char *name;
    const char *scenarios[CM_CHANNEL_SCENARIOS_MAX];
    size_t scenarios_count;
    const char *label_en;
    const char *label_zh;
    const char *ask_en;
    const char *ask_zh;
    const char *angles_en[CM_CHANNEL_ANGLES_MAX]; /* of the lines of a list: "benefit" */
    const char *angles_zh[CM_CHANNEL_ANGLES_MAX];
    size_t angles_count; /* in each language */
    enum cm_field_read read;
    enum cm_field_else otherwise;
    uint32_t hard;
    uint32_t soft;
    uint32_t shortest;
    bool is_list;
    uint32_t min; /* of items; 1 for a field that is no list and must be there */
    uint32_t max;
    uint32_t ask_count;
    bool unique;
    uint32_t repeats; /* how often a word may occur */
    bool sentences;   /* cut at the end of one where possible */
};

struct cm_channel {
    const char *name;
    const char *title;
    enum cm_channel_unit unit;
    uint32_t hard; /* of a text without fields */
    struct cm_channel_field fields[CM_CHANNEL_FIELDS_MAX];
    size_t fields_count;
    struct {
        const char *characters;
        const char *words[CM_CHANNEL_BAN_WORDS_MAX];
        size_t words_count;
        bool emoji;
        bool links;
        bool contacts;
        bool prices;
        bool capitals;
        bool brand;
        bool superlatives;
    } bans;
    void *document; /* owns the texts */
    struct cm_span source;
};

/* CM_INVALID_ARGUMENT for an unknown name, with the known ones; CM_OUT_OF_MEMORY. */
enum cm_status cm_channel_open(const char *name, struct cm_channel **channel,
                               struct cm_error *error) CM_MUST_CHECK;
void cm_channel_close(struct cm_channel *channel); /* NULL is fine */

/* Whether its texts of a scenario are other than those without a channel. */
bool cm_channel_shapes_text(const struct cm_channel *channel, const char *scenario);

/* Adds everything that changes a text. */
void cm_channel_hash(const struct cm_channel *channel, struct cm_hash *hash);

/* Whether the field is written in this scenario. */
bool cm_channel_field_in(const struct cm_channel_field *field, const char *scenario);

/* Whether any is. */
bool cm_channel_has_fields(const struct cm_channel *channel, const char *scenario);

/* The length of a text in a unit. */
uint32_t cm_channel_measure(enum cm_channel_unit unit, struct cm_span text);

/* Appends the label of a field's line, counted from 0: "Headline (benefit):". Lines that ask for
 * the same get the same from a small model. CM_OUT_OF_MEMORY, CM_LIMIT. */
enum cm_status cm_channel_append_label(const struct cm_channel_field *field, uint32_t line,
                                       bool chinese, struct cm_text *text) CM_MUST_CHECK;

/* Appends what a prompt asks for, a line each: "Title: what it is, in at most 10 words"; nothing
 * where no field has a label in this scenario. */
enum cm_status cm_channel_append_format(const struct cm_channel *channel, const char *scenario,
                                        const char *language, struct cm_text *text) CM_MUST_CHECK;

#endif
