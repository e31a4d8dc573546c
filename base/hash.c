#include "base/hash.h"

#include "base/memory.h"

#include <openssl/evp.h>
#include <string.h>

struct cm_hash {
    EVP_MD_CTX *context;
};

enum cm_status cm_hash_open(struct cm_hash **hash)
{
    struct cm_hash *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->context = EVP_MD_CTX_new();
    if (opened->context == NULL) {
        cm_free(opened);
        return CM_OUT_OF_MEMORY;
    }
    cm_hash_restart(opened);
    *hash = opened;
    return CM_OK;
}

void cm_hash_close(struct cm_hash *hash)
{
    if (hash != NULL) {
        EVP_MD_CTX_free(hash->context);
        cm_free(hash);
    }
}

void cm_hash_restart(struct cm_hash *hash)
{
    CM_ASSERT(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL) == 1);
}

void cm_hash_bytes(struct cm_hash *hash, const void *bytes, size_t length)
{
    if (length > 0) {
        CM_ASSERT(EVP_DigestUpdate(hash->context, bytes, length) == 1);
    }
}

void cm_hash_u64(struct cm_hash *hash, uint64_t value)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    cm_hash_bytes(hash, bytes, sizeof bytes);
}

void cm_hash_f64(struct cm_hash *hash, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    cm_hash_u64(hash, bits);
}

void cm_hash_field(struct cm_hash *hash, struct cm_span field)
{
    cm_hash_u64(hash, field.length);
    cm_hash_bytes(hash, field.data, field.length);
}

void cm_hash_text(struct cm_hash *hash, const char *field)
{
    cm_hash_field(hash, cm_span_of(field));
}

void cm_hash_digest(struct cm_hash *hash, uint8_t digest[CM_SHA256_BYTES])
{
    unsigned length = 0;
    CM_ASSERT(EVP_DigestFinal_ex(hash->context, digest, &length) == 1);
    CM_ASSERT(length == CM_SHA256_BYTES);
}

void cm_hex(const uint8_t *bytes, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * length] = '\0';
}
