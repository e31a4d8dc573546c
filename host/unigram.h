/* The unigram model of SentencePiece (Kudo, 2018): of all ways to cut a text into pieces of the
 * vocabulary, the one whose scores, logarithms of probabilities, have the greatest sum. A character
 * that no piece covers costs more than any piece does. */
#ifndef CM_HOST_UNIGRAM_H
#define CM_HOST_UNIGRAM_H

#include "base/status.h"
#include "base/text.h"
#include "host/merge_queue.h"
#include "loaders/model_file.h"

struct cm_unigram; /* read-only after opening: any thread may use it */

/* `data` and `bytes`, what each token stands for, must outlive it. CM_OUT_OF_MEMORY. */
enum cm_status cm_unigram_open(const struct cm_tokenizer_data *data, const struct cm_span *bytes,
                               struct cm_unigram **unigram) CM_MUST_CHECK;
void cm_unigram_close(struct cm_unigram *unigram);

/* Cuts `text`, in time proportional to its length and that of the longest piece. As after
 * cm_merge_queue_run, the symbols of `queue` hang together by `after`, from the first one on; the
 * id of a character that no piece covers is below 0. */
enum cm_status cm_unigram_cut(const struct cm_unigram *unigram, struct cm_span text,
                              struct cm_merge_queue *queue) CM_MUST_CHECK;

#endif
