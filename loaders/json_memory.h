/* jansson allocates through base/memory.h, and its failed allocations are told from syntax errors,
 * which jansson itself does not do reliably. */
#ifndef CM_LOADERS_JSON_MEMORY_H
#define CM_LOADERS_JSON_MEMORY_H

#include <stdbool.h>

/* Before each parse: forgets earlier failures of this thread. */
void cm_json_memory_begin(void);

/* Whether an allocation of jansson failed in this thread since then. */
bool cm_json_memory_failed(void);

#endif
