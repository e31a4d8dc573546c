/* What the files of the CPU back end share: the struct behind `struct cm_backend`, the instruction
 * set they were told to use, and scratch memory. Private to kernels/cpu and its tests. */
#ifndef CM_KERNELS_CPU_CPU_BACKEND_H
#define CM_KERNELS_CPU_CPU_BACKEND_H

#include "kernels/backend_functions.h"
#include "kernels/cpu/coming_pages.h"
#include "kernels/cpu/panel_memory.h"
#include "kernels/cpu/placement.h"
#include "kernels/cpu/rotations.h"
#include "kernels/cpu/thread_pool.h"

/* Instruction sets in rising order, each with all that the ones before it have. The choice is a
 * fixed function of the processor's feature bits, never of a measurement, since it changes
 * roundings. */
enum cm_cpu_isa {
    CM_CPU_PORTABLE,
    CM_CPU_AVX2,       /* AVX2, FMA, F16C */
    CM_CPU_AVXVNNI,    /* and vpdpbusd on 256 bits: AVX-VNNI, or all of the next */
    CM_CPU_AVX512VNNI, /* AVX-512 F, BW, DQ, VL, VNNI */
    CM_CPU_AVX512BF16, /* and BF16; not used for exact */
    CM_CPU_ISA_COUNT
};

struct cm_backend {
    const struct cm_backend_functions *functions;
    struct cm_pool *pool;
    struct cm_place place;
    struct cm_placement *placement; /* NULL where nothing is bound */
    enum cm_precision precision;    /* EXACT, BF16 or INT8 */
    enum cm_cpu_isa isa;
    bool kv_int8;
    bool narrow_model;
    uint32_t rows_max;
    char variant[48];
    struct cm_comm *comm; /* the group that it is a rank of, or NULL */
    uint32_t rank;
    void *scratch; /* of one op call; contents do not outlive it */
    size_t scratch_bytes;
    struct cm_rotation_table rotations[CM_ROTATION_TABLES];
    struct cm_coming_pages coming;
    struct cm_panel_block *panels; /* the block that the next matrix may share; NULL: none yet */
};

struct cm_table {
    const struct cm_backend_functions *functions;
    enum cm_dtype dtype;
    uint32_t n_rows;
    uint32_t dim;
    size_t row_bytes;
    const uint8_t *data; /* [n_rows][row_bytes], borrowed */
};

/* The best that this processor and this operating system offer. */
enum cm_cpu_isa cm_cpu_isa_best(void);
const char *cm_cpu_isa_name(enum cm_cpu_isa isa); /* "avx512vnni" */

/* The functions with the ops compiled for an instruction set. */
const struct cm_backend_functions *cm_cpu_functions(enum cm_cpu_isa isa);

#define CM_CPU_DECLARE(name) __typeof__(cm_##name) cm_cpu_##name;
CM_BACKEND_FUNCTIONS(CM_CPU_DECLARE)

/* CM_DEVICE_FAILED, with the reason, where a rank has given up. */
enum cm_status cm_cpu_comm_status(struct cm_comm *comm, struct cm_error *error) CM_MUST_CHECK;

/* As cm_backend_open_cpu with a given instruction set, so that tests reach every variant.
 * CM_UNSUPPORTED where the processor lacks it. */
enum cm_status cm_cpu_backend_open(const struct cm_backend_options *options, enum cm_cpu_isa isa,
                                   struct cm_backend **backend,
                                   struct cm_error *error) CM_MUST_CHECK;

/* Grows the scratch memory to at least `bytes`; for the functions named `create`, before any op
 * runs. CM_OUT_OF_MEMORY leaves it as it was. */
enum cm_status cm_cpu_scratch_reserve(struct cm_backend *backend, size_t bytes) CM_MUST_CHECK;

#endif
