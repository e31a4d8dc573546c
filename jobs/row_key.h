/* The key of a row: a hash of everything that can change its text. Two rows with one key have one
 * text, in whatever run, order or company; a changed template or model makes new keys.
 *
 * A key covers the job (seed, scenario, channel, template, model files, device and precision,
 * sampling, length limits, bans, fact lock) and the row (item id and content, which of several
 * identical items it is, segment id and content, question id and content, language). Where in its
 * file an item, a segment or a question stands is not part of it. --attempts and --min-score are
 * not either: they choose among texts. */
#ifndef CM_JOBS_ROW_KEY_H
#define CM_JOBS_ROW_KEY_H

#include "base/status.h"
#include "host/engine.h"
#include "jobs/controls.h"
#include "jobs/copy_row.h"
#include "jobs/prompt.h"
#include "loaders/catalog.h"
#include "loaders/questions.h"
#include "loaders/segments.h"

enum { CM_CONTENT_DIGEST_BYTES = 16 };

struct cm_content_digest {
    uint8_t bytes[CM_CONTENT_DIGEST_BYTES];
};

struct cm_row_key_job {
    uint64_t seed;
    const char *scenario;
    const char *channel;
    const struct cm_prompts *prompts;
    const char *model_digest;
    const char *variant;
    const struct cm_sampling *sampling;
    uint32_t max_tokens;
    uint32_t max_length;
    const struct cm_controls *controls;
};

struct cm_row_keys; /* one thread at a time */

/* CM_OUT_OF_MEMORY only. */
enum cm_status cm_row_keys_open(const struct cm_row_key_job *job,
                                struct cm_row_keys **keys) CM_MUST_CHECK;
void cm_row_keys_close(struct cm_row_keys *keys);

/* Hex of the job's part, for the ledger. */
const char *cm_row_keys_job_digest(const struct cm_row_keys *keys);

/* Content of an item (id included; index, line and problem not), a segment and a question (whose
 * item is not part of it). */
struct cm_content_digest cm_row_keys_item(struct cm_row_keys *keys, const struct cm_item *item);
struct cm_content_digest cm_row_keys_segment(struct cm_row_keys *keys,
                                             const struct cm_segment *segment);
struct cm_content_digest cm_row_keys_question(struct cm_row_keys *keys,
                                              const struct cm_question *question);

struct cm_row_identity {
    struct cm_content_digest item;
    uint32_t nth; /* among the items of this very content, from 0 */
    struct cm_content_digest segment;
    const struct cm_content_digest *question; /* NULL: none */
    const char *language;
};

struct cm_row_key {
    char hex[CM_ROW_KEY_HEX_BYTES];
    /* Of the row's random numbers: a hash of the job's seed and the row, whatever the settings, so
     * that a lock, a ban or another temperature changes a text only where it makes a difference. */
    uint64_t seed[2];
};

struct cm_row_key cm_row_keys_row(struct cm_row_keys *keys, const struct cm_row_identity *row);

/* Eight bytes over digests in order and a text, to tell whether surroundings are the same. */
uint64_t cm_row_keys_surroundings(struct cm_row_keys *keys, const struct cm_content_digest *digests,
                                  size_t digests_count, const char *text);

#endif
