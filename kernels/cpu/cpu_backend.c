#include "kernels/cpu/cpu_backend.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const isa_names[CM_CPU_ISA_COUNT] = {
    [CM_CPU_PORTABLE] = "portable",     [CM_CPU_AVX2] = "avx2",
    [CM_CPU_AVXVNNI] = "avxvnni",       [CM_CPU_AVX512VNNI] = "avx512vnni",
    [CM_CPU_AVX512BF16] = "avx512bf16",
};

enum cm_cpu_isa cm_cpu_isa_best(void)
{
#if defined(__x86_64__)
    /* libgcc's table also checks that the operating system saves the wide registers. */
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return CM_CPU_PORTABLE;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni")) {
        return __builtin_cpu_supports("avxvnni") ? CM_CPU_AVXVNNI : CM_CPU_AVX2;
    }
    return __builtin_cpu_supports("avx512bf16") ? CM_CPU_AVX512BF16 : CM_CPU_AVX512VNNI;
#else
    return CM_CPU_PORTABLE;
#endif
}

const char *cm_cpu_isa_name(enum cm_cpu_isa isa)
{
    return isa_names[isa];
}

static const char *precision_name(enum cm_precision precision)
{
    switch (precision) {
    case CM_PRECISION_EXACT:
        return "exact";
    case CM_PRECISION_BF16:
        return "bf16";
    default:
        return "int8";
    }
}

enum cm_status cm_cpu_backend_open(const struct cm_backend_options *options, enum cm_cpu_isa isa,
                                   struct cm_backend **backend, struct cm_error *error)
{
    if (isa > cm_cpu_isa_best()) {
        return cm_error_set(error, CM_UNSUPPORTED, "this processor has no %s",
                            cm_cpu_isa_name(isa));
    }
    if (options->rows_max == 0) {
        return cm_error_set(error, CM_INVALID_ARGUMENT, "rows_max must be at least 1");
    }
    if (options->precision == CM_PRECISION_FP16 || options->precision == CM_PRECISION_INT4 ||
        options->precision == CM_PRECISION_FP8) {
        return cm_error_set(error, CM_UNSUPPORTED,
                            "--precision fp16, int4 and fp8 need --device cuda; the CPU has exact, "
                            "bf16 and int8, which keeps weights of 4 bits as they are");
    }
    if (options->kv_int8 && options->precision == CM_PRECISION_EXACT) {
        return cm_error_set(error, CM_INVALID_ARGUMENT,
                            "--kv-cache int8 rounds keys and values, which --precision exact must "
                            "not: leave one of them out");
    }
    struct cm_backend *opened = cm_alloc_aligned(1, sizeof *opened);
    if (opened == NULL) {
        return cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for the CPU back end");
    }
    opened->precision =
        options->precision == CM_PRECISION_AUTO ? CM_PRECISION_INT8 : options->precision;
    /* Two machines that compute the same bits carry the same name. */
    if (isa == CM_CPU_AVX512BF16 && opened->precision == CM_PRECISION_EXACT) {
        isa = CM_CPU_AVX512VNNI;
    }
    enum cm_cpu_isa named_isa = isa == CM_CPU_AVXVNNI ? CM_CPU_AVX2 : isa;
    opened->isa = isa;
    opened->functions = cm_cpu_functions(isa);
    opened->rows_max = options->rows_max;
    opened->kv_int8 = options->kv_int8;
    opened->narrow_model = options->narrow_model;
    snprintf(opened->variant, sizeof opened->variant, "cpu-%s-%s%s", cm_cpu_isa_name(named_isa),
             precision_name(opened->precision), opened->kv_int8 ? "-kv8" : "");
    opened->place =
        (struct cm_place){ options->device_index, options->cpu_share, options->cpu_shares };
    uint32_t threads =
        options->threads > 0 ? options->threads : cm_placement_threads(opened->place);
    enum cm_status status = cm_pool_open(threads, &opened->pool, error);
    if (status == CM_OK &&
        cm_placement_open(opened->place, opened->pool, &opened->placement) != CM_OK) {
        status = cm_error_set(error, CM_OUT_OF_MEMORY, "no memory for the CPU back end");
    }
    if (status != CM_OK) {
        cm_cpu_backend_close(opened);
        return status;
    }
    *backend = opened;
    return CM_OK;
}

enum cm_status cm_backend_open_cpu(const struct cm_backend_options *options,
                                   struct cm_backend **backend, struct cm_error *error)
{
    return cm_cpu_backend_open(options, cm_cpu_isa_best(), backend, error);
}

void cm_cpu_backend_close(struct cm_backend *backend)
{
    if (backend == NULL) {
        return;
    }
    cm_pool_close(backend->pool);
    cm_rotation_tables_close(backend);
    cm_panel_block_release(backend->panels);
    cm_placement_close(backend->placement);
    cm_free(backend->scratch);
    cm_free(backend);
}

const char *cm_cpu_backend_variant(const struct cm_backend *backend)
{
    return backend->variant;
}

uint32_t cm_cpu_backend_threads(const struct cm_backend *backend)
{
    return cm_pool_threads(backend->pool);
}

enum cm_precision cm_cpu_backend_precision(const struct cm_backend *backend)
{
    return backend->precision;
}

enum cm_status cm_cpu_backend_status(struct cm_backend *backend, struct cm_error *error)
{
    return backend->comm != NULL ? cm_cpu_comm_status(backend->comm, error) : CM_OK;
}

void cm_cpu_backend_enter(struct cm_backend *backend)
{
    cm_placement_enter(backend->placement);
}

void cm_cpu_backend_leave(struct cm_backend *backend)
{
    cm_placement_leave(backend->placement);
}

static uint64_t machine_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : (uint64_t)4 << 30;
}

uint64_t cm_cpu_backend_memory_bytes(struct cm_backend *backend)
{
    uint64_t bytes = cm_placement_memory_bytes(backend->place);
    bytes = bytes > 0 ? bytes : machine_memory_bytes();
    return backend->place.shares > 1 ? bytes / backend->place.shares : bytes;
}

void *cm_cpu_backend_alloc(struct cm_backend *backend, size_t bytes)
{
    (void)backend;
    return cm_alloc_aligned(bytes, 1);
}

void cm_cpu_backend_free(struct cm_backend *backend, void *memory)
{
    (void)backend;
    cm_free(memory);
}

void cm_cpu_backend_upload(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    memcpy(to, from, bytes);
}

void cm_cpu_backend_download(struct cm_backend *backend, void *to, const void *from, size_t bytes)
{
    (void)backend;
    memcpy(to, from, bytes);
}

enum cm_status cm_cpu_scratch_reserve(struct cm_backend *backend, size_t bytes)
{
    if (bytes <= backend->scratch_bytes) {
        return CM_OK;
    }
    void *grown = cm_alloc_aligned(bytes, 1);
    if (grown == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    cm_free(backend->scratch);
    backend->scratch = grown;
    backend->scratch_bytes = bytes;
    return CM_OK;
}
