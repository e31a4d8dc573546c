/* host/engine.h and host/tokenizer.h without a model, for tests of what surrounds the engine: bytes
 * are tokens, and a text is a fixed function of the request, so that runs can be compared byte by
 * byte. Some rows need a second attempt, and some stay empty. The environment makes it slow or
 * makes it fail:
 *
 *     FAKE_STEP_US=n     every step takes so long
 *     FAKE_FAIL_STEP=n   the nth step is an error of the device
 *     FAKE_MODEL=text    stands for the model's content */
#include "host/engine.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW_MAX = 24, BATCH = 8, CONTEXT_TOKENS = 4096, TEXT_BYTES = 512, STEP_TOKENS = 40 };

enum slot_state { FREE, RUNNING, DONE, TAKEN };

struct slot {
    enum slot_state state;
    struct cm_request request; /* the prompt is not kept */
    uint64_t prompt_hash;
    int32_t output[TEXT_BYTES];
    uint32_t output_tokens;
    uint32_t shown_tokens;
    uint64_t order; /* of submission */
};

struct cm_engine {
    struct slot slots[WINDOW_MAX];
    uint64_t submitted_count;
    struct cm_engine_counters counters;
};

const struct cm_sampling CM_SAMPLING_GREEDY = { .top_p = 1, .repetition_penalty = 1 };

static uint64_t environment_number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

/* FNV-1a */
static uint64_t mix(uint64_t hash, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static void write_text(struct slot *slot)
{
    static const char *const openings[] = { "A pleasant thing", "Made with care",
                                            "Light and sturdy", "For quiet mornings",
                                            "Ready when you are" };
    static const char *const endings[] = { "for every day.", "that lasts for years.",
                                           "and easy to look after.", "to give and to keep." };
    uint64_t hash = mix(slot->prompt_hash, slot->request.seed, sizeof slot->request.seed);
    char text[TEXT_BYTES];
    bool is_silent = hash % 31 == 0;
    bool is_shy = hash % 5 == 0 && slot->request.attempt == 1;
    hash = mix(hash, &slot->request.attempt, sizeof slot->request.attempt);
    snprintf(text, sizeof text, "%s %s It is made for people who like things that work well.",
             openings[hash % 5], endings[hash / 5 % 4]);
    const char *shown = is_silent ? " \n" : is_shy ? "<b>no</b> 777" : text;
    size_t length = strlen(shown);
    if (length > slot->request.output_tokens_max) {
        length = slot->request.output_tokens_max;
    }
    for (size_t i = 0; i < length; i++) {
        slot->output[i] = (unsigned char)shown[i];
    }
    slot->output_tokens = (uint32_t)length;
    slot->shown_tokens = 0;
    slot->state = RUNNING;
}

enum cm_status cm_engine_open(const struct cm_engine_options *options, struct cm_engine **engine,
                              struct cm_error *error)
{
    (void)options;
    *engine = cm_alloc(1, sizeof **engine);
    return *engine != NULL ? CM_OK : cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
}

void cm_engine_close(struct cm_engine *engine)
{
    cm_free(engine);
}

void cm_engine_info(const struct cm_engine *engine, struct cm_engine_info *info)
{
    (void)engine;
    *info = (struct cm_engine_info){
        .name = "fake",
        .family = "fake",
        .variant = "fake",
        .n_vocab = 256,
        .threads = 1,
        .batch = BATCH,
        .context_tokens = CONTEXT_TOKENS,
    };
}

const struct cm_tokenizer *cm_engine_tokenizer(const struct cm_engine *engine)
{
    return (const struct cm_tokenizer *)engine; /* never looked into */
}

enum cm_status cm_engine_model_digest(const struct cm_engine *engine, char hex[65],
                                      struct cm_error *error)
{
    (void)engine;
    (void)error;
    const char *model = getenv("FAKE_MODEL");
    snprintf(hex, 65, "%s", model != NULL ? model : "fake");
    return CM_OK;
}

const char *cm_finish_reason_name(enum cm_finish_reason reason)
{
    return reason == CM_FINISH_STOP ? "stop" : "length";
}

enum cm_status cm_engine_submit(struct cm_engine *engine, const struct cm_request *request,
                                struct cm_error *error)
{
    if (request->prompt_tokens + request->output_tokens_max > CONTEXT_TOKENS) {
        return cm_error_set(error, CM_LIMIT, "%u tokens too many",
                            request->prompt_tokens + request->output_tokens_max - CONTEXT_TOKENS);
    }
    for (size_t i = 0; i < WINDOW_MAX; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->state == FREE) {
            slot->request = *request;
            slot->order = engine->submitted_count++;
            slot->prompt_hash =
                mix(UINT64_C(14695981039346656037), request->prompt, request->prompt_tokens * 4);
            engine->counters.prompt_tokens += request->prompt_tokens;
            write_text(slot);
            return CM_OK;
        }
    }
    return CM_FULL;
}

