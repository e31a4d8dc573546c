#include "block.h"

#include "fiber.h"
#include "warp.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/* All static shared arrays of the program, laid side by side by shared.ld. */
extern "C" char emu_shared_begin[], emu_shared_end[];

namespace emu
{

static const unsigned named_barriers_count = 16;

struct Barrier {
    unsigned arrived = 0, expected = 0, votes = 0;
    int result = 0;
    Site site = {};
    Rendezvous rendezvous;
};

/* The block that runs, and the pool of threads it runs on. The pool only grows. */
static struct {
    const Launch *launch;
    std::vector<std::unique_ptr<Thread>> pool;
    std::vector<Warp> warps;
    unsigned threads_count, live_count;
    Barrier barriers[named_barriers_count];
    unsigned char *shared;
    Rendezvous start, end, fence;
} block;
static Thread *current;
static std::mt19937 generator;
static bool shuffling;

/* --- Choices --- */

void seed_random(unsigned seed)
{
    shuffling = seed != 0;
    generator.seed(seed);
}

bool is_shuffling()
{
    return shuffling;
}

unsigned random_below(unsigned limit)
{
    return shuffling ? generator() % limit : 0;
}

bool coin()
{
    return random_below(2) == 1;
}

static std::vector<unsigned> order_of(unsigned count)
{
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++) {
        order[i] = i;
    }
    if (shuffling) {
        std::shuffle(order.begin(), order.end(), generator);
    }
    return order;
}

/* --- The running thread --- */

[[noreturn]] static void fail_in(const Thread &thread, const char *what, Site site)
{
    fprintf(stderr,
            "cuda emulation: %s\n  at %s:%d in %s, block (%u, %u, %u), thread (%u, %u, %u)\n", what,
            site.file, site.line, block.launch->kernel_name, blockIdx.x, blockIdx.y, blockIdx.z,
            thread.position.x, thread.position.y, thread.position.z);
    abort();
}

void fail(const char *what, Site site)
{
    fail_in(*current, what, site);
}

Thread &thread_at(unsigned index)
{
    return *block.pool[index];
}

Warp &current_warp()
{
    return block.warps[current->index / 32];
}

unsigned lane()
{
    return current->index % 32;
}

unsigned char *dynamic_shared()
{
    return block.shared;
}

AsyncCopies &async_copies()
{
    return current->copies;
}

void fence()
{
    tsan_release(block.fence.tag());
    tsan_acquire(block.fence.tag());
}

void wait_as(Thread::State state, Site site)
{
    current->state = state;
    current->site = site;
    current->fiber.leave();
}

static void run_thread(void *argument)
{
    Thread *thread = static_cast<Thread *>(argument);
    tsan_acquire(block.start.tag());
    block.launch->body();
    tsan_release(block.end.tag());
    thread->state = Thread::State::ended;
    block.live_count--;
    lane_ended(block.warps[thread->index / 32], thread->index % 32);
}

Thread::Thread() : fiber(run_thread, this)
{
}

static void run(Thread &thread)
{
    current = &thread;
    threadIdx = thread.position;
    thread.fiber.enter();
}

/* --- Barriers --- */

static int count_votes(const Barrier &barrier, Vote vote)
{
    switch (vote) {
    case Vote::none:
        return 0;
    case Vote::count:
        return (int)barrier.votes;
    case Vote::all:
        return barrier.votes == barrier.arrived;
    case Vote::any:
        return barrier.votes != 0;
    }
    return 0;
}

int barrier(int id, int threads, Vote vote, bool predicate, Site site)
{
    if (id < 0 || id >= (int)named_barriers_count || threads < 0 || threads % 32 != 0) {
        fail("a barrier that does not exist, or not of whole warps", site);
    }
    Barrier &barrier = block.barriers[id];
    if (barrier.arrived == 0) {
        barrier.site = site;
        barrier.expected = (unsigned)threads;
    } else if (threads == 0 &&
               (barrier.site.line != site.line || strcmp(barrier.site.file, site.file) != 0)) {
        fail("divergent barrier: others of the block wait at another __syncthreads", site);
    } else if (barrier.expected != (unsigned)threads) {
        fail("threads disagree on how many meet at a barrier", site);
    }
    barrier.arrived++;
    barrier.votes += predicate;
    void *tag = barrier.rendezvous.tag();
    tsan_release(tag);
    current->barrier = id;
    current->vote = vote;
    wait_as(Thread::State::at_barrier, site);
    tsan_acquire(tag);
    return current->vote_result;
}

