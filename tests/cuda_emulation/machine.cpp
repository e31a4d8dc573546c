#include "machine.h"

#include "block.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace emu
{

Machine machine;
thread_local int current_device;
static thread_local cudaError_t last_error;

/* --- Settings --- */

[[noreturn]] static void refuse_setting(const char *name, const char *value)
{
    fprintf(stderr, "cuda emulation: cannot read %s=%s\n", name, value);
    exit(2);
}

static uint64_t read_number(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    if (!value || !*value) {
        return otherwise;
    }
    char *end;
    uint64_t number = strtoull(value, &end, 10);
    if (*end) {
        refuse_setting(name, value);
    }
    return number;
}

/* "malloc:N", "device:D:N", "kernel:D:N", "hang:D:N", separated by commas. */
static std::vector<Fault> read_faults(const char *value)
{
    static const struct {
        const char *name;
        Fault::Kind kind;
    } kinds[] = { { "device", Fault::Kind::device_dies },
                  { "kernel", Fault::Kind::kernel_hangs },
                  { "hang", Fault::Kind::rank_hangs } };
    std::vector<Fault> faults;
    std::string list = value ? value : "";
    for (size_t begin = 0; begin < list.size();) {
        size_t end = list.find(',', begin);
        std::string entry = list.substr(begin, end - begin);
        begin = end == std::string::npos ? list.size() : end + 1;
        unsigned long long nth;
        int device, used = 0;
        char name[16];
        if (sscanf(entry.c_str(), "malloc:%llu%n", &nth, &used) == 1 && used == (int)entry.size()) {
            faults.push_back({ Fault::Kind::malloc_fails, -1, nth });
            continue;
        }
        size_t known = faults.size();
        if (sscanf(entry.c_str(), "%15[a-z]:%d:%llu%n", name, &device, &nth, &used) == 3 &&
            used == (int)entry.size()) {
            for (const auto &kind : kinds) {
                if (strcmp(name, kind.name) == 0) {
                    faults.push_back({ kind.kind, device, nth });
                }
            }
        }
        if (faults.size() == known) {
            refuse_setting("EMU_FAULT", value);
        }
    }
    return faults;
}

static void read_settings(Settings &settings)
{
    settings.seed = (unsigned)read_number("EMU_SEED", settings.seed);
    settings.devices_count = (int)read_number("EMU_DEVICES", (uint64_t)settings.devices_count);
    settings.memory_bytes = read_number("EMU_MEMORY_MB", settings.memory_bytes >> 20) << 20;
    settings.sm_count = (int)read_number("EMU_SM_COUNT", (uint64_t)settings.sm_count);
    if (const char *value = getenv("EMU_CAPABILITY")) {
        int major, minor;
        if (sscanf(value, "%d.%d", &major, &minor) != 2) {
            refuse_setting("EMU_CAPABILITY", value);
        }
        settings.capability = 10 * major + minor;
    }
    settings.faults = read_faults(getenv("EMU_FAULT"));
}

static void turn_on()
{
    read_settings(machine.settings);
    seed_random(machine.settings.seed);
    for (int i = 0; i < machine.settings.devices_count; i++) {
        Device &device = machine.devices.emplace_back();
        device.default_stream.device = i;
        device.default_stream.is_blocking = true;
        device.memory.reserve(machine.settings.memory_bytes);
    }
    machine.is_on = true;
}

void turn_off()
{
    std::unique_lock<std::mutex> lock(machine.lock);
    machine.streams.clear();
    machine.captures.clear();
    machine.devices.clear();
    machine.settings = Settings();
    machine.mallocs = machine.calls = 0;
    machine.counts = {};
    machine.is_on = false;
    last_error = cudaSuccess;
}

bool is_fault(Fault::Kind kind, int device, uint64_t nth)
{
    for (const Fault &fault : machine.settings.faults) {
        if (fault.kind == kind && (fault.device < 0 || fault.device == device) &&
            fault.nth == nth) {
            return true;
        }
    }
    return false;
}

/* --- Calls --- */

static void close_all_memory()
{
    for (Device &device : machine.devices) {
        device.memory.close();
    }
}

Call::Call() : lock(machine.lock)
{
    if (!machine.is_on) {
        turn_on();
    }
}

/* Closing costs a system call and, with much memory, hundreds of microseconds: a long run does it
 * only now and then. */
Call::~Call()
{
    const uint64_t always = 1000, then_every = 64;
    machine.calls++;
    if (machine.calls < always || machine.calls % then_every == 0) {
        close_all_memory();
    }
}

cudaError_t set_error(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady) {
        last_error = error;
    }
    return error;
}

void open_memory(int device)
{
    machine.devices[device].memory.open();
}

void open_all_memory()
{
    for (Device &device : machine.devices) {
        device.memory.open();
    }
}

Device &device_now()
{
    return machine.devices[current_device];
}

