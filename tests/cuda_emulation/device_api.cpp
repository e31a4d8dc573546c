/* The runtime API: devices, memory, copies, attributes of functions, error names. */
#include "block.h"
#include "functions.h"
#include "machine.h"

#include <cstdio>
#include <cstring>
#include <map>

using namespace emu;

/* --- Errors --- */

extern "C" const char *cudaGetErrorName(cudaError_t error)
{
    static const std::map<cudaError_t, const char *> names = {
        { cudaSuccess, "cudaSuccess" },
        { cudaErrorInvalidValue, "cudaErrorInvalidValue" },
        { cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation" },
        { cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration" },
        { cudaErrorInvalidDevice, "cudaErrorInvalidDevice" },
        { cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle" },
        { cudaErrorNotReady, "cudaErrorNotReady" },
        { cudaErrorNotSupported, "cudaErrorNotSupported" },
        { cudaErrorLaunchFailure, "cudaErrorLaunchFailure" },
        { cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported" },
        { cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated" },
        { cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit" },
        { cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined" },
        { cudaErrorCapturedEvent, "cudaErrorCapturedEvent" },
        { cudaErrorIllegalState, "cudaErrorIllegalState" },
    };
    auto found = names.find(error);
    return found == names.end() ? "cudaError (emulated)" : found->second;
}

extern "C" const char *cudaGetErrorString(cudaError_t error)
{
    return cudaGetErrorName(error);
}

/* --- Devices --- */

extern "C" cudaError_t cudaGetDeviceCount(int *count)
{
    Call call;
    *count = machine.settings.devices_count;
    return set_error(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

extern "C" cudaError_t cudaSetDevice(int device)
{
    Call call;
    if (device < 0 || device >= machine.settings.devices_count) {
        return set_error(cudaErrorInvalidDevice);
    }
    current_device = device;
    return set_error(device_now().sticky);
}

extern "C" cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

extern "C" cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* What the architectures allow a block to ask for, less what the system keeps. */
static size_t shared_bytes_max()
{
    switch (machine.settings.capability) {
    case 80:
    case 87:
        return 163 << 10;
    case 86:
    case 89:
    case 120:
        return 99 << 10;
    default:
        return 227 << 10;
    }
}

extern "C" cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    Call call;
    if (device < 0 || device >= machine.settings.devices_count) {
        return set_error(cudaErrorInvalidDevice);
    }
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "Emulated device %d", device);
    properties->totalGlobalMem = machine.settings.memory_bytes;
    properties->sharedMemPerBlock = 48 << 10;
    properties->sharedMemPerBlockOptin = shared_bytes_max();
    properties->sharedMemPerMultiprocessor = shared_bytes_max() + 1024;
    properties->reservedSharedMemPerBlock = 1024;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->maxBlocksPerMultiProcessor = 32;
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 65535;
    properties->major = machine.settings.capability / 10;
    properties->minor = machine.settings.capability % 10;
    properties->multiProcessorCount = machine.settings.sm_count;
    properties->memoryBusWidth = 5120;
    properties->l2CacheSize = 50 << 20;
    properties->asyncEngineCount = 2;
    properties->concurrentKernels = properties->unifiedAddressing = 1;
    properties->pciBusID = device + 1;
    return set_error(cudaSuccess);
}

extern "C" cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp properties;
    if (cudaError_t error = cudaGetDeviceProperties(&properties, device)) {
        return error;
    }
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = properties.maxThreadsPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)properties.sharedMemPerBlock;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)properties.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)properties.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = properties.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = properties.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = properties.minor;
        break;
    case cudaDevAttrL2CacheSize:
        *value = properties.l2CacheSize;
        break;
    case cudaDevAttrClockRate:
    case cudaDevAttrMemoryClockRate:
        *value = 1000000; /* kHz; nothing that is emulated has a speed */
        break;
    case cudaDevAttrGlobalMemoryBusWidth:
        *value = properties.memoryBusWidth;
        break;
    default:
        return set_error(cudaErrorNotSupported);
    }
    return cudaSuccess;
}

/* No device reaches into another's memory: copies between them go by way of the host, all else
 * through NCCL. */
extern "C" cudaError_t cudaDeviceCanAccessPeer(int *can, int, int)
{
    *can = 0;
    return cudaSuccess;
}

extern "C" cudaError_t cudaDeviceEnablePeerAccess(int, unsigned)
{
    return set_error(cudaErrorPeerAccessUnsupported);
}

extern "C" cudaError_t cudaDeviceSynchronize(void)
{
    Call call;
    if (cudaError_t error = refused_in_capture()) {
        return set_error(error);
    }
    return set_error(finish_device(call, current_device, false));
}

/* --- Memory --- */

extern "C" cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    Call call;
    const Memory &memory = device_now().memory;
    *total_bytes = memory.capacity_bytes();
    *free_bytes = memory.capacity_bytes() - memory.used_bytes();
    return set_error(device_now().sticky);
}

static uint64_t count_allocation()
{
    machine.counts.allocations++;
    return ++machine.mallocs;
}

extern "C" cudaError_t cudaMalloc(void **address, size_t bytes)
{
    Call call;
    *address = nullptr;
    if (device_now().sticky || bytes == 0) {
        return set_error(device_now().sticky);
    }
    if (cudaError_t error = refused_in_capture()) {
        return set_error(error);
    }
    if (!is_fault(Fault::Kind::malloc_fails, current_device, count_allocation())) {
        *address = device_now().memory.allocate(bytes);
    }
    return set_error(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}

extern "C" cudaError_t cudaFree(void *address)
{
    Call call;
    if (!address) {
        return cudaSuccess;
    }
    machine.counts.frees++;
    if (cudaError_t error = refused_in_capture()) {
        return set_error(error);
    }
    for (int i = 0; i < machine.settings.devices_count; i++) {
        if (machine.devices[i].memory.holds(address)) {
            cudaError_t error = finish_device(call, i, false);
            bool is_known = machine.devices[i].memory.release(address);
            return set_error(error ? error : is_known ? cudaSuccess : cudaErrorInvalidValue);
        }
    }
    return set_error(cudaErrorInvalidValue);
}

extern "C" cudaError_t cudaHostAlloc(void **address, size_t bytes, unsigned)
{
    Call call;
    *address = nullptr;
    if (cudaError_t error = device_now().sticky ? device_now().sticky : refused_in_capture()) {
        return set_error(error);
    }
    if (!is_fault(Fault::Kind::malloc_fails, current_device, count_allocation())) {
        *address = pinned_memory.allocate(bytes);
    }
    return set_error(*address ? cudaSuccess : cudaErrorMemoryAllocation);
}

extern "C" cudaError_t cudaMallocHost(void **address, size_t bytes)
{
    return cudaHostAlloc(address, bytes, 0);
}

extern "C" cudaError_t cudaFreeHost(void *address)
{
    Call call;
    if (!address) {
        return cudaSuccess;
    }
    machine.counts.frees++;
    cudaError_t error = cudaSuccess;
    for (int i = 0; i < machine.settings.devices_count; i++) {
        cudaError_t device_error = finish_device(call, i, false);
        error = error ? error : device_error;
    }
    bool is_known = pinned_memory.release(address);
    return set_error(error ? error : is_known ? cudaSuccess : cudaErrorInvalidValue);
}

extern "C" cudaError_t cudaHostRegister(void *address, size_t bytes, unsigned)
{
    Call call;
    bool is_new = pinned_memory.add(address, bytes);
    return set_error(is_new ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered);
}

extern "C" cudaError_t cudaHostUnregister(void *address)
{
    Call call;
    bool is_known = pinned_memory.remove(address);
    return set_error(is_known ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

/* --- Copies --- */

/* The device that an address belongs to, -1 for host memory. */
static int owner_of(const void *address)
{
    for (int i = 0; i < machine.settings.devices_count; i++) {
        if (machine.devices[i].memory.holds(address)) {
            return i;
        }
    }
    return -1;
}

static bool is_side(const void *address, size_t bytes, bool on_device)
{
    int owner = owner_of(address);
    return (owner >= 0) == on_device &&
           (owner < 0 || machine.devices[owner].memory.holds(address, bytes));
}

/* Whether both sides are what `kind` says and inside their allocations. */
static bool is_copy(const void *to, size_t to_bytes, const void *from, size_t from_bytes,
                    cudaMemcpyKind kind)
{
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind == cudaMemcpyDefault) {
        to_device = owner_of(to) >= 0;
        from_device = owner_of(from) >= 0;
    }
    return is_side(to, to_bytes, to_device) && is_side(from, from_bytes, from_device);
}

static bool is_pageable(const void *address)
{
    return owner_of(address) < 0 && !pinned_memory.holds(address);
}

struct Copy {
    void *to;
    size_t to_pitch;
    const void *from;
    size_t from_pitch, width, rows;
    cudaMemcpyKind kind;
};

static void copy_rows(const Copy &copy)
{
    if (owner_of(copy.to) >= 0 && owner_of(copy.from) >= 0) {
        open_all_memory();
    }
    for (size_t row = 0; row < copy.rows; row++) {
        memcpy(static_cast<char *>(copy.to) + row * copy.to_pitch,
               static_cast<const char *>(copy.from) + row * copy.from_pitch, copy.width);
    }
}

/* The extent of `rows` rows that are `pitch` apart. */
static size_t extent_of(size_t pitch, size_t width, size_t rows)
{
    return rows && width ? (rows - 1) * pitch + width : 0;
}

static cudaError_t check_copy(const Copy &copy, const Stream *stream, bool is_async)
{
    if (device_now().sticky) {
        return device_now().sticky;
    }
    if (!stream) {
        return cudaErrorInvalidResourceHandle;
    }
    size_t to_bytes = extent_of(copy.to_pitch, copy.width, copy.rows);
    size_t from_bytes = extent_of(copy.from_pitch, copy.width, copy.rows);
    if (!is_copy(copy.to, to_bytes, copy.from, from_bytes, copy.kind) ||
        copy.width > copy.to_pitch || copy.width > copy.from_pitch) {
        return cudaErrorInvalidValue;
    }
    bool is_plain =
        is_async && !(stream->capture && (is_pageable(copy.from) || is_pageable(copy.to)));
    return is_plain ? cudaSuccess : refused_in_capture();
}

/* A copy from pageable memory takes what is there now; one to it is over when the call returns. */
static cudaError_t copy(Copy copy, cudaStream_t handle, bool is_async)
{
    Call call;
    Stream *stream = find_stream(handle);
    if (extent_of(copy.to_pitch, copy.width, copy.rows) == 0) {
        return set_error(device_now().sticky);
    }
    if (cudaError_t error = check_copy(copy, stream, is_async)) {
        return set_error(error);
    }
    std::shared_ptr<std::vector<char>> snapshot;
    if (is_pageable(copy.from)) {
        machine.counts.waits++; /* mostly */
        const char *begin = static_cast<const char *>(copy.from);
        snapshot = std::make_shared<std::vector<char>>(
            begin, begin + extent_of(copy.from_pitch, copy.width, copy.rows));
        copy.from = snapshot->data();
    }
    bool waits = !is_async || is_pageable(copy.to);
    cudaError_t error = submit(call, *stream, simple_work([copy, snapshot] { copy_rows(copy); }));
    return set_error(error || !waits ? error : finish_stream(call, *stream));
}

extern "C" cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes,
                                       cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy({ to, bytes, from, bytes, bytes, 1, kind }, stream, true);
}

extern "C" cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from,
                                           int from_device, size_t bytes, cudaStream_t stream)
{
    if (owner_of(to) != to_device || owner_of(from) != from_device) {
        return set_error(cudaErrorInvalidValue);
    }
    return copy({ to, bytes, from, bytes, bytes, 1, cudaMemcpyDeviceToDevice }, stream, true);
}

extern "C" cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return copy({ to, bytes, from, bytes, bytes, 1, kind }, nullptr, false);
}

