/* The built-in templates: the files of jobs/templates, put into the binary by embed_text.cmake. */
#ifndef CM_JOBS_EMBEDDED_TEMPLATES_H
#define CM_JOBS_EMBEDDED_TEMPLATES_H

#include <stddef.h>

struct cm_embedded_template {
    const char *name; /* of the scenario: the file's name without ".txt" */
    const char *source;
};

extern const struct cm_embedded_template CM_EMBEDDED_TEMPLATES[];
extern const size_t CM_EMBEDDED_TEMPLATES_COUNT;

#endif
