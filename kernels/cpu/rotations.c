#include "kernels/cpu/rotations.h"

#include "base/memory.h"
#include "kernels/cpu/cpu_backend.h"

#include <math.h>
#include <string.h>

enum { POSITIONS_MIN = 256, POSITIONS_MAX = 1 << 17 };

void cm_rotation_of(const float *frequencies, uint32_t count, int32_t position, float *cosines,
                    float *sines)
{
    for (uint32_t i = 0; i < count; i++) {
        float angle = (float)position * frequencies[i];
        sincosf(angle, &sines[i], &cosines[i]);
    }
}

static struct cm_rotation_table *find_place(struct cm_backend *backend, const float *frequencies,
                                            uint32_t count)
{
    for (uint32_t i = 0; i < CM_ROTATION_TABLES; i++) {
        struct cm_rotation_table *table = &backend->rotations[i];
        if (table->count == count &&
            memcmp(table->frequencies, frequencies, count * sizeof *frequencies) == 0) {
            return table;
        }
        if (table->count == 0) {
            table->frequencies = cm_alloc(count, sizeof *frequencies);
            if (table->frequencies == NULL) {
                return NULL;
            }
            memcpy(table->frequencies, frequencies, count * sizeof *frequencies);
            table->count = count;
            return table;
        }
    }
    return NULL;
}

const struct cm_rotation_table *cm_rotation_table_find(struct cm_backend *backend,
                                                       const float *frequencies, uint32_t count,
                                                       uint32_t positions_count)
{
    struct cm_rotation_table *table =
        positions_count <= POSITIONS_MAX ? find_place(backend, frequencies, count) : NULL;
    if (table == NULL || positions_count <= table->positions_count) {
        return table;
    }
    uint32_t wanted =
        table->positions_count < POSITIONS_MIN ? POSITIONS_MIN : 2 * table->positions_count;
    while (wanted < positions_count) {
        wanted *= 2;
    }
    size_t position_floats = 2 * (size_t)count;
    float *grown = cm_realloc(table->values, wanted * position_floats, sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    table->values = grown;
    for (uint32_t p = table->positions_count; p < wanted; p++) {
        float *cosines = grown + p * position_floats;
        cm_rotation_of(frequencies, count, (int32_t)p, cosines, cosines + count);
    }
    table->positions_count = wanted;
    return table;
}

void cm_rotation_tables_close(struct cm_backend *backend)
{
    for (uint32_t i = 0; i < CM_ROTATION_TABLES; i++) {
        cm_free(backend->rotations[i].frequencies);
        cm_free(backend->rotations[i].values);
    }
}
