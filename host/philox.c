#include "host/philox.h"

static void round_once(uint32_t counter[4], const uint32_t key[2])
{
    uint64_t product0 = (uint64_t)0xD2511F53U * counter[0];
    uint64_t product1 = (uint64_t)0xCD9E8D57U * counter[2];
    uint32_t next[4] = {
        (uint32_t)(product1 >> 32) ^ counter[1] ^ key[0],
        (uint32_t)product1,
        (uint32_t)(product0 >> 32) ^ counter[3] ^ key[1],
        (uint32_t)product0,
    };
    for (int i = 0; i < 4; i++) {
        counter[i] = next[i];
    }
}

void cm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t round_key[2] = { key[0], key[1] };
    for (int i = 0; i < 4; i++) {
        out[i] = counter[i];
    }
    for (int round = 0; round < 10; round++) {
        round_once(out, round_key);
        round_key[0] += 0x9E3779B9U;
        round_key[1] += 0xBB67AE85U;
    }
}

void cm_philox_uniforms(const uint64_t seed[2], uint32_t attempt, uint32_t position, uint32_t lane,
                        float uniforms[2])
{
    const uint32_t counter[4] = { position, attempt | lane << 16, (uint32_t)seed[1],
                                  (uint32_t)(seed[1] >> 32) };
    const uint32_t key[2] = { (uint32_t)seed[0], (uint32_t)(seed[0] >> 32) };
    uint32_t out[4];
    cm_philox4x32(counter, key, out);
    uniforms[0] = (float)(out[0] >> 8) * 0x1p-24f;
    uniforms[1] = (float)(out[1] >> 8) * 0x1p-24f;
}

float cm_philox_uniform(const uint64_t seed[2], uint32_t attempt, uint32_t position)
{
    float uniforms[2];
    cm_philox_uniforms(seed, attempt, position, 0, uniforms);
    return uniforms[0];
}
