/* Customer segments: a small CSV or JSON file held whole in memory. Columns: `segment_id` (or the
 * first column), and any others, which templates reach as {{segment.NAME}}. */
#ifndef CM_LOADERS_SEGMENTS_H
#define CM_LOADERS_SEGMENTS_H

#include "base/status.h"
#include "loaders/catalog.h"

enum { CM_SEGMENTS_MAX = 10000 };

struct cm_segment {
    char *id;
    char *language;                  /* column `language` or `lang`, lower case; "": none */
    struct cm_attribute *attributes; /* every column but the id, in order */
    size_t attributes_count;
    uint64_t line;
};

struct cm_segments {
    struct cm_segment *items;
    size_t count;
};

/* NULL path: one neutral segment with the id "all". Refuses duplicate and empty ids by line, and
 * files with direct identifiers (e-mail addresses, long digit runs like phone or card numbers). */
enum cm_status cm_segments_open(const char *path, struct cm_segments *segments,
                                struct cm_error *error) CM_MUST_CHECK;
void cm_segments_deinit(struct cm_segments *segments);

/* NULL where the segment has no such column (compared without case); "id" gives the id. */
const char *cm_segment_find(const struct cm_segment *segment, const char *name);

#endif
