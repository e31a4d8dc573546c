/* The runtime API: launches, streams, events, graphs. */
#include "block.h"
#include "functions.h"
#include "machine.h"

#include <chrono>

using namespace emu;

static double now_ms()
{
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

/* --- Launches --- */

static bool is_possible(const Launch &launch)
{
    const dim3 &grid = launch.grid, &block = launch.block;
    return grid.x && grid.y && grid.z && grid.x <= 0x7fffffff && grid.y <= 65535 &&
           grid.z <= 65535 && block.x && block.y && block.z && block.z <= 64 &&
           (uint64_t)block.x * block.y * block.z <= 1024 &&
           launch.shared_bytes <= dynamic_shared_limit(launch.kernel);
}

static bool run_launch(int device, const Launch &launch)
{
    uint64_t nth = ++machine.devices[device].launches;
    if (is_fault(Fault::Kind::kernel_hangs, device, nth)) {
        machine.devices[device].launches--; /* it is still this one, each time it is looked at */
        return false;
    }
    if (is_fault(Fault::Kind::device_dies, device, nth)) {
        kill_device(device, cudaErrorLaunchFailure);
        return true;
    }
    run_grid(launch);
    return true;
}

cudaError_t emu::enqueue_launch(cudaStream_t handle, Launch launch)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (device_now().sticky) {
        return set_error(device_now().sticky);
    }
    if (!stream || stream->device != current_device) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (!is_possible(launch)) {
        return set_error(cudaErrorInvalidConfiguration);
    }
    machine.counts.launches++;
    int device = stream->device;
    Step step = [device, launch = std::move(launch)] { return run_launch(device, launch); };
    return set_error(submit(call, *stream, [step] { return step; }));
}

extern "C" cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *data)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    Step step = [=] {
        function(data);
        return true;
    };
    return set_error(submit(call, *stream, [step] { return step; }));
}

/* --- Streams --- */

extern "C" cudaError_t cudaStreamCreateWithPriority(cudaStream_t *handle, unsigned flags, int)
{
    Call call;
    if (device_now().sticky) {
        return set_error(device_now().sticky);
    }
    Stream &stream = machine.streams.emplace_back();
    stream.device = current_device;
    stream.is_blocking = !(flags & cudaStreamNonBlocking);
    *handle = reinterpret_cast<cudaStream_t>(&stream);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamCreateWithFlags(cudaStream_t *handle, unsigned flags)
{
    return cudaStreamCreateWithPriority(handle, flags, 0);
}

extern "C" cudaError_t cudaStreamCreate(cudaStream_t *handle)
{
    return cudaStreamCreateWithPriority(handle, cudaStreamDefault, 0);
}

extern "C" cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

/* What is left in it still runs; the structure stays, since events may point at it. */
extern "C" cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream || stream == &device_now().default_stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    stream->is_destroyed = true;
    return set_error(machine.devices[stream->device].sticky);
}

extern "C" cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (cudaError_t error = refused_in_capture()) {
        return set_error(error);
    }
    if (stream == &machine.devices[stream->device].default_stream) {
        return set_error(finish_device(call, stream->device, true));
    }
    return set_error(finish_stream(call, *stream));
}

/* Each look lets the device go one step further. */
extern "C" cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (cudaError_t error = machine.devices[stream->device].sticky) {
        return set_error(error);
    }
    bool was_done = stream->steps.empty();
    if (!was_done && !advance(*stream)) {
        advance_others(stream, -1);
    }
    machine.counts.waits += was_done;
    cudaError_t error = machine.devices[stream->device].sticky;
    return set_error(error ? error : was_done ? cudaSuccess : cudaErrorNotReady);
}

/* --- Events --- */

static Event *event_of(cudaEvent_t handle)
{
    return reinterpret_cast<Event *>(handle);
}

extern "C" cudaError_t cudaEventCreateWithFlags(cudaEvent_t *handle, unsigned flags)
{
    Call call;
    if (device_now().sticky) {
        return set_error(device_now().sticky);
    }
    Event *event = new Event();
    event->device = current_device;
    event->has_timing = !(flags & cudaEventDisableTiming);
    *handle = reinterpret_cast<cudaEvent_t>(event);
    return cudaSuccess;
}

extern "C" cudaError_t cudaEventCreate(cudaEvent_t *handle)
{
    return cudaEventCreateWithFlags(handle, cudaEventDefault);
}

extern "C" cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    Call call;
    cudaError_t error = machine.devices[event_of(handle)->device].sticky;
    delete event_of(handle);
    return set_error(error);
}

extern "C" cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle)
{
    Call call;
    Event &event = *event_of(handle);
    Stream *stream = find_stream(stream_handle);
    if (!stream || stream->device != event.device) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    event.capture = stream->capture;
    auto mark = std::make_shared<Mark>();
    if (stream->capture) {
        return cudaSuccess; /* the order of the recorded work says it all */
    }
    event.mark = mark;
    Step step = [mark] {
        mark->is_done = true;
        mark->time_ms = now_ms();
        return true;
    };
    return set_error(submit(call, *stream, [step] { return step; }));
}

