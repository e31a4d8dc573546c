/* One row of the job: what the ledger stores and the output files show. */
#ifndef CM_JOBS_COPY_ROW_H
#define CM_JOBS_COPY_ROW_H

#include <stdint.h>

enum { CM_ROW_KEY_BYTES = 16, CM_ROW_KEY_HEX_BYTES = 2 * CM_ROW_KEY_BYTES + 1 };

/* The numbers are stored in ledgers: never renumber. A ledger on one machine only ever holds the
 * last three; `pending` and `running` are for one that several machines share. */
enum cm_row_status {
    CM_ROW_PENDING = 0,
    CM_ROW_RUNNING = 1,
    CM_ROW_OK = 2,
    CM_ROW_FLAGGED = 3,
    CM_ROW_FAILED = 4,
    CM_ROW_STATUS_COUNT
};

const char *cm_row_status_name(enum cm_row_status status); /* "ok"; never NULL */

/* All text is borrowed UTF-8 and never NULL (nothing: ""). */
struct cm_copy_row {
    char key[CM_ROW_KEY_HEX_BYTES]; /* see row_key.h */
    enum cm_row_status status;
    const char *item_id;
    const char *segment_id;
    const char *scenario;
    const char *channel;
    const char *language;
    const char *text;
    const char *fields; /* a JSON object, or "" */
    double score;       /* 0..1, four decimals; 0 for a failed row */
    const char *flags;  /* "name: detail; ..." */
    const char *finish_reason;
    uint32_t prompt_tokens;
    uint32_t cached_tokens;
    uint32_t output_tokens;
    uint32_t attempt; /* the one that was kept, from 1; 0 for a row that never reached the engine */
    uint32_t tries;   /* attempts that were made */
    uint64_t seed;    /* of the job */
    const char *model;
    const char *error;
    const char *judgement; /* a JSON object with the evidence behind score and flags, or "" */
};

#endif
