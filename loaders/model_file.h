/* A model on disk, whatever its container: a GGUF file, or a Hugging Face folder (config.json,
 * *.safetensors, tokenizer.json). Opening checks everything that `reliability` asks of an untrusted
 * file; afterwards the tensors, the configuration and the tokenizer data are plain, valid data.
 *
 * All pointers handed out live until cm_model_file_close. Read-only, so any thread may use it.
 */
#ifndef CM_LOADERS_MODEL_FILE_H
#define CM_LOADERS_MODEL_FILE_H

#include "base/dtype.h"
#include "base/status.h"
#include "base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cm_model_family {
    CM_FAMILY_GPT2,
    CM_FAMILY_LLAMA,
    CM_FAMILY_MISTRAL,
    CM_FAMILY_QWEN2,
    CM_FAMILY_QWEN3,
    CM_FAMILY_GEMMA3,
    CM_FAMILY_BERT, /* an encoder: host/encoder.h; all others are decoders */
    CM_FAMILY_COUNT
};

/* How the container names its tensors and orders the rows of Q and K: GGUF's `llama` family stores
 * them permuted for a rotary embedding of neighbouring pairs, Hugging Face for one of halves. */
enum cm_model_container { CM_CONTAINER_GGUF, CM_CONTAINER_SAFETENSORS };

enum cm_rope_scaling { CM_ROPE_SCALING_NONE, CM_ROPE_SCALING_LINEAR, CM_ROPE_SCALING_LLAMA3 };

/* Hyper-parameters in the words of config.json; checked to be positive, consistent and below sane
 * maxima (n_heads % n_kv_heads == 0, head_dim even where there is a rope, ...). */
struct cm_model_config {
    enum cm_model_family family;
    enum cm_model_container container;
    char name[128]; /* general.name, or the folder's name */
    uint32_t n_vocab;
    uint32_t n_layers;
    uint32_t n_embd;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ff;
    uint32_t n_positions; /* context length the model was trained for */
    float norm_epsilon;
    float rope_theta;
    float rope_theta_local; /* gemma3: for window layers; else equal to rope_theta */
    enum cm_rope_scaling rope_scaling;
    float rope_factor; /* linear and llama3 */
    float rope_low_freq_factor;
    float rope_high_freq_factor;
    uint32_t rope_original_positions;
    uint32_t sliding_window; /* tokens a window layer sees, itself included; 0: none */
    uint32_t
        sliding_window_pattern; /* every n-th layer is global (gemma3); 0: all have the window */
    float attention_scale;      /* factor on q·k, normally 1/sqrt(head_dim) */
    bool tied_embeddings;       /* the head is the embedding table */
    uint32_t n_token_types;     /* BERT */
};

enum cm_tokenizer_model {
    CM_TOKENIZER_BYTE_BPE,
    CM_TOKENIZER_SENTENCEPIECE, /* pairs are joined, by score or in the order of a list */
    CM_TOKENIZER_UNIGRAM,       /* SentencePiece too: the pieces with the best sum of scores */
    CM_TOKENIZER_WORDPIECE
};

/* Where a space is put that the text lacks, so that its first word is spelled as in the middle of a
 * sentence. A part is what stands between user-defined tokens. */
enum cm_space_prefix {
    CM_SPACE_PREFIX_NONE,
    CM_SPACE_PREFIX_TEXT,          /* before the text: SentencePiece itself */
    CM_SPACE_PREFIX_PARTS,         /* before each part: Hugging Face's Prepend */
    CM_SPACE_PREFIX_TEXT_MISSING,  /* before the text, unless it begins with one: Metaspace */
    CM_SPACE_PREFIX_PARTS_MISSING, /* the same for each part */
};

/* Which regular expression cuts the text before BPE. */
enum cm_pre_tokenizer {
    CM_PRE_GPT2,   /* GPT-2's pattern: also Hugging Face's ByteLevel with use_regex */
    CM_PRE_LLAMA3, /* "llama-bpe" */
    CM_PRE_QWEN2,  /* "qwen2" */
    CM_PRE_SMOLLM, /* "smollm": digits one by one, then GPT-2's pattern */
    CM_PRE_NONE,
};