/* The BATCH oldest of those under way. */
static struct slot *oldest_after(struct cm_engine *engine, uint64_t order)
{
    struct slot *oldest = NULL;
    for (size_t i = 0; i < WINDOW_MAX; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->state == RUNNING && slot->order >= order &&
            (oldest == NULL || slot->order < oldest->order)) {
            oldest = slot;
        }
    }
    return oldest;
}

enum cm_status cm_engine_step(struct cm_engine *engine, struct cm_error *error)
{
    uint64_t fail_step = environment_number("FAKE_FAIL_STEP");
    struct slot *slot = oldest_after(engine, 0);
    if (slot == NULL) {
        return CM_END;
    }
    usleep((useconds_t)environment_number("FAKE_STEP_US"));
    engine->counters.steps++;
    if (engine->counters.steps == fail_step) {
        return cm_error_set(error, CM_IO, "the device has fallen off the bus");
    }
    for (int row = 0; slot != NULL && row < BATCH; row++) {
        uint64_t order = slot->order;
        slot->shown_tokens += STEP_TOKENS;
        engine->counters.output_tokens += STEP_TOKENS;
        if (slot->shown_tokens >= slot->output_tokens) {
            slot->state = DONE;
        }
        slot = oldest_after(engine, order + 1);
    }
    return CM_OK;
}

enum cm_status cm_engine_finished(struct cm_engine *engine, struct cm_result *result)
{
    for (size_t i = 0; i < WINDOW_MAX; i++) {
        struct slot *slot = &engine->slots[i];
        if (slot->state == DONE) {
            slot->state = TAKEN;
            *result = (struct cm_result){
                .id = slot->request.id,
                .output = slot->output,
                .output_tokens = slot->output_tokens,
                .prompt_tokens = slot->request.prompt_tokens,
                .finish_reason = slot->output_tokens == slot->request.output_tokens_max
                                     ? CM_FINISH_LENGTH
                                     : CM_FINISH_STOP,
            };
            return CM_OK;
        }
    }
    return CM_END;
}

static struct slot *find_taken(struct cm_engine *engine, uint64_t id)
{
    for (size_t i = 0; i < WINDOW_MAX; i++) {
        if (engine->slots[i].state == TAKEN && engine->slots[i].request.id == id) {
            return &engine->slots[i];
        }
    }
    CM_ASSERT(!"a request that was finished");
    return NULL;
}

enum cm_status cm_engine_beam(struct cm_engine *engine, uint64_t id, uint32_t index,
                              struct cm_beam *beam)
{
    (void)engine, (void)id, (void)index, (void)beam;
    return CM_END; /* no request here has beams */
}

void cm_engine_release(struct cm_engine *engine, uint64_t id)
{
    struct slot *slot = find_taken(engine, id);
    memset(slot, 0, sizeof *slot); /* whoever reads the output after this sees nothing */
}

enum cm_status cm_engine_retry(struct cm_engine *engine, uint64_t id, const struct cm_retry *retry,
                               struct cm_error *error)
{
    (void)error;
    struct slot *slot = find_taken(engine, id);
    slot->request.attempt = retry->attempt;
    write_text(slot);
    return CM_OK;
}

