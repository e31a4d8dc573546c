/* The tree of prompts in the window: one node per page of CM_PAGE_TOKENS absolute positions.
 *
 * A path from the root spells a prompt. Full pages with the same tokens after the same path are one
 * node, whoever brings them, so any template order shares what it can. The last page of a prompt is
 * a leaf of its own, even if another prompt has the same one: generated tokens are written into it,
 * and its last token must be computed to have logits.
 *
 *     template ─ item ─┬─ segment A (leaf) ─ generated pages (the request's own, not in the tree)
 *                      └─ segment B (leaf)
 *
 * A new node that agrees with a sibling in its first tokens names it as `donor`: once the
 * donor's page is computed that far, those keys and values are copied instead of computed.
 *
 * A node lives as long as something refers to it: a request's path, a child, a node it is donor
 * for. The tree knows pages by number only; the scheduler takes and fills them. One thread.
 */
#ifndef CM_HOST_PREFIX_TREE_H
#define CM_HOST_PREFIX_TREE_H

#include "base/status.h"
#include "host/kv_pages.h"
#include "kernels/backend.h"

#include <stdbool.h>
#include <stdint.h>

struct cm_node {
    struct cm_node *parent;
    struct cm_node *first_child;
    struct cm_node *next_sibling;
    struct cm_node *previous_sibling;
    struct cm_node *donor; /* NULL: none, or already copied from */
    int32_t tokens[CM_PAGE_TOKENS];
    uint32_t tokens_count;
    uint32_t donor_tokens; /* leading tokens that the donor has too */
    bool leaf;             /* the last page of one prompt: never shared */

    /* Kept by the scheduler. */
    int32_t page;             /* CM_NO_PAGE: not in memory */
    uint32_t computed_tokens; /* leading tokens whose keys and values are in the page */
    const void *owner;        /* the request in flight that computes it; others wait. NULL: none */
    uint32_t active_count;    /* requests in flight that have the node on their path */

    uint32_t references;
};

struct cm_prefix_tree;

enum cm_status cm_prefix_tree_open(struct cm_kv_pages *pages,
                                   struct cm_prefix_tree **tree) CM_MUST_CHECK;

/* All paths must have been released. NULL is fine. */
void cm_prefix_tree_close(struct cm_prefix_tree *tree);

/* Number of nodes on the path of a prompt. */
uint32_t cm_prefix_tree_path_length(uint32_t tokens_count);

/* Finds or makes the nodes of a prompt of at least one token and takes a reference on each. `path`
 * has room for cm_prefix_tree_path_length(tokens_count). On CM_OUT_OF_MEMORY nothing is held. */
enum cm_status cm_prefix_tree_insert(struct cm_prefix_tree *tree, const int32_t *tokens,
                                     uint32_t tokens_count, struct cm_node **path) CM_MUST_CHECK;

/* One more reference on every node of the path. */
void cm_prefix_tree_hold(struct cm_node *const *path, uint32_t path_length);

/* Drops one reference on every node; nodes nobody needs any more go, and their pages back to the
 * pool. */
void cm_prefix_tree_release(struct cm_prefix_tree *tree, struct cm_node *const *path,
                            uint32_t path_length);

/* Forgets a node's donor (after the copy, or when the donor will not be computed). */
void cm_prefix_tree_drop_donor(struct cm_prefix_tree *tree, struct cm_node *node);

/* Takes back pages that only waiting requests would use, until `pages_wanted` are free or no such
 * page is left; those prompts are then computed again. Deepest pages go first. Returns the pages
 * freed. */
uint32_t cm_prefix_tree_evict(struct cm_prefix_tree *tree, uint32_t pages_wanted);

#endif
