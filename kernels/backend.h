/* The op interface: everything the engine asks of a device. `cpu/` and `cuda/` implement it, with
 * one file per op family and the same names on both sides; backend.c passes each call on.
 *
 * Rules that hold for every op
 *  - Shapes are written [slowest, ..., fastest], contiguous. Activations are float32.
 *  - Rows are independent: the result of a row does not depend on how many other rows there are, on
 *    where it stands among them, or on the number of threads. Sums run in a fixed order.
 *  - Pointers to activations, tables of pages and weights are memory of the back end (on the CPU,
 *    plain memory). Pointers to arguments that steer an op (positions, visits, parameters) are too:
 *    the engine fills them in host memory and uploads them once a step.
 *  - Ops do not allocate, except where a function's name says `create` or `open`. Scratch memory is
 *    sized at open from `rows_max`.
 *  - One thread calls the ops of a back end; the back end may use its own threads inside.
 *  - Errors are programmer errors (CM_ASSERT) but for creation and for device failures.
 */
#ifndef CM_KERNELS_BACKEND_H
#define CM_KERNELS_BACKEND_H

#include "base/dtype.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cm_precision {
    CM_PRECISION_AUTO,  /* the fastest that keeps the file's own accuracy */
    CM_PRECISION_EXACT, /* float32 weights, KV and arithmetic: the reference */
    CM_PRECISION_BF16,
    CM_PRECISION_INT8, /* weights as integers of 8 bits with a scale per group */
    CM_PRECISION_FP16, /* this and what follows on CUDA devices only */
    CM_PRECISION_INT4, /* as int8, and of 4 bits where the file has no more */
    CM_PRECISION_FP8,  /* weights and KV as e4m3, compute capability 8.9 or later */
};

struct cm_backend;

enum cm_device { CM_DEVICE_CPU, CM_DEVICE_CUDA };

struct cm_backend_options {
    enum cm_precision precision;
    uint32_t threads;  /* CPU: 0 means one per core that this process may use (cpuset, quota) */
    uint32_t rows_max; /* most rows (tokens) of one op call */
    enum cm_device device;
    uint32_t device_index; /* CUDA: which of the devices that this process sees; CPU: 1 and more:
                              cores and memory of one NUMA node (cm_cpu_nodes), 0: of any */
    bool kv_int8;          /* CPU: keys and values as integers of 8 bits; not with EXACT */
    bool narrow_model;     /* CPU: few channels average roundings out, so they are to be finer */
    uint32_t cpu_share;    /* CPU: which one of `cpu_shares` equal parts of these cores; */
    uint32_t cpu_shares;   /* 0 and 1: all of them */
    double timeout_s;      /* CUDA: a device that does not answer for so long has failed; 0: 120 */
};

/* The devices of a kind that this process can use; 0 for CUDA where copymill was built without it
 * or the machine has none. */
uint32_t cm_devices_count(enum cm_device device);

/* Opens the back end of options->device. CM_UNSUPPORTED for a precision or a kind of device that
 * this build or device lacks, CM_NOT_FOUND for a device that is not there, CM_DEVICE_FAILED,
 * CM_OUT_OF_MEMORY. */
enum cm_status cm_backend_open(const struct cm_backend_options *options,
                               struct cm_backend **backend, struct cm_error *error) CM_MUST_CHECK;

void cm_backend_close(struct cm_backend *backend);

/* So many NUMA nodes as it takes to have a core for each thread, or all that this process may use
 * where `threads` is 0 or more than they have; at least 1. A back end on each of them works from
 * memory of its own. */
uint32_t cm_cpu_nodes(uint32_t threads);

/* How many threads are worth having on a NUMA node, 0: on all: its cores, or fewer where this
 * process has a quota. */
uint32_t cm_cpu_threads(uint32_t node);

/* Between these two the calling thread is near the back end's memory, on a core of its own where
 * its other threads have that too. For whoever calls ops, around many of them. Starts no thread
 * meanwhile. */