void cm_engine_counters(const struct cm_engine *engine, struct cm_engine_counters *counters)
{
    *counters = engine->counters;
}

void cm_engine_measure_limits(struct cm_engine *engine, bool bandwidth,
                              struct cm_engine_limits *limits)
{
    (void)engine;
    (void)bandwidth;
    *limits = (struct cm_engine_limits){ 0 };
}

enum cm_status cm_engine_logits(struct cm_engine *engine, const int32_t *tokens,
                                uint32_t tokens_count, uint32_t chunk_tokens,
                                uint32_t shared_tokens, float *logits, struct cm_error *error)
{
    (void)engine;
    (void)tokens;
    (void)tokens_count;
    (void)chunk_tokens;
    (void)shared_tokens;
    (void)logits;
    return cm_error_set(error, CM_UNSUPPORTED, "the fake engine has no logits");
}

/* --- The tokenizer: one token per byte --- */

void cm_token_list_deinit(struct cm_token_list *list)
{
    cm_free(list->ids);
    *list = (struct cm_token_list){ 0 };
}

enum cm_status cm_token_list_append(struct cm_token_list *list, int32_t id)
{
    enum cm_status status =
        cm_grow((void **)&list->ids, &list->capacity, list->count + 1, sizeof *list->ids);
    if (status == CM_OK) {
        list->ids[list->count++] = id;
    }
    return status;
}

enum cm_status cm_tokenizer_encode(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                   struct cm_token_list *list, struct cm_error *error)
{
    (void)tokenizer;
    for (size_t i = 0; i < text.length; i++) {
        if (cm_token_list_append(list, (unsigned char)text.data[i]) != CM_OK) {
            return cm_error_set(error, CM_OUT_OF_MEMORY, "out of memory");
        }
    }
    return CM_OK;
}

enum cm_status cm_tokenizer_encode_prompt(const struct cm_tokenizer *tokenizer, struct cm_span text,
                                          struct cm_token_list *list, struct cm_error *error)
{
    return cm_tokenizer_encode(tokenizer, text, list, error);
}

enum cm_status cm_tokenizer_encode_chat(const struct cm_tokenizer *tokenizer,
                                        const struct cm_chat_message *messages,
                                        size_t messages_count, struct cm_token_list *list,
                                        struct cm_error *error)
{
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < messages_count; i++) {
        status = cm_tokenizer_encode(tokenizer, messages[i].content, list, error);
    }
    return status;
}

enum cm_status cm_tokenizer_decode(const struct cm_tokenizer *tokenizer, const int32_t *ids,
                                   size_t count, struct cm_text *text)
{
    (void)tokenizer;
    enum cm_status status = CM_OK;
    for (size_t i = 0; status == CM_OK && i < count; i++) {
        status = cm_text_append_char(text, (char)ids[i]);
    }
    return status;
}

enum cm_status cm_tokenizer_open(const struct cm_tokenizer_data *data,
                                 struct cm_tokenizer **tokenizer, struct cm_error *error)
{
    (void)data;
    (void)tokenizer;
    return cm_error_set(error, CM_UNSUPPORTED, "the fake engine has no vocabulary");
}

void cm_tokenizer_close(struct cm_tokenizer *tokenizer)
{
    (void)tokenizer;
}

uint32_t cm_tokenizer_size(const struct cm_tokenizer *tokenizer)
{
    (void)tokenizer;
    return 256;
}

bool cm_tokenizer_is_stop(const struct cm_tokenizer *tokenizer, int32_t token)
{
    (void)tokenizer;
    return token == 0;
}

int32_t cm_tokenizer_find(const struct cm_tokenizer *tokenizer, const char *name)
{
    (void)tokenizer;
    (void)name;
    return -1;
}

struct cm_span cm_tokenizer_token_bytes(const struct cm_tokenizer *tokenizer, int32_t token)
{
    (void)tokenizer;
    (void)token;
    return (struct cm_span){ "", 0 };
}

enum cm_chat_format cm_tokenizer_chat_format(const struct cm_tokenizer *tokenizer)
{
    (void)tokenizer;
    return CM_CHAT_CHATML;
}
