#include "jobs/row_key.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

/* Raised when the meaning of a key's parts changes, so that old ledgers are not taken for new. */
enum { KEY_VERSION = 7 };

struct cm_row_keys {
    struct cm_hash *hash;
    uint64_t seed; /* of the job */
    uint8_t job_digest[CM_SHA256_BYTES];
    char job_digest_hex[CM_SHA256_HEX_BYTES];
};

static void hash_job(struct cm_hash *hash, const struct cm_row_key_job *job)
{
    cm_hash_text(hash, "copymill job");
    cm_hash_u64(hash, KEY_VERSION);
    cm_hash_u64(hash, job->seed);
    cm_hash_text(hash, job->scenario);
    cm_hash_text(hash, job->channel);
    cm_prompts_hash(job->prompts, hash);
    cm_hash_text(hash, job->model_digest);
    cm_hash_text(hash, job->variant);
    cm_hash_f64(hash, job->sampling->temperature);
    cm_hash_u64(hash, job->sampling->top_k);
    cm_hash_f64(hash, job->sampling->top_p);
    cm_hash_f64(hash, job->sampling->min_p);
    cm_hash_f64(hash, job->sampling->repetition_penalty);
    cm_hash_u64(hash, job->sampling->no_repeat_ngram);
    cm_hash_u64(hash, job->sampling->ignore_stop);
    if (job->sampling->beams > 1) { /* keys from before there were beams stay as they were */
        cm_hash_u64(hash, job->sampling->beams);
    }
    cm_hash_u64(hash, job->max_tokens);
    cm_hash_u64(hash, job->max_length);
    if (job->controls != NULL) {
        cm_controls_hash(job->controls, hash);
    }
}

enum cm_status cm_row_keys_open(const struct cm_row_key_job *job, struct cm_row_keys **keys)
{
    struct cm_row_keys *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL || cm_hash_open(&opened->hash) != CM_OK) {
        cm_free(opened);
        return CM_OUT_OF_MEMORY;
    }
    opened->seed = job->seed;
    hash_job(opened->hash, job);
    cm_hash_digest(opened->hash, opened->job_digest);
    cm_hex(opened->job_digest, CM_SHA256_BYTES, opened->job_digest_hex);
    *keys = opened;
    return CM_OK;
}

void cm_row_keys_close(struct cm_row_keys *keys)
{
    if (keys != NULL) {
        cm_hash_close(keys->hash);
        cm_free(keys);
    }
}

const char *cm_row_keys_job_digest(const struct cm_row_keys *keys)
{
    return keys->job_digest_hex;
}

static void hash_attributes(struct cm_hash *hash, const struct cm_attribute *attributes,
                            size_t attributes_count)
{
    cm_hash_u64(hash, attributes_count);
    for (size_t i = 0; i < attributes_count; i++) {
        cm_hash_text(hash, attributes[i].name);
        cm_hash_text(hash, attributes[i].value);
    }
}

static struct cm_content_digest content_digest(struct cm_hash *hash)
{
    uint8_t digest[CM_SHA256_BYTES];
    struct cm_content_digest content;
    cm_hash_digest(hash, digest);
    memcpy(content.bytes, digest, sizeof content.bytes);
    return content;
}

struct cm_content_digest cm_row_keys_item(struct cm_row_keys *keys, const struct cm_item *item)
{
    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "item");
    for (size_t i = 0; i < CM_ITEM_FIELD_COUNT; i++) {
        cm_hash_text(keys->hash, item->fields[i]);
    }
    hash_attributes(keys->hash, item->attributes, item->attributes_count);
    cm_hash_u64(keys->hash, item->damaged);
    return content_digest(keys->hash);
}

struct cm_content_digest cm_row_keys_segment(struct cm_row_keys *keys,
                                             const struct cm_segment *segment)
{
    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "segment");
    cm_hash_text(keys->hash, segment->id);
    cm_hash_text(keys->hash, segment->language);
    hash_attributes(keys->hash, segment->attributes, segment->attributes_count);
    return content_digest(keys->hash);
}

struct cm_content_digest cm_row_keys_question(struct cm_row_keys *keys,
                                              const struct cm_question *question)
{
    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "question");
    cm_hash_text(keys->hash, question->id);
    cm_hash_text(keys->hash, question->text);
    cm_hash_text(keys->hash, question->policy);
    cm_hash_text(keys->hash, question->language);
    return content_digest(keys->hash);
}

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    return value;
}

static void hash_row(struct cm_hash *hash, const struct cm_row_identity *row)
{
    cm_hash_bytes(hash, row->item.bytes, sizeof row->item.bytes);
    cm_hash_u64(hash, row->nth);
    cm_hash_bytes(hash, row->segment.bytes, sizeof row->segment.bytes);
    cm_hash_text(hash, row->language);
    if (row->question != NULL) {
        cm_hash_bytes(hash, row->question->bytes, sizeof row->question->bytes);
    }
}

struct cm_row_key cm_row_keys_row(struct cm_row_keys *keys, const struct cm_row_identity *row)
{
    uint8_t digest[CM_SHA256_BYTES];
    struct cm_row_key key;
    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "row");
    cm_hash_bytes(keys->hash, keys->job_digest, sizeof keys->job_digest);
    hash_row(keys->hash, row);
    cm_hash_digest(keys->hash, digest);
    cm_hex(digest, CM_ROW_KEY_BYTES, key.hex);

    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "random numbers");
    cm_hash_u64(keys->hash, keys->seed);
    hash_row(keys->hash, row);
    cm_hash_digest(keys->hash, digest);
    key.seed[0] = read_u64(digest);
    key.seed[1] = read_u64(digest + 8);
    return key;
}

uint64_t cm_row_keys_surroundings(struct cm_row_keys *keys, const struct cm_content_digest *digests,
                                  size_t digests_count, const char *text)
{
    cm_hash_restart(keys->hash);
    cm_hash_text(keys->hash, "surroundings");
    cm_hash_bytes(keys->hash, digests, digests_count * sizeof *digests);
    cm_hash_text(keys->hash, text);
    return read_u64(content_digest(keys->hash).bytes);
}