void cm_backend_enter(struct cm_backend *backend);
void cm_backend_leave(struct cm_backend *backend);

/* "cpu-avx512vnni-int8", "cuda-sm90-blas130100-bf16": device, instruction set and precision.
 * Everything that can change a rounding, so it is part of every row's key. */
const char *cm_backend_variant(const struct cm_backend *backend);
uint32_t cm_backend_threads(const struct cm_backend *backend);
enum cm_precision cm_backend_precision(const struct cm_backend *backend); /* never AUTO */

/* CM_OK, or what made the device fail: an op returns nothing, so a step asks once at its end. After
 * a failure the ops do nothing, results are undefined and only closing makes sense. */
enum cm_status cm_backend_status(struct cm_backend *backend, struct cm_error *error) CM_MUST_CHECK;

/* --- Memory --- */

/* What the device has for weights, activations and pages: of a CUDA device what is free now, of the
 * CPU its share of the machine's or the node's whole memory, which others use too. */
uint64_t cm_backend_memory_bytes(struct cm_backend *backend);

/* Zeroed, 64-byte aligned; NULL when there is no more. */
void *cm_backend_alloc(struct cm_backend *backend, size_t bytes) CM_MUST_CHECK;
void cm_backend_free(struct cm_backend *backend, void *memory);
void cm_backend_upload(struct cm_backend *backend, void *to, const void *from, size_t bytes);
void cm_backend_download(struct cm_backend *backend, void *to, const void *from, size_t bytes);

/* --- Work that the host need not wait for --- */

/* Host memory that the device copies from and to by itself; zeroed, 64-byte aligned; NULL when
 * there is no more. */
void *cm_backend_host_alloc(struct cm_backend *backend, size_t bytes) CM_MUST_CHECK;
void cm_backend_host_free(struct cm_backend *backend, void *memory);

/* As upload and download, in the order of the ops, but with memory of cm_backend_host_alloc on the
 * host's side and without waiting: the host leaves that side alone until a fence recorded after the
 * copy has passed. */
void cm_backend_send(struct cm_backend *backend, void *to, const void *from, size_t bytes);
void cm_backend_fetch(struct cm_backend *backend, void *to, const void *from, size_t bytes);

/* A point in the order of ops and copies. */
struct cm_fence;
enum cm_status cm_fence_create(struct cm_backend *backend, struct cm_fence **fence,
                               struct cm_error *error) CM_MUST_CHECK;
void cm_fence_close(struct cm_fence *fence);  /* NULL is fine */
void cm_fence_record(struct cm_fence *fence); /* here, whatever point it was before */

/* Until all that was asked before the fence is done, or the device has failed, which
 * cm_backend_status tells. A device that does not get there in `timeout_s` has failed. */
void cm_fence_wait(struct cm_fence *fence);

/* --- Steps recorded once and run again with one call (CUDA graphs) --- */

/* Runs the ops recorded under the key again, with the arguments of then: addresses, numbers of
 * rows. What stands at the addresses may be other. False: nothing is recorded under it. */
bool cm_backend_replay(struct cm_backend *backend, uint64_t key);

/* The ops called from here on are recorded, not run, until the end. False: this back end does not
 * record (now); there is then nothing to end. In between no copies, no memory, no fences. */
bool cm_backend_record_begin(struct cm_backend *backend, uint64_t key) CM_MUST_CHECK;

/* Runs what was recorded and keeps it for replays. False: the device does not take it; nothing has
 * run, and the ops are to be called once more. */
bool cm_backend_record_end(struct cm_backend *backend) CM_MUST_CHECK;

/* Drops all that was recorded: an address has changed. May wait for the device. */
void cm_backend_forget(struct cm_backend *backend);

/* --- Names for a profiler --- */

/* What the calling thread does until the end has this name in the time line of Nsight Systems;
 * ranges may stand in each other. Nothing where no profiler looks on. */
