/* SHA-256 (FIPS 180-4, over libcrypto): file checks, row keys, content hashes.
 *
 * Fields are hashed with their length before them (`cm_hash_field`), so that ("ab","c") and
 * ("a","bc") differ. */
#ifndef CM_BASE_HASH_H
#define CM_BASE_HASH_H

#include "base/status.h"
#include "base/text.h"

#include <stddef.h>
#include <stdint.h>

enum { CM_SHA256_BYTES = 32, CM_SHA256_HEX_BYTES = 65 };

struct cm_hash; /* opaque; one thread at a time */

enum cm_status cm_hash_open(struct cm_hash **hash) CM_MUST_CHECK;
void cm_hash_close(struct cm_hash *hash);
void cm_hash_restart(struct cm_hash *hash);
void cm_hash_bytes(struct cm_hash *hash, const void *bytes, size_t length);
void cm_hash_field(struct cm_hash *hash, struct cm_span field);
void cm_hash_text(struct cm_hash *hash, const char *field); /* as a field */
void cm_hash_u64(struct cm_hash *hash, uint64_t value);
void cm_hash_f64(struct cm_hash *hash, double value);

/* The digest of all that was added; the hash must then be restarted or closed. */
void cm_hash_digest(struct cm_hash *hash, uint8_t digest[CM_SHA256_BYTES]);

/* Lower-case hex of `length` bytes and a NUL: `out` holds 2 * length + 1. */
void cm_hex(const uint8_t *bytes, size_t length, char *out);

#endif
