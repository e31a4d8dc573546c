#include "host/mask_lists.h"

#include "base/memory.h"
#include "host/ngram.h"

#include <string.h>

enum {
    ROW_IDS_PLANNED = 2048, /* of each text: a fact lock outside a number forbids about so many */
    KNOWN_MAX = 64 * CM_CONSTRAINTS_MAX, /* lists that are looked through for one to share */
};

struct cm_mask_lists {
    struct cm_step_list ids;
    struct known_list {
        const struct cm_constraint *constraint;
        uint32_t state;
        bool only;
        struct cm_id_range ids;
    } known[KNOWN_MAX];
    uint32_t known_count;
};

enum cm_status cm_mask_lists_open(struct cm_backend *backend, uint32_t batch,
                                  struct cm_mask_lists **lists)
{
    struct cm_mask_lists *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    enum cm_status status =
        cm_step_list_init(&opened->ids, backend, (size_t)batch * ROW_IDS_PLANNED);
    if (status != CM_OK) {
        cm_free(opened);
        return status;
    }
    *lists = opened;
    return CM_OK;
}

void cm_mask_lists_close(struct cm_mask_lists *lists)
{
    if (lists != NULL) {
        cm_step_list_deinit(&lists->ids);
        cm_free(lists);
    }
}

void cm_mask_lists_clear(struct cm_mask_lists *lists)
{
    lists->ids.count = 0;
    lists->known_count = 0;
}

/* The list of the constraint's state. */
static enum cm_status find_list(struct cm_mask_lists *lists, struct cm_constraint *constraint,
                                uint32_t state, struct known_list *found)
{
    for (uint32_t i = 0; i < lists->known_count; i++) {
        *found = lists->known[i];
        if (found->constraint == constraint && found->state == state) {
            return CM_OK;
        }
    }
    struct cm_token_mask mask;
    enum cm_status status = cm_constraint_mask(constraint, state, &mask);
    if (status == CM_OK) {
        status = cm_step_list_reserve(&lists->ids, mask.count);
    }
    if (status != CM_OK) {
        return status;
    }
    uint32_t begin = (uint32_t)lists->ids.count;
    if (mask.count > 0) {
        memcpy(lists->ids.host + begin, mask.ids, mask.count * sizeof *mask.ids);
    }
    lists->ids.count += mask.count;
    *found = (struct known_list){ constraint, state, mask.only, { begin, begin + mask.count } };
    lists->known_count = lists->known_count < KNOWN_MAX ? lists->known_count : 0;
    lists->known[lists->known_count++] = *found;
    return CM_OK;
}

/* What both lists hold, as a list of its own. */
static enum cm_status intersect(struct cm_mask_lists *lists, struct cm_id_range a,
                                struct cm_id_range b, struct cm_id_range *both)
{
    enum cm_status status = cm_step_list_reserve(&lists->ids, a.end - a.begin);
    if (status != CM_OK) {
        return status;
    }
    int32_t *ids = lists->ids.host;
    both->begin = (uint32_t)lists->ids.count;
    for (uint32_t i = a.begin, j = b.begin; i < a.end && j < b.end;) {
        if (ids[i] == ids[j]) {
            ids[lists->ids.count++] = ids[i];
        }
        bool step_a = ids[i] <= ids[j];
        bool step_b = ids[j] <= ids[i];
        i += step_a;
        j += step_b;
    }
    both->end = (uint32_t)lists->ids.count;
    return CM_OK;
}

static enum cm_status add_constraints(struct cm_mask_lists *lists, const struct cm_request *request,
                                      const struct cm_branch *branch, struct cm_sample_row *row)
{
    enum cm_status status = CM_OK;
    for (uint32_t i = 0; i < CM_CONSTRAINTS_MAX && status == CM_OK; i++) {
        struct known_list found;
        if (request->constraints[i] == NULL) {
            continue;
        }
        status = find_list(lists, request->constraints[i], branch->constraint_states[i], &found);
        if (status != CM_OK) {
            break;
        }
        if (!found.only) {
            row->banned[i] = found.ids;
        } else if (!row->only_allowed) {
            row->allowed = found.ids;
        } else {
            status = intersect(lists, row->allowed, found.ids, &row->allowed);
        }
        row->only_allowed = row->only_allowed || found.only;
    }
    return status;
}

static enum cm_status add_ngram_bans(struct cm_mask_lists *lists, const int32_t *history,
                                     uint32_t history_tokens, uint32_t n, struct cm_sample_row *row)
{
    _Static_assert(CM_SAMPLE_BANS_MAX == CM_CONSTRAINTS_MAX + 1,
                   "one list beside the constraints'");
    enum cm_status status = cm_step_list_reserve(&lists->ids, history_tokens);
    if (status == CM_OK) {
        uint32_t begin = (uint32_t)lists->ids.count;
        lists->ids.count += cm_ngram_banned(history, history_tokens, n, lists->ids.host + begin);
        row->banned[CM_CONSTRAINTS_MAX] = (struct cm_id_range){ begin, (uint32_t)lists->ids.count };
    }
    return status;
}

enum cm_status cm_mask_lists_add(struct cm_mask_lists *lists, const struct cm_request *request,
                                 const struct cm_branch *branch, const int32_t *history,
                                 uint32_t history_tokens, struct cm_sample_row *row)
{
    enum cm_status status = add_constraints(lists, request, branch, row);
    uint32_t n = request->sampling.no_repeat_ngram;
    /* Where only a few tokens go on, as inside a number, the rule about n-grams stands back: it
     * could leave none. */
    if (status == CM_OK && n > 0 && !row->only_allowed) {
        status = add_ngram_bans(lists, history, history_tokens, n, row);
    }
    return status;
}

void cm_mask_lists_send(struct cm_mask_lists *lists)
{
    cm_step_list_send(&lists->ids);
}

const int32_t *cm_mask_lists_ids(const struct cm_mask_lists *lists)
{
    return lists->ids.device;
}
