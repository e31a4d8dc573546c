/* The engine's only door: give it prompts, step it, take the texts.
 *
 *     cm_engine_open(&options, &engine, &error);
 *     while (work is left) {
 *         while (cm_engine_submit(engine, &request, &error) == CM_OK) { ...next request... }
 *         cm_engine_step(engine, &error);
 *         while (cm_engine_finished(engine, &result) == CM_OK) {
 *             either cm_engine_release(engine, result.id) or cm_engine_retry(engine, result.id,
 * ...);
 *         }
 *     }
 *
 * Prompts that begin with the same tokens share their KV pages and are computed once, found from
 * the tokens themselves, as long as they are in the window together (submitted and not yet
 * released). Submit in an order that keeps relatives together: all segments of an item, then the
 * next item.
 *
 * A request's text depends on its own fields alone: not on its neighbours, the batch, the threads
 * or the order of submission. One thread uses an engine.
 */
#ifndef CM_HOST_ENGINE_H
#define CM_HOST_ENGINE_H

#include "base/status.h"
#include "host/constraint.h"
#include "host/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_engine;

enum cm_engine_precision {
    CM_ENGINE_AUTO, /* keeps what the file holds: int8 or bf16 on the CPU, bf16 on CUDA */
    CM_ENGINE_EXACT,
    CM_ENGINE_BF16,
    CM_ENGINE_INT8,
    CM_ENGINE_FP16, /* this and what follows on CUDA devices only */
    CM_ENGINE_INT4,
    CM_ENGINE_FP8,
};

/* What keys and values are kept as. */
enum cm_engine_kv {
    CM_ENGINE_KV_AUTO, /* as the precision has it */
    CM_ENGINE_KV_INT8, /* of 8 bits, a step for 16 channels of a token; CPU only, not with EXACT */
};

struct cm_engine_options {
    const char *model_path; /* GGUF file or Hugging Face folder */
    enum cm_engine_precision precision;
    enum cm_engine_kv kv;
    const char *device;    /* "auto", "cpu", "cuda" or "cuda:0,1"; NULL: auto */
    uint32_t tp;           /* devices that compute one copy of the model together; 0 and 1: each has
                              its own */
    uint32_t replicas;     /* of the CPU: so many that share its threads, each with a batch of its
                              own; 0: chosen by the engine (cpu_groups.h) */
    uint32_t threads;      /* 0: one per core */
    uint32_t batch;        /* most texts in flight, every beam counted, on the CPU of all replicas
                              together; 0: chosen by the engine */
    uint32_t texts_max;    /* there will be no more, every beam counted, so that room for more would
                              be wasted; 0: not known */
    uint64_t memory_bytes; /* most memory for KV pages; 0: what `batch` sequences of
                              `context_tokens` need */
    double device_timeout_s; /* a device that does not answer for so long has failed; 0: 120 */
    uint32_t
        context_tokens; /* longest prompt plus output of any request; 0: the model's own maximum */

    /* Of CUDA devices, for tests and for the case of a driver that is at odds with them. */
    uint32_t waves; /* steps that take turns: 1 or 2; 0: 2 */
    bool eager;     /* no CUDA graphs: every op is launched by itself */
};

/* Opens the model, packs its weights and reserves all memory. A CUDA device (with `tp`, a group of
 * them) that fails or has no memory left is put aside, with a warning, where there are others: see
 * cm_engine_counters.devices_lost. CM_NOT_FOUND, CM_INVALID_DATA,
 * CM_UNSUPPORTED, CM_OUT_OF_MEMORY, CM_INVALID_ARGUMENT. */
enum cm_status cm_engine_open(const struct cm_engine_options *options, struct cm_engine **engine,
                              struct cm_error *error) CM_MUST_CHECK;
void cm_engine_close(struct cm_engine *engine);

