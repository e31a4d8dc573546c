#include "host/prefix_tree.h"

#include "base/memory.h"

#include <string.h>

struct cm_prefix_tree {
    struct cm_node root; /* no tokens, no page */
    struct cm_kv_pages *pages;
};

enum cm_status cm_prefix_tree_open(struct cm_kv_pages *pages, struct cm_prefix_tree **tree)
{
    struct cm_prefix_tree *opened = cm_alloc(1, sizeof *opened);
    if (opened == NULL) {
        return CM_OUT_OF_MEMORY;
    }
    opened->root.page = CM_NO_PAGE;
    opened->root.references = 1;
    opened->pages = pages;
    *tree = opened;
    return CM_OK;
}

void cm_prefix_tree_close(struct cm_prefix_tree *tree)
{
    if (tree != NULL) {
        CM_ASSERT(tree->root.first_child == NULL);
        cm_free(tree);
    }
}

uint32_t cm_prefix_tree_path_length(uint32_t tokens_count)
{
    return (tokens_count + CM_PAGE_TOKENS - 1) / CM_PAGE_TOKENS;
}

static void unlink_child(struct cm_node *node)
{
    if (node->previous_sibling != NULL) {
        node->previous_sibling->next_sibling = node->next_sibling;
    } else {
        node->parent->first_child = node->next_sibling;
    }
    if (node->next_sibling != NULL) {
        node->next_sibling->previous_sibling = node->previous_sibling;
    }
}

/* A node holds its parent and its donor, so letting one go can let others go: a short explicit loop
 * over the parents, and one level of recursion per donor. */
static void drop_reference(struct cm_prefix_tree *tree, struct cm_node *node)
{
    while (node != NULL) {
        CM_ASSERT(node->references > 0);
        if (--node->references > 0) {
            return;
        }
        CM_ASSERT(node != &tree->root && node->first_child == NULL && node->active_count == 0);
        struct cm_node *parent = node->parent;
        unlink_child(node);
        cm_prefix_tree_drop_donor(tree, node);
        cm_kv_pages_give_back(tree->pages, node->page);
        cm_free(node);
        node = parent;
    }
}

void cm_prefix_tree_drop_donor(struct cm_prefix_tree *tree, struct cm_node *node)
{
    struct cm_node *donor = node->donor;
    node->donor = NULL;
    node->donor_tokens = 0;
    drop_reference(tree, donor);
}

static uint32_t common_tokens(const struct cm_node *node, const int32_t *tokens,
                              uint32_t tokens_count)
{
    uint32_t common = 0;
    while (common < tokens_count && common < node->tokens_count &&
           node->tokens[common] == tokens[common]) {
        common++;
    }
    return common;
}

/* The child with exactly these tokens if it may be shared, else NULL and in `donor` the one that
 * agrees longest (NULL: none agrees in its first token). */
static struct cm_node *find_child(struct cm_node *parent, const int32_t *tokens,
                                  uint32_t tokens_count, bool leaf, struct cm_node **donor,
                                  uint32_t *donor_tokens)
{
    /* A leaf computes at least its last token. */
    uint32_t usable = leaf ? tokens_count - 1 : tokens_count;
    *donor = NULL;
    *donor_tokens = 0;
    for (struct cm_node *child = parent->first_child; child != NULL; child = child->next_sibling) {
        uint32_t common = common_tokens(child, tokens, tokens_count);
        if (!leaf && !child->leaf && common == CM_PAGE_TOKENS) {
            return child;
        }
        common = common < usable ? common : usable;
        if (common > *donor_tokens) {
            *donor = child;
            *donor_tokens = common;
        }
    }
    return NULL;
}

static struct cm_node *make_child(struct cm_node *parent, const int32_t *tokens,
                                  uint32_t tokens_count, bool leaf, struct cm_node *donor,
                                  uint32_t donor_tokens)
{
    struct cm_node *node = cm_alloc(1, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    memcpy(node->tokens, tokens, tokens_count * sizeof *tokens);
    node->tokens_count = tokens_count;
    node->leaf = leaf;
    node->page = CM_NO_PAGE;
    node->donor = donor;
    node->donor_tokens = donor_tokens;
    if (donor != NULL) {
        donor->references++;
    }
    node->parent = parent;
    parent->references++;
    node->next_sibling = parent->first_child;
    if (parent->first_child != NULL) {
        parent->first_child->previous_sibling = node;
    }
    parent->first_child = node;
    return node;
}

enum cm_status cm_prefix_tree_insert(struct cm_prefix_tree *tree, const int32_t *tokens,
                                     uint32_t tokens_count, struct cm_node **path)
{
    CM_ASSERT(tokens_count > 0);
    uint32_t length = cm_prefix_tree_path_length(tokens_count);
    struct cm_node *parent = &tree->root;
    for (uint32_t i = 0; i < length; i++) {
        bool leaf = i == length - 1;
        uint32_t count = leaf ? tokens_count - i * CM_PAGE_TOKENS : CM_PAGE_TOKENS;
        const int32_t *page_tokens = tokens + (size_t)i * CM_PAGE_TOKENS;
        struct cm_node *donor;
        uint32_t donor_tokens;
        struct cm_node *node = find_child(parent, page_tokens, count, leaf, &donor, &donor_tokens);
        if (node == NULL) {
            node = make_child(parent, page_tokens, count, leaf, donor, donor_tokens);
        }
        if (node == NULL) {
            cm_prefix_tree_release(tree, path, i);
            return CM_OUT_OF_MEMORY;
        }
        node->references++;
        path[i] = node;
        parent = node;
    }
    return CM_OK;
}

void cm_prefix_tree_hold(struct cm_node *const *path, uint32_t path_length)
{
    for (uint32_t i = 0; i < path_length; i++) {
        path[i]->references++;
    }
}

void cm_prefix_tree_release(struct cm_prefix_tree *tree, struct cm_node *const *path,
                            uint32_t path_length)
{
    for (uint32_t i = path_length; i > 0; i--) {
        drop_reference(tree, path[i - 1]);
    }
}

/* The next node of a walk that meets every child before its parent. */
static struct cm_node *deepest_first(struct cm_node *node)
{
    while (node->first_child != NULL) {
        node = node->first_child;
    }
    return node;
}

uint32_t cm_prefix_tree_evict(struct cm_prefix_tree *tree, uint32_t pages_wanted)
{
    uint32_t freed = 0;
    struct cm_node *node = deepest_first(&tree->root);
    while (node != &tree->root && cm_kv_pages_free_count(tree->pages) < pages_wanted) {
        if (node->page != CM_NO_PAGE && node->active_count == 0) {
            cm_kv_pages_give_back(tree->pages, node->page);
            node->page = CM_NO_PAGE;
            node->computed_tokens = 0;
            freed++;
        }
        node = node->next_sibling != NULL ? deepest_first(node->next_sibling) : node->parent;
    }
    return freed;
}
