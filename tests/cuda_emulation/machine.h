/* The emulated machine behind the API calls: devices with their memory, streams as queues of steps
 * that run only when somebody waits for them, and injected faults. One lock guards all of it; the
 * host thread that holds it is the one that runs kernels.
 */
#ifndef CM_TESTS_CUDA_EMULATION_MACHINE_H
#define CM_TESTS_CUDA_EMULATION_MACHINE_H

#include "counts.h"
#include "memory.h"

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace emu
{

/* --- Settings, from the environment; the README lists them --- */

struct Fault {
    enum class Kind { malloc_fails, device_dies, kernel_hangs, rank_hangs } kind;
    int device; /* malloc_fails: any */
    uint64_t nth;
};

struct Settings {
    unsigned seed = 0;
    int devices_count = 1;
    size_t memory_bytes = 256u << 20; /* of each device */
    int capability = 90;              /* 10 * major + minor */
    int sm_count = 8;
    std::vector<Fault> faults;
};

/* --- Streams --- */

/* One execution of something in a stream: called until it returns true. False: it has to wait for
 * another stream, rank or thread. */
using Step = std::function<bool()>;
/* What a graph records: makes a fresh execution for every launch. */
using Work = std::function<Step()>;

struct Stream;

struct Graph {
    std::vector<Work> work;
    Stream *origin = nullptr; /* while it is being captured */
    cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
    std::thread::id thread;
    bool is_broken = false;
};

struct Stream {
    int device;
    bool is_blocking; /* waits for the default stream, and it for this one */
    bool is_destroyed = false;
    std::deque<Step> steps;
    Graph *capture = nullptr;
};

/* One record of an event; a new one each time. */
struct Mark {
    bool is_done = false;
    double time_ms = 0;
};

struct Event {
    int device;
    bool has_timing;
    std::shared_ptr<Mark> mark; /* NULL: never recorded */
    Graph *capture = nullptr;   /* recorded into this graph */
};

/* --- Devices --- */

struct Device {
    Memory memory;
    cudaError_t sticky = cudaSuccess; /* once set, every call fails with it */
    uint64_t launches = 0, collectives = 0;
    Stream default_stream;
};

struct Machine {
    std::mutex lock;
    std::condition_variable changed; /* a step has been queued or done, a rank aborted */
    bool is_on = false;
    Settings settings;
    std::deque<Device> devices;
    std::list<Stream> streams;
    std::list<Graph *> captures; /* going on */
    uint64_t mallocs = 0, calls = 0;
    emu_counts counts = {};
};
extern Machine machine;

void turn_off(); /* for tests: the next call turns on a new machine, with settings read anew */

/* Held during an API call. Turns the machine on at first, and closes device memory at the end. */
class Call
{
  public:
    Call();
    ~Call();
    Call(const Call &) = delete;

    std::unique_lock<std::mutex> lock;
};

extern thread_local int current_device;
cudaError_t set_error(cudaError_t error); /* of this host thread; returns it */

Device &device_now();
Stream *find_stream(cudaStream_t handle); /* NULL: of a device that is not current, or unknown */
cudaError_t refused_in_capture(); /* an error if a capture forbids calls that wait or allocate */

/* Whether the `nth` event of a kind on a device is one that the settings make fail. */
bool is_fault(Fault::Kind kind, int device, uint64_t nth);
void kill_device(int device, cudaError_t error);

/* Device memory can be touched only while a step runs, and a while after in a long run. */
void open_memory(int device);
void open_all_memory();

/* --- Running --- */

/* Queues the work, or records it in a capture. On the default stream it is over on return, since
 * that one waits for all blocking streams and they for it. */
cudaError_t submit(Call &call, Stream &stream, Work work);
Work simple_work(std::function<void()> function); /* of one step, that never waits */
bool advance(Stream &stream); /* one step; false: nothing to do, or it has to wait */
bool advance_others(const Stream *than, int device); /* device -1: of all */

/* Runs steps, those of `first` before others, until `done`. Fails when `device` dies. */
cudaError_t run_until(Call &call, int device, Stream *first, const std::function<bool()> &done);
cudaError_t finish_stream(Call &call, Stream &stream);
cudaError_t finish_device(Call &call, int device, bool only_blocking);

} // namespace emu

#endif