void cm_backend_range_begin(struct cm_backend *backend, const char *name);
void cm_backend_range_end(struct cm_backend *backend);

/* --- Weights --- */

/* A packed weight matrix [n_out, n_in] with an optional bias [n_out]. */
struct cm_matrix;

struct cm_matrix_source {
    const struct cm_tensor *weight; /* [n_out_i, n_in], any dtype; borrowed during the call only */
    const struct cm_tensor *bias;   /* [n_out_i], any plain dtype, or NULL */
    bool transposed;                /* the file holds [n_in, n_out_i] (GPT-2) */
    bool skewed_inputs; /* x has channels far from the others and from zero: where x is rounded, it
                           is worth the time to round it finer; the same for all sources */
};

/* Stacks the sources' rows (fused QKV, gate + up) and packs them in the layout of the precision. */
enum cm_status cm_matrix_create(struct cm_backend *backend, const struct cm_matrix_source *sources,
                                size_t sources_count, struct cm_matrix **matrix,
                                struct cm_error *error) CM_MUST_CHECK;
void cm_matrix_close(struct cm_matrix *matrix);

/* CPU: the same weights in the same memory for another back end of the same precision, whose ops
 * may run at the same time. `matrix` must outlive it. CM_OUT_OF_MEMORY. */
enum cm_status cm_cpu_matrix_share(struct cm_backend *backend, const struct cm_matrix *matrix,
                                   struct cm_matrix **shared, struct cm_error *error) CM_MUST_CHECK;
uint32_t cm_matrix_n_in(const struct cm_matrix *matrix);
uint32_t cm_matrix_n_out(const struct cm_matrix *matrix);
size_t cm_matrix_bytes(const struct cm_matrix *matrix);

/* Rows (tokens) that have gone through this matrix since it was created, counted in the op. */
uint64_t cm_matrix_rows_count(const struct cm_matrix *matrix);

/* A tensor as float32 in back-end memory, for norms, biases and position tables. */
enum cm_status
cm_vector_create(struct cm_backend *backend, const struct cm_tensor *tensor, float **vector,
                 struct cm_error *error) CM_MUST_CHECK; /* free with cm_backend_free */

/* A table [n_rows, dim] whose rows are looked up one at a time, kept in the file's own type and
 * dequantised at look-up. On the CPU it borrows the tensor's memory, which must outlive it. */
struct cm_table;
enum cm_status cm_table_create(struct cm_backend *backend, const struct cm_tensor *tensor,
                               struct cm_table **table, struct cm_error *error) CM_MUST_CHECK;
void cm_table_close(struct cm_table *table);

/* --- Ops: embed --- */

/* out[r, :] = scale * table[tokens[r], :] */
void cm_op_embed(struct cm_backend *backend, const struct cm_table *table, const int32_t *tokens,
                 uint32_t n_rows, float scale, float *out /* [n_rows, dim] */);

/* out[i, :] = x[rows[i], :] : picks the rows that need logits. */
void cm_op_gather(struct cm_backend *backend, const float *x, uint32_t dim, const int32_t *rows,
                  uint32_t n_rows, float *out /* [n_rows, dim] */);

/* --- Ops: norm --- */

enum cm_norm_kind {
    CM_NORM_RMS,      /* x / sqrt(mean(x^2) + eps) * w */
    CM_NORM_RMS_PLUS, /* the same with (1 + w): Gemma, where the file does not hold 1 + w already */
    CM_NORM_LAYER,    /* (x - mean) / sqrt(var + eps) * w + b */
};

struct cm_norm_args {
    enum cm_norm_kind kind;
    float epsilon;
    uint32_t n_rows;
    uint32_t dim;
    const float *weight; /* [dim] */
    const float *bias;   /* [dim] or NULL */
    float *x; /* [n_rows, dim]; with `residual`, x += residual first, and is written back */
    const float *residual; /* [n_rows, dim] or NULL */
    float *out;            /* [n_rows, dim]; may be x only when residual is NULL */
};
void cm_op_norm(struct cm_backend *backend, const struct cm_norm_args *args);

