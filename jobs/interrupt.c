#include "jobs/interrupt.h"

#include "jobs/run_options.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

enum { SIGNALS_COUNT = 3 };

static const int signal_numbers[SIGNALS_COUNT] = { SIGINT, SIGTERM, SIGPIPE };
static struct sigaction actions_before[SIGNALS_COUNT];
static atomic_int requests_count; /* lock-free, so a signal handler may use it */

static void on_signal(int number)
{
    (void)number;
    if (atomic_fetch_add(&requests_count, 1) > 0) {
        _exit(CM_EXIT_INTERRUPTED);
    }
}

void cm_interrupt_install(void)
{
    atomic_store(&requests_count, 0);
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
        if (signal_numbers[i] == SIGPIPE) {
            action.sa_handler = SIG_IGN;
        }
        sigemptyset(&action.sa_mask);
        sigaction(signal_numbers[i], &action, &actions_before[i]);
    }
}

void cm_interrupt_remove(void)
{
    if (requests_count > 0) {
        return; /* the process is ending; a second Ctrl-C must still find the handler */
    }
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        sigaction(signal_numbers[i], &actions_before[i], NULL);
    }
}

bool cm_interrupt_requested(void)
{
    return atomic_load(&requests_count) > 0;
}