struct cm_engine_info {
    char name[128];   /* the model's own name */
    char family[32];  /* "llama" */
    char variant[64]; /* device, kernels and precision: "cpu-avx512vnni-int8" */
    uint32_t n_vocab;
    uint32_t n_layers;
    uint32_t n_positions;
    uint32_t devices; /* of all replicas, the CPU being one; the sizes below are of all together */
    uint32_t replicas;
    uint32_t threads;
    uint32_t batch;
    uint64_t parameters_count;
    uint64_t weights_bytes;  /* packed */
    uint64_t tables_bytes;   /* of embeddings; on the CPU in the file's own pages */
    uint64_t kv_bytes;       /* reserved for pages */
    uint64_t kv_token_bytes; /* per token of context */
    uint32_t kv_pages_count;
    uint32_t kv_page_tokens;
    uint32_t prefill_rows;          /* prompt tokens that a step takes beside a full batch */
    bool in_host_memory;            /* all of these, and a page of the KV cache once it is used */
    uint32_t context_tokens;        /* prompt + output of one request, at most */
    double multiply_adds_per_token; /* in the layers' matrices */
    double head_multiply_adds_per_token; /* in the head */
};
void cm_engine_info(const struct cm_engine *engine, struct cm_engine_info *info);
const struct cm_tokenizer *cm_engine_tokenizer(const struct cm_engine *engine);

/* SHA-256 of the model's files, hex. Reads them whole. */
enum cm_status cm_engine_model_digest(const struct cm_engine *engine, char hex[65],
                                      struct cm_error *error) CM_MUST_CHECK;

/* Prompt tokens that a step takes beside a full batch of decode rows: a CUDA device multiplies more
 * rows at little more than the cost of reading the weights. And on such a device so many texts are
 * two waves, whose steps take turns (scheduler.h). */
enum { CM_ENGINE_BATCH_MAX = 8192 };

enum { CM_PREFILL_ROWS = 256, CM_PREFILL_ROWS_CUDA = 1024, CM_WAVES_TEXTS_MIN = 16 };

enum { CM_BEAMS_MAX = 16 };

/* Decoding in Hugging Face's words. */
struct cm_sampling {
    float temperature;        /* 0: greedy */
    uint32_t top_k;           /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; over prompt and output */
    uint32_t no_repeat_ngram; /* no n tokens twice in prompt and output; 0: off */
    uint32_t beams;           /* beam search over so many texts, at most CM_BEAMS_MAX; 0 and 1: off.
                                 With a temperature beam sampling */
    bool ignore_stop;         /* go on after end of text (benchmarks, goldens) */
};
extern const struct cm_sampling CM_SAMPLING_GREEDY;

struct cm_request {
    uint64_t id;           /* the caller's, unique among the requests in the window */
    uint64_t unit;         /* requests that share most of their prompt: they go to one device */
    const int32_t *prompt; /* copied */
    uint32_t prompt_tokens;
    uint32_t output_tokens_max;
    uint64_t seed[2]; /* key of the row's random numbers: job seed and row, hashed */
    uint32_t attempt; /* part of the counter, so that a retry draws other numbers */
    struct cm_sampling sampling;

    /* What the text may say; shared, so the caller may release its own references at once. NULL:
     * none. */
    struct cm_constraint *constraints[CM_CONSTRAINTS_MAX];

    /* The text ends where one of these has been written; the output still holds it. Borrowed until
     * the request is released. */
    const char *const *stop_strings;
    uint32_t stop_strings_count;

    /* In the last this many tokens before output_tokens_max the text ends with the first sentence
     * that does; 0: off. */
    uint32_t closing_tokens;
};

enum { CM_STOP_STRING_BYTES_MAX = 64, CM_STOP_STRINGS_MAX = 16 };

enum cm_finish_reason {
    CM_FINISH_STOP,
    CM_FINISH_LENGTH,
    CM_FINISH_LOST, /* no text: devices failed again and again while it was written */
};
const char *cm_finish_reason_name(enum cm_finish_reason reason); /* "stop", "length", "lost" */

/* CM_FULL: the window is full, step first. CM_LIMIT: it can never fit (the message says by how many
 * tokens). CM_INVALID_ARGUMENT: an empty prompt or a token outside the vocabulary. */
enum cm_status cm_engine_submit(struct cm_engine *engine, const struct cm_request *request,
                                struct cm_error *error) CM_MUST_CHECK;