/* x[r, :] += y[r, :] */
void cm_op_add(struct cm_backend *backend, float *x, const float *y, uint32_t n_rows, uint32_t dim);

/* --- Ops: matmul --- */

/* y[n_rows, n_out] = x[n_rows, n_in] * W^T + bias */
void cm_op_matmul(struct cm_backend *backend, struct cm_matrix *matrix, const float *x,
                  uint32_t n_rows, float *y);

/* --- Ops: activation --- */

enum cm_activation_kind { CM_ACTIVATION_SILU, CM_ACTIVATION_GELU_TANH, CM_ACTIVATION_GELU_ERF };

/* Gated: x [n_rows, 2 * dim] holds gate then up; out[r, i] = f(x[r, i]) * x[r, dim + i]. */
void cm_op_gated(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                 uint32_t n_rows, uint32_t dim, float *out /* [n_rows, dim] */);

/* out[r, i] = f(x[r, i]); out may be x. */
void cm_op_activation(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                      uint32_t n_rows, uint32_t dim, float *out);

/* --- Ops: what makes the rows of a matmul, and the matmul --- */

/* cm_op_norm, then cm_op_matmul of its `out`, which is left with anything in it. */
void cm_op_norm_matmul(struct cm_backend *backend, const struct cm_norm_args *norm,
                       struct cm_matrix *matrix, float *y);

/* cm_op_gated from `x` to `hidden`, then cm_op_matmul of `hidden`, which is left with anything in
 * it. */
void cm_op_gated_matmul(struct cm_backend *backend, enum cm_activation_kind kind, const float *x,
                        uint32_t n_rows, float *hidden /* [n_rows, n_in] */,
                        struct cm_matrix *matrix, float *y);

struct cm_feed_forward_args {
    const struct cm_norm_args *norm;
    struct cm_matrix *gate_up; /* [2 * n_ff, dim] */
    enum cm_activation_kind kind;
    struct cm_matrix *down; /* [dim, n_ff] */
    float *products;        /* [n_rows, 2 * n_ff], left with anything in it */
    float *hidden;          /* [n_rows, n_ff], the same */
    float *y;               /* [n_rows, dim] */
};

/* cm_op_norm_matmul to `products`, then cm_op_gated_matmul of them. */
void cm_op_feed_forward(struct cm_backend *backend, const struct cm_feed_forward_args *args);

/* --- The paged KV cache --- */

/* A page holds the keys and values of CM_PAGE_TOKENS consecutive absolute positions for all layers:
 * page p covers [block * CM_PAGE_TOKENS, ...) of whoever lists it as its block-th page. */
enum { CM_PAGE_TOKENS = 16 };

struct cm_kv_pool;

struct cm_kv_shape {
    uint32_t n_layers;
    uint32_t n_kv_heads;
    uint32_t head_dim;
};

/* Element type follows the precision: float32 for exact, e4m3 with a scale for each position and
 * head for fp8, else float16. Pages start undefined. */
size_t cm_kv_page_bytes(const struct cm_backend *backend, const struct cm_kv_shape *shape);
enum cm_status cm_kv_pool_create(struct cm_backend *backend, const struct cm_kv_shape *shape,
                                 uint32_t pages_count, struct cm_kv_pool **pool,
                                 struct cm_error *error) CM_MUST_CHECK;
void cm_kv_pool_close(struct cm_kv_pool *pool);

/* Nobody may read any more what these pages hold. Builds for tests (COPYMILL_POISON_PAGES) fill
 * them with NaN, in the order of the ops, so that a read shows (with -240 as e4m3, which the cache
 * keeps without NaN); others do nothing. `pages` is host memory, which may change after the call.
 */
void cm_kv_discard(struct cm_backend *backend, struct cm_kv_pool *pool, const int32_t *pages,
                   uint32_t pages_count);

