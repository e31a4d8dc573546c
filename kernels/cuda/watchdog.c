/* Waiting for the device, never for ever. A device that does not come to an end within the back
 * end's time is given up: a kernel that never ends, a driver that does not answer, a rank that
 * never comes to a collective (comm.c looks after those and after ranks that have failed).
 *
 * The stream is asked again and again instead of waited for; at first without a pause, since a step
 * of decoding takes milliseconds. Time in which this process itself was stopped (by a terminal, a
 * batch system that suspends it, a machine that sleeps) does not count. */
#include "base/clock.h"
#include "kernels/cuda/cuda_backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { POLLS_WITHOUT_PAUSE = 2000, PAUSE_NS = 50 * 1000, TIMEOUT_DEFAULT_S = 120, LEAVING_S = 2 };

static atomic_bool any_stuck;

bool cm_cuda_any_stuck(void)
{
    return atomic_load(&any_stuck);
}

double cm_cuda_timeout_s(const struct cm_backend *backend)
{
    return backend->timeout_s > 0 ? backend->timeout_s : TIMEOUT_DEFAULT_S;
}

void cm_cuda_pause(uint64_t polls)
{
    if (polls >= POLLS_WITHOUT_PAUSE) {
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
    }
}

/* However long a look away was, it counts as an eighth of the time at most. */
struct cm_cuda_patience cm_cuda_patience(double seconds)
{
    return (struct cm_cuda_patience){ seconds, seconds / 8, cm_clock_s() };
}

bool cm_cuda_patience_ends(struct cm_cuda_patience *patience)
{
    double now_s = cm_clock_s();
    double away_s = now_s - patience->looked_s;
    patience->looked_s = now_s;
    patience->left_s -= away_s < patience->away_max_s ? away_s : patience->away_max_s;
    return patience->left_s < 0;
}

/* Asks until the answer is another than "not ready". When the time is over, or the group of devices
 * has failed, the rank leaves the group, which ends the collectives in its stream; what is left
 * then has a short time to end. */
static void wait_for(struct cm_backend *backend, cudaError_t (*ask)(const void *object),
                     const void *object, const char *what)
{
    struct cm_cuda_patience patience = cm_cuda_patience(cm_cuda_timeout_s(backend));
    bool gave_up = false;
    for (uint64_t polls = 0; !backend->stuck; polls++) {
        cudaError_t result = ask(object);
        bool late = cm_cuda_patience_ends(&patience);
        if (result != cudaErrorNotReady) {
            cm_cuda_check(backend, result, what);
            cm_cuda_comm_check(backend);
            return;
        }
        if (late && !gave_up) {
            char reason[64];
            snprintf(reason, sizeof reason, "it has not answered for %.0f s",
                     cm_cuda_timeout_s(backend));
            cm_cuda_fail(backend, what, reason);
        }
        if (late && gave_up) {
            backend->stuck = true;
            atomic_store(&any_stuck, true);
        } else if (!gave_up && !cm_cuda_comm_check(backend)) {
            gave_up = true;
            patience = cm_cuda_patience(LEAVING_S);
        }
        cm_cuda_pause(polls);
    }
}

static cudaError_t ask_stream(const void *stream)
{
    return cudaStreamQuery(*(cudaStream_t const *)stream);
}

static cudaError_t ask_event(const void *event)
{
    return cudaEventQuery(*(cudaEvent_t const *)event);
}

void cm_cuda_wait_stream(struct cm_backend *backend, cudaStream_t stream, const char *what)
{
    wait_for(backend, ask_stream, &stream, what);
}

void cm_cuda_wait_event(struct cm_backend *backend, cudaEvent_t event, const char *what)
{
    wait_for(backend, ask_event, &event, what);
}