Stream *find_stream(cudaStream_t handle)
{
    if (handle == nullptr || handle == cudaStreamLegacy) {
        return &device_now().default_stream;
    }
    for (Stream &stream : machine.streams) {
        if (reinterpret_cast<cudaStream_t>(&stream) == handle && !stream.is_destroyed) {
            return &stream;
        }
    }
    return nullptr;
}

/* A capture forbids such calls to its own thread, or, in the global mode, to all. */
cudaError_t refused_in_capture()
{
    for (Graph *graph : machine.captures) {
        bool is_own = graph->thread == std::this_thread::get_id();
        if (graph->mode == cudaStreamCaptureModeGlobal ||
            (is_own && graph->mode == cudaStreamCaptureModeThreadLocal)) {
            graph->is_broken = true;
            return cudaErrorStreamCaptureUnsupported;
        }
    }
    return cudaSuccess;
}

void kill_device(int device, cudaError_t error)
{
    fprintf(stderr, "cuda emulation: device %d dies here, as EMU_FAULT asks\n", device);
    machine.devices[device].sticky = error;
    machine.devices[device].default_stream.steps.clear();
    machine.changed.notify_all();
}

/* --- Running --- */

static bool is_default(const Stream &stream)
{
    return &stream == &machine.devices[stream.device].default_stream;
}

cudaError_t submit(Call &call, Stream &stream, Work work)
{
    if (is_default(stream)) {
        for (Graph *graph : machine.captures) {
            bool is_near = graph->origin->device == stream.device;
            if (is_near && graph->mode != cudaStreamCaptureModeRelaxed) {
                graph->is_broken = true;
                return cudaErrorStreamCaptureImplicit;
            }
        }
        if (cudaError_t error = finish_device(call, stream.device, true)) {
            return error;
        }
    }
    if (stream.capture) {
        stream.capture->work.push_back(std::move(work));
        return cudaSuccess;
    }
    stream.steps.push_back(work());
    machine.changed.notify_all();
    return is_default(stream) ? finish_stream(call, stream) : cudaSuccess;
}

Work simple_work(std::function<void()> function)
{
    Step step = [function = std::move(function)] {
        function();
        return true;
    };
    return [step] { return step; };
}

bool advance(Stream &stream)
{
    if (stream.steps.empty()) {
        return false;
    }
    if (machine.devices[stream.device].sticky != cudaSuccess) {
        stream.steps.clear();
        return true;
    }
    open_memory(stream.device);
    if (!stream.steps.front()()) {
        return false;
    }
    stream.steps.pop_front();
    machine.changed.notify_all();
    return true;
}

bool advance_others(const Stream *than, int device)
{
    size_t start = random_below((unsigned)machine.streams.size() + 1), turn = 0;
    for (int round = 0; round < 2; round++) {
        for (Stream &stream : machine.streams) {
            bool is_its_turn = (round == 0) == (turn++ % machine.streams.size() >= start);
            if (is_its_turn && &stream != than && (device < 0 || stream.device == device) &&
                advance(stream)) {
                return true;
            }
        }
    }
    return false;
}

static void note_standstill(int device)
{
    fprintf(stderr,
            "cuda emulation: a host thread has waited for device %d for 30 s: nothing in any "
            "stream can go on\n",
            device);
}

cudaError_t run_until(Call &call, int device, Stream *first, const std::function<bool()> &done)
{
    using namespace std::chrono;
    machine.counts.waits++;
    auto standstill = steady_clock::now() + seconds(30);
    bool is_noted = false;
    while (machine.devices[device].sticky == cudaSuccess && !done()) {
        bool others_first = random_below(4) == 1;
        if ((others_first && advance_others(first, -1)) || (first && advance(*first)) ||
            advance_others(first, -1)) {
            standstill = steady_clock::now() + seconds(30);
            continue;
        }
        if (!is_noted && steady_clock::now() > standstill) {
            note_standstill(device);
            is_noted = true;
        }
        machine.changed.wait_for(call.lock, milliseconds(20));
    }
    return machine.devices[device].sticky;
}

cudaError_t finish_stream(Call &call, Stream &stream)
{
    return run_until(call, stream.device, &stream, [&] { return stream.steps.empty(); });
}

cudaError_t finish_device(Call &call, int device, bool only_blocking)
{
    cudaError_t error = finish_stream(call, machine.devices[device].default_stream);
    for (auto stream = machine.streams.begin(); stream != machine.streams.end(); ++stream) {
        if (stream->device == device && (stream->is_blocking || !only_blocking) && !error) {
            error = finish_stream(call, *stream);
        }
    }
    return error;
}

} // namespace emu

using namespace emu;

extern "C" {

void emu_count(struct emu_counts *counts)
{
    Call call;
    *counts = machine.counts;
}

void emu_restart(void)
{
    turn_off();
}

cudaError_t cudaGetLastError(void)
{
    Call call;
    cudaError_t error = device_now().sticky ? device_now().sticky : last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    Call call;
    return device_now().sticky ? device_now().sticky : last_error;
}
}