extern "C" cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from,
                                         size_t from_pitch, size_t width, size_t rows,
                                         cudaMemcpyKind kind, cudaStream_t stream)
{
    return copy({ to, to_pitch, from, from_pitch, width, rows, kind }, stream, true);
}

extern "C" cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                                    size_t width, size_t rows, cudaMemcpyKind kind)
{
    return copy({ to, to_pitch, from, from_pitch, width, rows, kind }, nullptr, false);
}

static cudaError_t fill(void *to, size_t pitch, int value, size_t width, size_t rows,
                        cudaStream_t handle)
{
    Call call;
    Stream *stream = find_stream(handle);
    size_t bytes = extent_of(pitch, width, rows);
    if (device_now().sticky || bytes == 0) {
        return set_error(device_now().sticky);
    }
    if (!stream || !is_side(to, bytes, true) || width > pitch) {
        return set_error(stream ? cudaErrorInvalidValue : cudaErrorInvalidResourceHandle);
    }
    return set_error(submit(call, *stream, simple_work([=] {
                                for (size_t row = 0; row < rows; row++) {
                                    memset(static_cast<char *>(to) + row * pitch, value, width);
                                }
                            })));
}

extern "C" cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    return fill(to, bytes, value, bytes, 1, stream);
}

extern "C" cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return fill(to, bytes, value, bytes, 1, nullptr);
}

