/* How a job went: its runs, what each was told, and samples of its course. */
#ifndef CM_JOBS_LEDGER_HISTORY_H
#define CM_JOBS_LEDGER_HISTORY_H

#include "jobs/ledger.h"

/* Text is borrowed and never NULL. */
struct cm_ledger_run {
    int64_t run_id;
    int64_t settings_id;
    const char *began;
    const char *ended;   /* "": it is under way, or died */
    const char *figures; /* see run_figures.h; "" as above */
};

/* Each is valid during the call; anything but CM_OK ends the visit and is its result. No call into
 * the ledger may be made from inside. */
typedef enum cm_status cm_run_visitor(const struct cm_ledger_run *run, void *context,
                                      struct cm_error *error);
typedef enum cm_status cm_setting_visitor(const struct cm_ledger_setting *setting, void *context,
                                          struct cm_error *error);
typedef enum cm_status cm_sample_visitor(const struct cm_ledger_sample *sample, void *context,
                                         struct cm_error *error);

/* All runs, the first one first. */
enum cm_status cm_ledger_visit_runs(struct cm_ledger *ledger, cm_run_visitor *visitor,
                                    void *context, struct cm_error *error) CM_MUST_CHECK;

/* What runs with these settings were told, by name. */
enum cm_status cm_ledger_visit_settings(struct cm_ledger *ledger, int64_t settings_id,
                                        cm_setting_visitor *visitor, void *context,
                                        struct cm_error *error) CM_MUST_CHECK;

/* In the order of time. */
enum cm_status cm_ledger_visit_samples(struct cm_ledger *ledger, int64_t run_id,
                                       cm_sample_visitor *visitor, void *context,
                                       struct cm_error *error) CM_MUST_CHECK;

#endif