enum cm_token_kind {
    CM_TOKEN_NORMAL,
    CM_TOKEN_CONTROL, /* <|im_start|>, </s>: never produced from text, never shown */
    CM_TOKEN_USER_DEFINED,
    CM_TOKEN_BYTE, /* SentencePiece byte fall-back <0x41> */
    CM_TOKEN_UNKNOWN,
    CM_TOKEN_UNUSED,
};

enum { CM_STOP_TOKENS_MAX = 8, CM_WORDPIECE_PREFIX_BYTES = 16, CM_WORDPIECE_WORD_MAX = 1000 };

/* What is done to a text before it is cut into words, as in Hugging Face's BertNormalizer. */
struct cm_wordpiece_rules {
    bool clean_text;       /* control characters go */
    bool split_ideographs; /* each is a word */
    bool strip_accents;
    bool lowercase;
    uint32_t word_characters_max;           /* a longer word is unknown */
    char prefix[CM_WORDPIECE_PREFIX_BYTES]; /* of a piece that does not begin a word: "##" */
};

struct cm_tokenizer_data {
    enum cm_tokenizer_model model;
    enum cm_pre_tokenizer pre_tokenizer;
    uint32_t n_tokens;
    const struct cm_span *tokens; /* [n_tokens] as in the file: byte-level tokens still in GPT-2's
                                     printable alphabet */
    const uint8_t *kinds;         /* [n_tokens] enum cm_token_kind */
    const float *scores;          /* [n_tokens] unigram, SentencePiece without merges; else NULL */
    uint32_t n_merges;
    const struct cm_span *merges_left;  /* [n_merges] */
    const struct cm_span *merges_right; /* [n_merges], best first */
    int32_t bos;                        /* -1: none */
    int32_t unknown;
    bool add_bos;
    enum cm_space_prefix space_prefix;
    bool normalize_nfc;   /* the text is brought into Unicode's composed form first */
    bool split_at_spaces; /* SentencePiece and unigram: no token reaches past a space */
    bool ignore_merges;   /* byte level: a word that is a token is taken as it is */
    uint32_t n_stop;      /* tokens that end a text: EOS, end of turn, ... */
    int32_t stop[CM_STOP_TOKENS_MAX];
    int32_t closing; /* stands behind a whole text (BERT's [SEP]); -1: none */
    struct cm_wordpiece_rules wordpiece;
    struct cm_span chat_template; /* Jinja source as in the file; empty: none. Never executed. */
};

struct cm_model_file;

/* `path` is a .gguf file or a folder. CM_NOT_FOUND, CM_INVALID_DATA, CM_UNSUPPORTED, CM_IO,
 * CM_OUT_OF_MEMORY; the message names the file, the field and what would be right. */
enum cm_status cm_model_file_open(const char *path, struct cm_model_file **file,
                                  struct cm_error *error) CM_MUST_CHECK;

/* The same for who wants sizes alone: a folder need hold config.json and nothing else. Without its
 * weights there are no tensors, and the tokenizer is not read. */
enum cm_status cm_model_file_open_sizes(const char *path, struct cm_model_file **file,
                                        struct cm_error *error) CM_MUST_CHECK;
void cm_model_file_close(struct cm_model_file *file);

const struct cm_model_config *cm_model_file_config(const struct cm_model_file *file);
const struct cm_tokenizer_data *cm_model_file_tokenizer(const struct cm_model_file *file);

size_t cm_model_file_tensors_count(const struct cm_model_file *file);
const struct cm_tensor *cm_model_file_tensor(const struct cm_model_file *file, size_t index);

/* NULL where the file holds no tensor of that name. */
const struct cm_tensor *cm_model_file_find(const struct cm_model_file *file, const char *name);

/* Takes the weights' pages out of this process's memory; they are read again where they are needed
 * again. For a caller that has made its own form of them. */
void cm_model_file_forget(const struct cm_model_file *file);

/* SHA-256 over everything that decides the model's output (the weights file or files and the
 * configuration); lower-case hex. Reads the whole file: seconds for gigabytes. */
enum cm_status cm_model_file_digest(const struct cm_model_file *file, char hex[65],
                                    struct cm_error *error) CM_MUST_CHECK;

#endif
