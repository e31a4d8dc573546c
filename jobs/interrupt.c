#include "jobs/interrupt.h"

#include "jobs/run_options.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

enum { SIGNALS_COUNT = 3 };

static const int signal_numbers[SIGNALS_COUNT] = { SIGINT, SIGTERM, SIGPIPE };
static struct sigaction actions_before[SIGNALS_COUNT];
static volatile sig_atomic_t requests_count;

static void on_signal(int number)
{
    (void)number;
    if (requests_count > 0) {
        _exit(CM_EXIT_INTERRUPTED);
    }
    requests_count = 1;
}

void cm_interrupt_install(void)
{
    requests_count = 0;
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
    for (size_t i = 0; i < SIGNALS_COUNT; i++) {
        sigaction(signal_numbers[i], &actions_before[i], NULL);
    }
}

bool cm_interrupt_requested(void)
{
    return requests_count > 0;
}
