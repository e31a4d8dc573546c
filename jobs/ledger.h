/* The ledger of a job: every finished row, durable before anybody is told about it.
 *
 * A ledger outlives runs. It holds rows of any settings, told apart by their keys, and the plan of
 * the latest run: which row stands where in its output. Only finished rows are stored, so a job of
 * ten million rows starts as quickly as one of ten.
 *
 * Writes gather in a batch that cm_ledger_commit makes durable. The first write or commit that
 * fails ends the batch and every later call returns the same error: a disk that failed once is not
 * asked again, and what was committed before is there for the next run.
 *
 * One process at a time has a ledger open for writing; a second is refused until the first closes
 * it or dies. Calls may come from several threads; each call is atomic.
 */
#ifndef CM_JOBS_LEDGER_H
#define CM_JOBS_LEDGER_H

#include "base/status.h"
#include "jobs/copy_row.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cm_ledger;

/* Opens the ledger at `path`, or creates it. CM_ALREADY_EXISTS: another process works on it.
 * CM_INVALID_DATA: the file is something else. CM_UNSUPPORTED: written by a later version.
 * CM_IO, CM_OUT_OF_MEMORY. */
enum cm_status cm_ledger_open(const char *path, struct cm_ledger **ledger,
                              struct cm_error *error) CM_MUST_CHECK;

/* Opens a ledger that is there to look at it, while another process may be working on it: only the
 * calls that read can be used. A ledger of an earlier version is upgraded first. CM_NOT_FOUND:
 * there is none; otherwise as above. */
enum cm_status cm_ledger_open_reading(const char *path, struct cm_ledger **ledger,
                                      struct cm_error *error) CM_MUST_CHECK;

/* Drops an uncommitted batch. NULL is fine. */
void cm_ledger_close(struct cm_ledger *ledger);

/* --- A run --- */

struct cm_ledger_setting {
    const char *name;
    const char *value;
};

struct cm_ledger_settings {
    const char *digest;                    /* hex, of every setting that changes a text */
    const struct cm_ledger_setting *pairs; /* all that is needed to repeat the run, for people */
    size_t pairs_count;
};

/* What the ledger held when the run began, in rows that are ok or flagged. */
struct cm_ledger_contents {
    uint64_t rows_same;  /* of these settings */
    uint64_t rows_other; /* of other settings: another template, model, seed ... */
};

/* Starts a run: forgets the plan of the one before and remembers its settings and when it began.
 * Durable at return. */
enum cm_status cm_ledger_begin(struct cm_ledger *ledger, const struct cm_ledger_settings *settings,
                               struct cm_ledger_contents *contents,
                               struct cm_error *error) CM_MUST_CHECK;

/* The run as it goes, for a plot: all counts since it began. Durable with the next commit. */
struct cm_ledger_sample {
    uint64_t at_ms;
    uint64_t rows; /* finished by this run; reused ones not */
    uint64_t prefill_tokens;
    uint64_t shared_tokens;
    uint64_t output_tokens;
    uint32_t active; /* copies in work at that time */
};
enum cm_status cm_ledger_put_sample(struct cm_ledger *ledger, const struct cm_ledger_sample *sample,
                                    struct cm_error *error) CM_MUST_CHECK;

/* Ends the run that was begun. `figures` is a JSON object, see run_figures.h. Durable at return. */
enum cm_status cm_ledger_end_run(struct cm_ledger *ledger, const char *figures,
                                 struct cm_error *error) CM_MUST_CHECK;

/* What rows are written from is stored once for all of them and found again by the digest of its
 * content. `attributes` is a JSON object, name -> value. Both give the number by which rows refer
 * to it; 0 is none's. */
struct cm_ledger_source {
    const char *digest; /* hex */
    const char *title;  /* of an item; unused for a segment */
    const char *attributes;
};
enum cm_status cm_ledger_put_item(struct cm_ledger *ledger, const struct cm_ledger_source *item,
                                  int64_t *number, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_ledger_put_segment(struct cm_ledger *ledger,
                                     const struct cm_ledger_source *segment, int64_t *number,
                                     struct cm_error *error) CM_MUST_CHECK;

/* What is needed to decide whether a stored row can be used again. */
struct cm_ledger_found {
    int64_t row_id;
    enum cm_row_status status;
    double score;
    double gate_score; /* --min-score of the run that made it */
    uint32_t attempt;
    uint32_t tries;
    uint32_t cached_tokens;
    uint64_t neighbours; /* see plan.h */
    bool has_sources;    /* item and segment are known; not in ledgers of version 1 */
};

/* CM_NOT_FOUND (without a message) where there is no such row. */
enum cm_status cm_ledger_find(struct cm_ledger *ledger, const char *key,
                              struct cm_ledger_found *found, struct cm_error *error) CM_MUST_CHECK;

/* Where a row stands in the plan. */
struct cm_ledger_place {
    uint64_t position;   /* in the output; unique */
    uint64_t neighbours; /* what the row's cached_tokens was counted against */
    double gate_score;
    int64_t item; /* see cm_ledger_put_item */
    int64_t segment;
};

/* Stores a finished row, in place of one with the same key, and plans it. */
enum cm_status cm_ledger_put(struct cm_ledger *ledger, const struct cm_ledger_place *place,
                             const struct cm_copy_row *row, struct cm_error *error) CM_MUST_CHECK;

/* Plans a row that is there already. `update` also stores its new count of cached tokens; where the
 * place names an item and a segment, they are stored too. */
enum cm_status cm_ledger_reuse(struct cm_ledger *ledger, const struct cm_ledger_place *place,
                               int64_t row_id, bool update, uint32_t cached_tokens,
                               struct cm_error *error) CM_MUST_CHECK;

/* The batch is durable at return. Nothing to do for an empty one. */
enum cm_status cm_ledger_commit(struct cm_ledger *ledger, struct cm_error *error) CM_MUST_CHECK;

/* --- Reading the plan --- */

/* Planned rows in output order: rewind (which commits), then next until CM_END. A row is valid
 * until the next call. One reader at a time, and no other thread meanwhile. */
enum cm_status cm_ledger_rewind(struct cm_ledger *ledger, struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_ledger_next(struct cm_ledger *ledger, struct cm_copy_row *row,
                              struct cm_error *error) CM_MUST_CHECK;

/* --- Output files --- */

/* A file as the system knows it: enough to tell whether it is still the one that was written. */
struct cm_ledger_output {
    uint64_t inode;
    uint64_t file_bytes;
    int64_t modified_ns;
};

/* Remembers (durably) that this job wrote this file, and asks whether it did. */
enum cm_status cm_ledger_remember_output(struct cm_ledger *ledger,
                                         const struct cm_ledger_output *output,
                                         struct cm_error *error) CM_MUST_CHECK;
enum cm_status cm_ledger_knows_output(struct cm_ledger *ledger,
                                      const struct cm_ledger_output *output, bool *known,
                                      struct cm_error *error) CM_MUST_CHECK;

#endif
