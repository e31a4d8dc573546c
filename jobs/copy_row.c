#include "jobs/copy_row.h"

const char *cm_row_status_name(enum cm_row_status status)
{
    static const char *const names[CM_ROW_STATUS_COUNT] = { "pending", "running", "ok", "flagged",
                                                            "failed" };
    return (unsigned)status < CM_ROW_STATUS_COUNT ? names[status] : "unknown";
}
