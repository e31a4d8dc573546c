/* The list is also run over its own text, as over one that a model writes. */
#include "fuzz.h"

#include "jobs/ban_list.h"

static void run_automaton(const struct cm_ban_list *list, const uint8_t *data, size_t size)
{
    struct cm_automaton automaton = cm_ban_list_automaton(list);
    uint32_t state = automaton.start;
    for (size_t i = 0; i < size; i++) {
        uint32_t next = automaton.next(automaton.context, state, data[i]);
        (void)automaton.may_end(automaton.context, state);
        state = next == CM_AUTOMATON_DEAD ? automaton.start : next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cm_ban_list *list = NULL;
    struct cm_error error = { 0 };
    if (cm_ban_list_parse(fuzz_span(data, size), "fuzz", &list, &error) == CM_OK) {
        CM_ASSERT(cm_ban_list_count(list) <= CM_BAN_WORDS_MAX);
        run_automaton(list, data, size);
    } else {
        CM_ASSERT(error.message[0] != '\0');
    }
    cm_ban_list_close(list);
    return 0;
}