extern "C" cudaError_t cudaMemset2DAsync(void *to, size_t pitch, int value, size_t width,
                                         size_t rows, cudaStream_t stream)
{
    return fill(to, pitch, value, width, rows, stream);
}

/* --- Functions --- */

static std::map<const void *, size_t> dynamic_limits; /* asked for by cudaFuncSetAttribute */

size_t emu::dynamic_shared_limit(const void *function)
{
    auto found = dynamic_limits.find(function);
    return found == dynamic_limits.end() ? 48 << 10 : found->second;
}

extern "C" cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute,
                                            int value)
{
    Call call;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
        return cudaSuccess;
    }
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        (size_t)value > shared_bytes_max()) {
        return set_error(cudaErrorInvalidValue);
    }
    dynamic_limits[function] = (size_t)value;
    return cudaSuccess;
}

extern "C" cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *attributes,
                                             const void *function)
{
    Call call;
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->maxDynamicSharedSizeBytes = (int)dynamic_shared_limit(function);
    attributes->binaryVersion = attributes->ptxVersion = machine.settings.capability;
    return cudaSuccess;
}

/* As many as shared memory and threads allow; registers are the compiler's to say. */
extern "C" cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *,
                                                                     int block_threads,
                                                                     size_t shared_bytes)
{
    Call call;
    if (block_threads < 1 || block_threads > 1024 || shared_bytes > shared_bytes_max()) {
        return set_error(cudaErrorInvalidValue);
    }
    size_t by_shared = (shared_bytes_max() + 1024) / (shared_bytes + 1024);
    size_t by_threads = 2048 / (size_t)block_threads;
    size_t least = by_shared < by_threads ? by_shared : by_threads;
    *blocks = (int)(least < 32 ? least : 32);
    return cudaSuccess;
}