extern "C" cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    Call call;
    Event &event = *event_of(handle);
    if (event.capture) {
        return set_error(cudaErrorCapturedEvent);
    }
    if (cudaError_t error = machine.devices[event.device].sticky) {
        return set_error(error);
    }
    bool was_done = !event.mark || event.mark->is_done;
    if (!was_done) {
        advance_others(nullptr, -1);
    }
    machine.counts.event_waits += was_done;
    cudaError_t error = machine.devices[event.device].sticky;
    return set_error(error ? error : was_done ? cudaSuccess : cudaErrorNotReady);
}

extern "C" cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    Call call;
    Event &event = *event_of(handle);
    if (event.capture) {
        return set_error(cudaErrorCapturedEvent);
    }
    auto mark = event.mark;
    machine.counts.event_waits++;
    machine.counts.waits--; /* which run_until counts */
    return set_error(
        run_until(call, event.device, nullptr, [=] { return !mark || mark->is_done; }));
}

extern "C" cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    Call call;
    const Event &from = *event_of(begin), &to = *event_of(end);
    if (!from.has_timing || !to.has_timing || !from.mark || !to.mark) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (!from.mark->is_done || !to.mark->is_done) {
        return set_error(cudaErrorNotReady);
    }
    *ms = (float)(to.mark->time_ms - from.mark->time_ms);
    return cudaSuccess;
}

/* In a capture, the stream joins the graph that the event was recorded into. */
extern "C" cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned)
{
    Call call;
    Event &event = *event_of(handle);
    Stream *stream = find_stream(stream_handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (event.capture) {
        if (stream->capture && stream->capture != event.capture) {
            return set_error(cudaErrorStreamCaptureMerge);
        }
        stream->capture = event.capture;
        return cudaSuccess;
    }
    if (stream->capture) {
        stream->capture->is_broken = true;
        return set_error(cudaErrorStreamCaptureIsolation);
    }
    auto mark = event.mark;
    Step step = [mark] { return !mark || mark->is_done; };
    return set_error(submit(call, *stream, [step] { return step; }));
}

/* --- Graphs --- */

extern "C" cudaError_t cudaStreamBeginCapture(cudaStream_t handle, enum cudaStreamCaptureMode mode)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream || stream == &device_now().default_stream || stream->capture) {
        return set_error(cudaErrorStreamCaptureUnsupported);
    }
    Graph *graph = new Graph();
    graph->origin = stream;
    graph->mode = mode;
    graph->thread = std::this_thread::get_id();
    stream->capture = graph;
    machine.captures.push_back(graph);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *result)
{
    Call call;
    Stream *stream = find_stream(handle);
    *result = nullptr;
    if (!stream || !stream->capture || stream->capture->origin != stream) {
        return set_error(cudaErrorIllegalState);
    }
    Graph *graph = stream->capture;
    for (Stream &other : machine.streams) {
        if (other.capture == graph) {
            other.capture = nullptr;
        }
    }
    machine.captures.remove(graph);
    if (graph->is_broken) {
        delete graph;
        return set_error(cudaErrorStreamCaptureInvalidated);
    }
    *result = reinterpret_cast<cudaGraph_t>(graph);
    return cudaSuccess;
}

extern "C" cudaError_t cudaStreamIsCapturing(cudaStream_t handle,
                                             enum cudaStreamCaptureStatus *status)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    *status = !stream->capture             ? cudaStreamCaptureStatusNone
              : stream->capture->is_broken ? cudaStreamCaptureStatusInvalidated
                                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph,
                                            unsigned long long)
{
    Call call;
    if (device_now().sticky) {
        return set_error(device_now().sticky);
    }
    machine.counts.recordings++;
    *executable = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph *>(graph)));
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphExecUpdate(cudaGraphExec_t executable, cudaGraph_t graph,
                                           cudaGraphExecUpdateResultInfo *info)
{
    Call call;
    Graph &to = *reinterpret_cast<Graph *>(executable);
    const Graph &from = *reinterpret_cast<Graph *>(graph);
    bool is_same_shape = to.work.size() == from.work.size();
    info->result =
        is_same_shape ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    if (!is_same_shape) {
        return set_error(cudaErrorGraphExecUpdateFailure);
    }
    to.work = from.work;
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (!stream) {
        return set_error(cudaErrorInvalidResourceHandle);
    }
    if (device_now().sticky) {
        return set_error(device_now().sticky);
    }
    machine.counts.graph_launches++;
    for (const Work &work : reinterpret_cast<Graph *>(executable)->work) {
        if (cudaError_t error = submit(call, *stream, work)) {
            return set_error(error);
        }
    }
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    Call call;
    if (nodes) {
        return set_error(cudaErrorNotSupported);
    }
    *count = reinterpret_cast<Graph *>(graph)->work.size();
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    Call call;
    delete reinterpret_cast<Graph *>(graph);
    return cudaSuccess;
}

extern "C" cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable)
{
    Call call;
    delete reinterpret_cast<Graph *>(executable);
    return cudaSuccess;
}
