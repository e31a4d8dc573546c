/* A text between user-defined tokens: those that a vocabulary's author added as text of their own
 * (runs of line ends, <table>) are found before anything else, the leftmost first and of several
 * the longest. Filled once and read by many threads. */
#ifndef CM_HOST_TEXT_PARTS_H
#define CM_HOST_TEXT_PARTS_H

#include "base/status.h"
#include "host/piece_index.h"
#include "loaders/model_file.h"

struct cm_text_parts {
    struct cm_piece_index user_defined;
};

/* `data` must outlive the parts. */
enum cm_status cm_text_parts_init(struct cm_text_parts *parts,
                                  const struct cm_tokenizer_data *data) CM_MUST_CHECK;
void cm_text_parts_deinit(struct cm_text_parts *parts);

struct cm_text_part {
    struct cm_span text; /* may be empty */
    int32_t token;       /* the user-defined token behind it; -1: the text ends here */
};

/* Takes the first part and the token behind it from `rest`. */
struct cm_text_part cm_text_parts_take(const struct cm_text_parts *parts, struct cm_span *rest);

#endif
