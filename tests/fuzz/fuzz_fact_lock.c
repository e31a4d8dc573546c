/* The fact lock against the reader of numbers that judges a finished text. An input is facts, a NUL
 * byte and a text: what the lock lets through, the judge has no objection to. */
#include "fuzz.h"

#include "jobs/fact_lock.h"
#include "jobs/numbers.h"

#include <string.h>

static bool is_let_through(const struct cm_automaton *lock, struct cm_span text)
{
    uint32_t state = lock->start;
    for (size_t i = 0; i < text.length && state != CM_AUTOMATON_DEAD; i++) {
        (void)lock->attention(lock->context, state);
        state = lock->next(lock->context, state, (uint8_t)text.data[i]);
    }
    return state != CM_AUTOMATON_DEAD && lock->may_end(lock->context, state);
}

static void check(const char *facts, struct cm_span text, bool with_words)
{
    struct cm_automaton lock;
    struct cm_numbers numbers = { 0 };
    struct cm_span missing;
    size_t at = 0;
    enum cm_status status = cm_fact_lock_compile(&facts, 1, with_words, &lock);
    CM_ASSERT(status == CM_OK);
    status = cm_numbers_add(&numbers, cm_span_of(facts));
    CM_ASSERT(status == CM_OK);
    if (is_let_through(&lock, text)) {
        CM_ASSERT(!cm_numbers_next_missing(&numbers, text, &at, &missing));
    }
    cm_numbers_deinit(&numbers);
    cm_fact_lock_free((void *)(uintptr_t)lock.context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char facts[256];
    size_t length = 0;
    while (length < size && length + 1 < sizeof facts && data[length] != '\0') {
        facts[length] = (char)data[length];
        length++;
    }
    facts[length] = '\0';
    size_t taken = length < size ? length + 1 : length;
    check(facts, fuzz_span(data + taken, size - taken), false);
    check(facts, fuzz_span(data + taken, size - taken), true);
    return 0;
}