/* One forward pass over as many rows as the token budget holds; with several devices, which step by
 * themselves, a short wait for results. CM_END: nothing left to compute. CM_DEVICE_FAILED: no
 * device is left; only cm_engine_close makes sense after it. */
enum cm_status cm_engine_step(struct cm_engine *engine, struct cm_error *error) CM_MUST_CHECK;

struct cm_result {
    uint64_t id;
    const int32_t *output; /* without the stop token; valid until release or retry */
    uint32_t output_tokens;
    uint32_t prompt_tokens;
    enum cm_finish_reason finish_reason;
    double mean_logprob; /* of the output under the unmodified distribution; 0 for an empty one */
};

/* Takes one finished request, in the order they ended; CM_END when there is none. */
enum cm_status cm_engine_finished(struct cm_engine *engine, struct cm_result *result) CM_MUST_CHECK;

/* The texts that a beam search kept, of a request that was taken: the best is the result's. */
struct cm_beam {
    const int32_t *output;
    uint32_t output_tokens;
    double score; /* sum of the log-probabilities under all controls, over the length in tokens */
};

/* CM_END: there are not so many. */
enum cm_status cm_engine_beam(struct cm_engine *engine, uint64_t id, uint32_t index,
                              struct cm_beam *beam) CM_MUST_CHECK;

/* The row is done with: its pages go back unless relatives need them. */
void cm_engine_release(struct cm_engine *engine, uint64_t id);

/* What is different the next time; constraints as in a request. */
struct cm_retry {
    uint32_t attempt;
    struct cm_sampling sampling;
    struct cm_constraint *constraints[CM_CONSTRAINTS_MAX];
};

/* Decodes a finished request again from its prompt, which is still in place. */
enum cm_status cm_engine_retry(struct cm_engine *engine, uint64_t id, const struct cm_retry *retry,
                               struct cm_error *error) CM_MUST_CHECK;

struct cm_engine_counters {
    uint64_t steps;
    uint64_t computed_tokens; /* rows through the first layer's matrix, counted in the op */
    uint64_t prefill_tokens;  /* of these, prompt tokens */
    uint64_t decode_tokens;   /* of these, tokens generated before */
    uint64_t shared_tokens;   /* prompt tokens found in the tree instead of computed */
    uint64_t copied_tokens;   /* of these, copied into a part-filled page of a fork */
    uint64_t prompt_tokens;   /* of all requests started */
    uint64_t output_tokens;   /* generated, stop tokens included */
    double prefill_s;         /* time of steps, split by multiply-adds; of several replicas, */
    double decode_s;          /* which compute at the same time, the mean */
    uint32_t active;          /* now in flight */
    uint32_t waiting;         /* submitted, not yet in flight */
    uint32_t pages_used;
    uint32_t pages_used_max;
    uint32_t devices_lost; /* put aside because they failed, or one that they compute with */
    uint32_t requeued;     /* requests that others took over from those devices */
};
void cm_engine_counters(const struct cm_engine *engine, struct cm_engine_counters *counters);

/* Limits of the machine, measured now (see kernels/backend.h). */
struct cm_engine_limits {
    double int8_gops;
    double bf16_gflops;
    double fp32_gflops;
    double fp8_gflops;
    double bandwidth_gbs;
    char device_name[64]; /* CUDA: of the first device, and its multiprocessors */
    uint32_t sm_count;
};
void cm_engine_measure_limits(struct cm_engine *engine, bool bandwidth,
                              struct cm_engine_limits *limits);

/* The logits of every position of `tokens`, computed by the same steps as everything else, in
 * chunks of `chunk_tokens` (1: token by token; 0: all at once). `shared_tokens` > 0 first runs that
 * many tokens as another sequence, so that the rest forks from it. For tests and `model check`. The
 * engine must be idle. `logits` is [tokens_count, n_vocab]. */
enum cm_status cm_engine_logits(struct cm_engine *engine, const int32_t *tokens,
                                uint32_t tokens_count, uint32_t chunk_tokens,
                                uint32_t shared_tokens, float *logits,
                                struct cm_error *error) CM_MUST_CHECK;

#endif