/* Opens every barrier at which all have arrived; false where there is none. */
static bool open_barriers()
{
    bool opened = false;
    for (int id = 0; id < (int)named_barriers_count; id++) {
        Barrier &barrier = block.barriers[id];
        unsigned expected = barrier.expected ? barrier.expected : block.live_count;
        if (barrier.arrived == 0 || barrier.arrived != expected) {
            continue;
        }
        for (unsigned i = 0; i < block.threads_count; i++) {
            Thread &thread = *block.pool[i];
            if (thread.state == Thread::State::at_barrier && thread.barrier == id) {
                thread.vote_result = count_votes(barrier, thread.vote);
                thread.state = Thread::State::ready;
            }
        }
        barrier.arrived = barrier.votes = 0;
        barrier.rendezvous.next();
        opened = true;
    }
    return opened;
}

/* --- One block --- */

[[noreturn]] static void fail_deadlocked()
{
    for (unsigned i = 0; i < block.threads_count; i++) {
        const Thread &thread = *block.pool[i];
        if (thread.state == Thread::State::at_barrier) {
            fail_in(thread, "deadlock: waits at a barrier that the others do not reach",
                    thread.site);
        }
        if (thread.state == Thread::State::in_warp) {
            fail_in(thread, "deadlock: waits in a warp operation for a lane that does not come",
                    thread.site);
        }
    }
    abort();
}

static bool run_warp(unsigned warp)
{
    bool progress = false;
    for (unsigned lane : order_of(32)) {
        unsigned index = 32 * warp + lane;
        if (index < block.threads_count && block.pool[index]->state == Thread::State::ready) {
            run(*block.pool[index]);
            progress = true;
        }
    }
    return progress;
}

/* Static shared memory is filled by an instruction, not a call, so that the sanitizers overlook
 * it: the red zones between arrays are filled too. */
static void fill_shared_with_nan()
{
    if (block.launch->shared_bytes) {
        memset(block.shared, 0xff, block.launch->shared_bytes);
    }
    void *to = emu_shared_begin;
    size_t bytes = (size_t)(emu_shared_end - emu_shared_begin);
    asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0xff) : "memory");
}

static void start_block()
{
    const dim3 &shape = block.launch->block;
    block.live_count = block.threads_count;
    block.warps.resize((block.threads_count + 31) / 32);
    fill_shared_with_nan();
    tsan_release(block.start.tag());
    for (unsigned i = 0; i < block.threads_count; i++) {
        Thread &thread = *block.pool[i];
        thread.index = i;
        thread.position = { i % shape.x, i / shape.x % shape.y, i / shape.x / shape.y };
        thread.state = Thread::State::ready;
        Warp &warp = block.warps[i / 32];
        warp.first_thread = i & ~31u;
        warp.live_mask |= 1u << i % 32;
    }
}

static void run_block()
{
    start_block();
    while (block.live_count > 0) {
        bool progress = false;
        for (unsigned warp : order_of((unsigned)block.warps.size())) {
            while (run_warp(warp)) {
                progress = true;
                if (coin()) {
                    break; /* let another warp overtake */
                }
            }
        }
        if (!progress && !open_barriers()) {
            fail_deadlocked();
        }
    }
    tsan_acquire(block.end.tag());
}

/* Dynamic shared memory ends where the launch says, so that AddressSanitizer sees a step beyond. */
static unsigned char *allocate_shared(size_t bytes)
{
    void *memory = nullptr;
    if (bytes && posix_memalign(&memory, 1024, bytes) != 0) {
        perror("emulation: shared memory");
        abort();
    }
    return static_cast<unsigned char *>(memory);
}

void run_grid(const Launch &launch)
{
    block.launch = &launch;
    block.threads_count = launch.block.x * launch.block.y * launch.block.z;
    while (block.pool.size() < block.threads_count) {
        block.pool.push_back(std::make_unique<Thread>());
    }
    block.shared = allocate_shared(launch.shared_bytes);
    blockDim = launch.block;
    gridDim = launch.grid;
    for (unsigned i : order_of(launch.grid.x * launch.grid.y * launch.grid.z)) {
        blockIdx = { i % launch.grid.x, i / launch.grid.x % launch.grid.y,
                     i / launch.grid.x / launch.grid.y };
        run_block();
    }
    free(block.shared);
}

} // namespace emu