/* Copies the first `tokens` positions of a page, all layers: what a fork inside a page needs. */
void cm_kv_copy_tokens(struct cm_backend *backend, struct cm_kv_pool *pool, uint32_t from_page,
                       uint32_t to_page, uint32_t tokens);

/* --- Ops: rope and KV append --- */

enum cm_rope_kind {
    CM_ROPE_NONE,
    CM_ROPE_PAIRS,  /* neighbours (2i, 2i+1) rotate together: GGUF's llama */
    CM_ROPE_HALVES, /* (i, i + head_dim/2): Hugging Face, GGUF's qwen2 and others */
};

struct cm_rope_append_args {
    struct cm_kv_pool *pool;
    uint32_t layer;
    uint32_t n_rows;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    enum cm_rope_kind rope;
    const float *inverse_frequencies; /* [head_dim / 2] radians per position; NULL without rope */
    float *qkv; /* [n_rows, (n_heads + 2 * n_kv_heads) * head_dim]; q is rotated in place */
    const float *q_norm; /* [head_dim] RMS norm on every q head before the rope (Qwen3), or NULL */
    const float *k_norm; /* [head_dim], or NULL */
    enum cm_norm_kind qk_norm_kind;
    float qk_norm_epsilon;
    const int32_t *positions; /* [n_rows] absolute */
    const int32_t *pages;     /* [n_rows] page that receives the row's key and value, in slot
                                 position % CM_PAGE_TOKENS; no two rows share page and slot */
};
void cm_op_rope_append(struct cm_backend *backend, const struct cm_rope_append_args *args);

/* --- Ops: attention --- */

/* One visit of one page by rows [row_begin, row_end), all of which have it on their path. Row r
 * sees the page's positions first_position + t with t < CM_PAGE_TOKENS, position <= positions[r]
 * and, with a window, position > positions[r] - window. */
struct cm_visit {
    int32_t page;
    int32_t first_position; /* a multiple of CM_PAGE_TOKENS */
    int32_t row_begin;
    int32_t row_end;
};

/* Rows are cut into chunks; a chunk's visits stand together, and for each row they come in rising
 * position. A chunk is handled by one thread (block) per KV head, so it visits a shared page once.
 */
struct cm_attention_chunk {
    int32_t row_begin; /* rows [row_begin, row_end) of the step */
    int32_t row_end;
    int32_t visit_begin; /* visits [visit_begin, visit_end); their rows lie inside the chunk */
    int32_t visit_end;
};

enum { CM_ATTENTION_CHUNK_ROWS = 32 };

struct cm_attention_args {
    const struct cm_kv_pool *pool;
    uint32_t layer;
    uint32_t n_rows;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t window;                         /* 0: none */
    float scale;                             /* on q·k */
    const float *qkv;                        /* as left by cm_op_rope_append; only q is read */
    const int32_t *positions;                /* [n_rows] */
    const struct cm_visit *visits;           /* [n_visits] */
    const struct cm_attention_chunk *chunks; /* [n_chunks], covering all rows once */
    uint32_t n_chunks;
    uint32_t positions_end;  /* all positions are below; 0: not told. A hint for how long rows may
                                be, which never changes a result */
    uint32_t rows_per_visit; /* on average; 0: not told. Such a hint too, for how much is shared */
    float *out;              /* [n_rows, n_heads * head_dim] */
};

/* softmax(scale * q k^T) v by pages in position order with a running maximum and sum (online
 * softmax, Milakov and Gimelshein 2018), on CUDA in parts that are cut at fixed positions: the same
 * sequence of operations for a row in whatever company, so the cut of the tree, the chunk and the
 * batch cannot change a bit. */
void cm_op_attention(struct cm_backend *backend, const struct cm_attention_args *args);

/* --- Ops: sample --- */

enum { CM_SAMPLE_BANS_MAX = 3 };

