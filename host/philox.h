/* Philox4x32-10, a counter-based random number generator (Salmon et al., "Parallel Random Numbers:
 * As Easy as 1, 2, 3", 2011): the number for (key, counter) needs no state, so a row's numbers do
 * not depend on what else runs. */
#ifndef CM_HOST_PHILOX_H
#define CM_HOST_PHILOX_H

#include <stdint.h>

void cm_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Uniform in [0, 1) with 24 bits for output position `position` of attempt `attempt` of the row
 * that `seed` identifies. */
float cm_philox_uniform(const uint64_t seed[2], uint32_t attempt, uint32_t position);

/* Two more such numbers in a lane of their own; lane 0 is the one above. Lanes and attempts are
 * below 65,536. */
void cm_philox_uniforms(const uint64_t seed[2], uint32_t attempt, uint32_t position, uint32_t lane,
                        float uniforms[2]);

/* The lane of the index-th draw of a beam. */
static inline uint32_t cm_philox_beam_lane(uint32_t beam, uint32_t index)
{
    return 1 + beam * 256 + index;
}

#endif
