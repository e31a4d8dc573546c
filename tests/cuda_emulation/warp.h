/* Threads, warps and their meetings: what block.cpp schedules and warp.cpp computes on.
 */
#ifndef CM_TESTS_CUDA_EMULATION_WARP_H
#define CM_TESTS_CUDA_EMULATION_WARP_H

#include "emulator.h"
#include "fiber.h"

#include <array>

namespace emu
{

/* An address that ThreadSanitizer orders accesses by. Two in turn, so that a fast thread that is at
 * the next meeting already does not lend its order to a slow one that is leaving this one. */
class Rendezvous
{
  public:
    void *tag()
    {
        return &tags_[turn_];
    }
    void next()
    {
        turn_ ^= 1;
    }

  private:
    char tags_[2] = {};
    unsigned turn_ = 0;
};

struct Thread {
    enum class State { ready, at_barrier, in_warp, ended };

    Thread();

    Fiber fiber;
    State state = State::ended;
    unsigned index = 0; /* in the block */
    uint3 position = {};
    Site site = {}; /* of what it waits for */
    int barrier = 0;
    Vote vote = Vote::none;
    int vote_result = 0;
    AsyncCopies copies;
};

/* An operation of some lanes of a warp: runs once the last of them has arrived. */
struct Meeting {
    unsigned mask = 0; /* 0: free */
    unsigned arrived = 0;
    void (*operation)(void **lanes, unsigned mask) = nullptr;
    std::array<void *, 32> lanes = {}; /* each lane's arguments and results */
    Rendezvous rendezvous;
};

struct Warp {
    unsigned live_mask = 0;
    unsigned first_thread = 0;
    std::array<Meeting, 8> meetings; /* at the same time, each with lanes of its own */
};

Thread &thread_at(unsigned index);
Warp &current_warp();
void wait_as(Thread::State state, Site site); /* returns when the scheduler says so */
void lane_ended(Warp &warp, unsigned lane);   /* meetings no longer wait for it */

} // namespace emu

#endif
