/* Ctrl-C and SIGTERM: the first asks the job to end cleanly, the second ends the process at once
 * with CM_EXIT_INTERRUPTED. The ledger survives both. */
#ifndef CM_JOBS_INTERRUPT_H
#define CM_JOBS_INTERRUPT_H

#include <stdbool.h>

void cm_interrupt_install(void); /* also ignores SIGPIPE: a closed pipe is a write that fails */
void cm_interrupt_remove(void);  /* back to what was there before, unless one has been requested */
bool cm_interrupt_requested(void);

#endif
