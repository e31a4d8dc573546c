/* Counts how often each digest was met: the nth of its kind. 16 bytes per distinct digest, so ten
 * million need some 300 MB. Twelve bytes of the digest tell them apart; that two of ten million
 * differ and agree in these has a chance of about 10^-15. */
#ifndef CM_BASE_DIGEST_COUNT_H
#define CM_BASE_DIGEST_COUNT_H

#include "base/status.h"

#include <stdint.h>

enum { CM_DIGEST_COUNT_BYTES = 12 };

struct cm_digest_count;

enum cm_status cm_digest_count_open(struct cm_digest_count **count) CM_MUST_CHECK;
void cm_digest_count_close(struct cm_digest_count *count);

/* `digest` is the beginning of a cryptographic hash, at least CM_DIGEST_COUNT_BYTES of it. `*nth`
 * is 0 for the first of its kind, 1 for the second ... CM_OUT_OF_MEMORY. */
enum cm_status cm_digest_count_add(struct cm_digest_count *count, const uint8_t *digest,
                                   uint32_t *nth) CM_MUST_CHECK;

#endif