/* Elements [begin, end) of an array of token ids; rows may share one. */
struct cm_id_range {
    uint32_t begin;
    uint32_t end;
};

/* What one row wants of the distribution, in Hugging Face's order: repetition penalty, masks,
 * temperature, top-k, top-p, min-p. temperature 0 means greedy (the lowest id wins a tie). A masked
 * token counts as minus infinity; at least one must be left. */
struct cm_sample_row {
    float temperature;
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; on every token of the history */
    uint32_t top_k;           /* 0: off */
    float uniform;            /* in [0, 1): the row's random number for this position */
    uint32_t history_begin;   /* history[history_begin, history_end): prompt and output so far */
    uint32_t history_end;
    struct cm_id_range
        allowed; /* in mask_ids: with `only_allowed`, all others are masked; rising */
    struct cm_id_range banned[CM_SAMPLE_BANS_MAX]; /* in mask_ids: these are masked; in any order */
    bool only_allowed;
    bool want_logprob;
};

struct cm_sample_args {
    const float *logits; /* [n_rows, n_vocab]; may be overwritten */
    uint32_t n_rows;
    uint32_t n_vocab;
    const struct cm_sample_row *rows; /* [n_rows] */
    const int32_t *history;           /* concatenated token ids */
    const int32_t *mask_ids;          /* concatenated token ids; NULL where no row has a mask */
    int32_t *tokens;                  /* out [n_rows] */
    float *logprobs; /* out [n_rows]: natural log of the unmodified softmax at the token, or NaN */
};
void cm_op_sample(struct cm_backend *backend, const struct cm_sample_args *args);

/* The whole distribution after all controls, [n_vocab] per row, for tests and explanations. */
void cm_op_sample_probabilities(struct cm_backend *backend, const struct cm_sample_args *args,
                                float *probabilities /* [n_rows, n_vocab] */);

/* --- Ops: beam search --- */

enum { CM_BEAM_CANDIDATES_MAX = 128 };

struct cm_beam_args {
    float *logits; /* [n_rows, n_vocab]; overwritten */
    uint32_t n_rows;
    uint32_t n_vocab;
    uint32_t n_candidates;            /* of each row; at most CM_BEAM_CANDIDATES_MAX */
    const struct cm_sample_row *rows; /* [n_rows]; `uniform` and `want_logprob` are not read */
    const int32_t *history;           /* as in cm_sample_args */
    const int32_t *mask_ids;
    const float *uniforms; /* [n_rows, n_candidates] in [0, 1): read where there is a temperature */
    int32_t *tokens;       /* out [n_rows, n_candidates]; -1 behind the last possible one */
    float *scores;         /* out [n_rows, n_candidates]: log-probability under all controls */
    float *logprobs;       /* out [n_rows, n_candidates]: of the unmodified distribution */
    float *log_masses;     /* out [n_rows]: log of the sum of exp(score) over all tokens that top-k,
                              top-p     and min-p leave; NaN without a temperature */
};

/* How each row may go on: the best tokens, or with a temperature some drawn without replacement.
 * The controls work on log-probabilities and nothing is renormalised, as in Hugging Face's beam
 * search. */
void cm_op_beam(struct cm_backend *backend, const struct cm_beam_args *args);

/* --- Limits of the machine --- */

/* Measured now, in this process, with this back end's threads (about a second). Zero: not
 * available, or of no use to this back end. Bandwidth, which takes a buffer of 256 MiB or more
 * meanwhile, only where it is asked for. */
struct cm_machine_limits {
    double int8_gops; /* multiply and add count as two */
    double bf16_gflops;
    double fp32_gflops;
    double fp8_gflops;
    double bandwidth_gbs; /* reading memory far larger than the caches; on CUDA copying it, what is
                             read and what is written */
    char device_name[64]; /* on CUDA this and the next */
    uint32_t sm_count;
};
void cm_backend_measure_limits(struct cm_backend *backend, bool bandwidth,
                               struct cm_machine_limits *limits);

#endif
