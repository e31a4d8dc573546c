/* A stand-in for libnccl: ranks are streams of this process, whichever threads drive them. A
 * collective is over when all ranks have come to it; one that hangs, or whose device is dead, keeps
 * the others waiting until their communicators are aborted.
 */
#include "block.h"
#include "machine.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <nccl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

using namespace emu;

namespace
{

enum class Kind { all_reduce, reduce, broadcast, all_gather, reduce_scatter };

struct Request {
    Kind kind;
    const void *send;
    void *receive;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t reduction;
    int root;
};

/* One collective of a clique: what each rank has brought so far. */
struct Round {
    std::map<int, Request> requests;
    bool is_done = false;
};

struct Clique {
    int ranks_count = 0, joined_count = 0;
    std::map<uint64_t, std::shared_ptr<Round>> rounds; /* that some rank has yet to leave */
};

struct Communicator {
    std::shared_ptr<Clique> clique;
    int rank, device;
    bool is_blocking, is_aborted = false;
    unsigned polls_left = 0; /* how often the caller will still hear that the last call goes on */
    uint64_t rounds_count = 0;
};
using Shared = std::shared_ptr<Communicator>;

std::map<uint64_t, std::shared_ptr<Clique>> cliques; /* by the number in their unique id */
uint64_t last_id;
thread_local int group_depth;
thread_local std::vector<Shared> group_joins; /* to be awaited at the end of the group */

Shared &shared(ncclComm_t handle)
{
    return *reinterpret_cast<Shared *>(handle);
}

/* --- Arithmetic, in an order that depends on the size, as NCCL's rings and trees do --- */

size_t bytes_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclFloat16:
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclUint32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclUint64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

template <class T> double load_as(const void *data, size_t index)
{
    return (double)static_cast<const T *>(data)[index];
}

double load(const void *data, size_t index, ncclDataType_t type)
{
    switch (type) {
    case ncclFloat16:
        return __half2float(static_cast<const __half *>(data)[index]);
    case ncclBfloat16:
        return __bfloat162float(static_cast<const __nv_bfloat16 *>(data)[index]);
    case ncclFloat32:
        return load_as<float>(data, index);
    case ncclInt32:
        return load_as<int32_t>(data, index);
    case ncclUint32:
        return load_as<uint32_t>(data, index);
    case ncclFloat64:
        return load_as<double>(data, index);
    default:
        fprintf(stderr, "cuda emulation: NCCL cannot reduce data type %d\n", (int)type);
        abort();
    }
}

void store(void *data, size_t index, ncclDataType_t type, double value)
{
    switch (type) {
    case ncclFloat16:
        static_cast<__half *>(data)[index] = __float2half((float)value);
        break;
    case ncclBfloat16:
        static_cast<__nv_bfloat16 *>(data)[index] = __float2bfloat16((float)value);
        break;
    case ncclFloat32:
        static_cast<float *>(data)[index] = (float)value;
        break;
    case ncclInt32:
        static_cast<int32_t *>(data)[index] = (int32_t)value;
        break;
    case ncclUint32:
        static_cast<uint32_t *>(data)[index] = (uint32_t)value;
        break;
    default:
        static_cast<double *>(data)[index] = value;
    }
}

double combine(double a, double b, ncclRedOp_t reduction)
{
    switch (reduction) {
    case ncclProd:
        return a * b;
    case ncclMax:
        return a < b ? b : a;
    case ncclMin:
        return b < a ? b : a;
    default:
        return (double)((float)a + (float)b);
    }
}

std::vector<double> reduce_all(const Round &round, size_t count)
{
    const Request &first = round.requests.begin()->second;
    const size_t ranks = round.requests.size(), ring_elements = 64;
    std::vector<double> values(count);
    for (size_t i = 0; i < count; i++) {
        size_t begin = (count + i / ring_elements) % ranks;
        for (size_t turn = 0; turn < ranks; turn++) {
            const Request &request = round.requests.at((int)((begin + turn) % ranks));
            double value = load(request.send, i, request.type);
            values[i] = turn == 0 ? value : combine(values[i], value, request.reduction);
        }
    }
    for (double &value : values) {
        value = first.reduction == ncclAvg ? value / (double)round.requests.size() : value;
    }
    return values;
}

/* --- Rounds --- */

void check_agreement(const Round &round)
{
    const Request &first = round.requests.begin()->second;
    for (const auto &[rank, request] : round.requests) {
        if (request.kind != first.kind || request.count != first.count ||
            request.type != first.type || request.root != first.root ||
            request.reduction != first.reduction) {
            fprintf(stderr,
                    "cuda emulation: NCCL: rank %d calls another collective than rank 0, or with "
                    "another count, type, operation or root\n",
                    rank);
            abort();
        }
    }
}

/* What every rank receives is put together first, since buffers may be used in place. */
void perform(Round &round)
{
    check_agreement(round);
    open_all_memory();
    const Request first = round.requests.begin()->second;
    const size_t ranks = round.requests.size(), bytes = first.count * bytes_of(first.type);
    const bool reduces = first.kind == Kind::all_reduce || first.kind == Kind::reduce ||
                         first.kind == Kind::reduce_scatter;
    std::vector<double> values;
    std::vector<char> gathered;
    if (reduces) {
        values = reduce_all(round,
                            first.kind == Kind::reduce_scatter ? ranks * first.count : first.count);
    } else {
        for (const auto &[rank, request] : round.requests) {
            if (first.kind == Kind::all_gather || rank == first.root) {
                const char *from = static_cast<const char *>(request.send);
                gathered.insert(gathered.end(), from, from + bytes);
            }
        }
    }
    for (const auto &[rank, request] : round.requests) {
        size_t begin = first.kind == Kind::reduce_scatter ? (size_t)rank * first.count : 0;
        if (first.kind == Kind::reduce && rank != first.root) {
            continue;
        }
        for (size_t i = 0; reduces && i < first.count; i++) {
            store(request.receive, i, first.type, values[begin + i]);
        }
        if (!reduces) {
            memcpy(request.receive, gathered.data(), gathered.size());
        }
    }
}

/* The step of one rank: takes its place in the round, and waits for the others to take theirs. */
Step join_round(Shared communicator, Request request)
{
    auto round = std::make_shared<std::shared_ptr<Round>>();
    auto is_stuck = std::make_shared<bool>(false);
    return [=] {
        Clique &clique = *communicator->clique;
        if (communicator->is_aborted) {
            return true;
        }
        if (!*round && !*is_stuck) {
            uint64_t nth = ++machine.devices[communicator->device].collectives;
            *is_stuck = is_fault(Fault::Kind::rank_hangs, communicator->device, nth);
        }
        if (*is_stuck) {
            return false;
        }
        if (!*round) {
            std::shared_ptr<Round> &place = clique.rounds[communicator->rounds_count];
            place = place ? place : std::make_shared<Round>();
            *round = place;
            place->requests[communicator->rank] = request;
            if ((int)place->requests.size() == clique.ranks_count) {
                perform(*place);
                place->is_done = true;
                clique.rounds.erase(communicator->rounds_count);
                machine.changed.notify_all();
            }
            communicator->rounds_count++;
        }
        return (*round)->is_done;
    };
}

ncclResult_t enqueue_collective(ncclComm_t handle, cudaStream_t stream_handle, Request request)
{
    Call call;
    Shared communicator = shared(handle);
    Stream *stream = find_stream(stream_handle);
    if (machine.devices[communicator->device].sticky) {
        return ncclUnhandledCudaError;
    }
    bool is_complete = communicator->clique->joined_count == communicator->clique->ranks_count;
    if (!stream || stream->device != communicator->device || bytes_of(request.type) == 0 ||
        request.count == 0 || communicator->is_aborted || !is_complete) {
        return ncclInvalidArgument;
    }
    cudaError_t error = submit(call, *stream, [=] { return join_round(communicator, request); });
    if (error) {
        return ncclUnhandledCudaError;
    }
    communicator->polls_left = !communicator->is_blocking && coin() ? 2 : 0;
    return communicator->polls_left ? ncclInProgress : ncclSuccess;
}

/* --- Communicators --- */

ncclResult_t join(ncclComm_t *handle, int ranks_count, ncclUniqueId id, int rank, bool is_blocking)
{
    Call call;
    uint64_t number;
    memcpy(&number, id.internal, sizeof number);
    if (rank < 0 || rank >= ranks_count || number == 0 || number > last_id) {
        return ncclInvalidArgument;
    }
    std::shared_ptr<Clique> &clique = cliques[number];
    clique = clique ? clique : std::make_shared<Clique>();
    clique->ranks_count = ranks_count;
    clique->joined_count++;
    machine.changed.notify_all();
    Shared communicator = std::make_shared<Communicator>();
    communicator->clique = clique;
    communicator->rank = rank;
    communicator->device = current_device;
    communicator->is_blocking = is_blocking;
    *handle = reinterpret_cast<ncclComm_t>(new Shared(communicator));
    if (group_depth > 0) {
        group_joins.push_back(communicator);
    } else if (is_blocking) {
        run_until(call, current_device, nullptr,
                  [&] { return communicator->clique->joined_count == ranks_count; });
    }
    return is_blocking || group_depth > 0 ? ncclSuccess : ncclInProgress;
}

} // namespace

extern "C" {

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const names[] = { "no error",       "unhandled cuda error", "system error",
                                         "internal error", "invalid argument",     "invalid usage",
                                         "remote error",   "in progress" };
    return result < sizeof names / sizeof names[0] ? names[result] : "unknown result";
}

const char *ncclGetLastError(ncclComm_t)
{
    return "emulated";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    Call call;
    memset(id, 0, sizeof *id);
    last_id++;
    memcpy(id->internal, &last_id, sizeof last_id);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *handle, int ranks_count, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    return join(handle, ranks_count, id, rank, !config || config->blocking != 0);
}

ncclResult_t ncclCommInitRank(ncclComm_t *handle, int ranks_count, ncclUniqueId id, int rank)
{
    return join(handle, ranks_count, id, rank, true);
}

ncclResult_t ncclGroupStart(void)
{
    group_depth++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    if (group_depth == 0) {
        return ncclInvalidUsage;
    }
    bool goes_on = false;
    if (--group_depth == 0) {
        Call call;
        for (const Shared &joined : group_joins) {
            goes_on = goes_on || !joined->is_blocking;
            if (joined->is_blocking) {
                run_until(call, joined->device, nullptr, [&] {
                    return joined->clique->joined_count == joined->clique->ranks_count;
                });
            }
        }
        group_joins.clear();
    }
    return goes_on ? ncclInProgress : ncclSuccess;
}

/* Each look lets all devices go one step further. */
ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t *result)
{
    Call call;
    Communicator &communicator = *shared(handle);
    const Clique &clique = *communicator.clique;
    bool goes_on = clique.joined_count < clique.ranks_count || communicator.polls_left > 0;
    communicator.polls_left -= communicator.polls_left > 0;
    *result = machine.devices[communicator.device].sticky ? ncclUnhandledCudaError
              : goes_on                                   ? ncclInProgress
                                                          : ncclSuccess;
    advance_others(nullptr, -1);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t handle)
{
    Call call;
    shared(handle)->is_aborted = true;
    machine.changed.notify_all();
    delete &shared(handle);
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle)
{
    return shared(handle)->is_blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t handle)
{
    Call call;
    delete &shared(handle);
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t handle, int *count)
{
    *count = shared(handle)->clique->ranks_count;
    return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t handle, int *rank)
{
    *rank = shared(handle)->rank;
    return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t handle, int *device)
{
    *device = shared(handle)->device;
    return ncclSuccess;
}

/* --- Collectives --- */

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclRedOp_t reduction, ncclComm_t handle, cudaStream_t stream)
{
    return enqueue_collective(handle, stream,
                              { Kind::all_reduce, send, receive, count, type, reduction, 0 });
}

ncclResult_t ncclReduce(const void *send, void *receive, size_t count, ncclDataType_t type,
                        ncclRedOp_t reduction, int root, ncclComm_t handle, cudaStream_t stream)
{
    return enqueue_collective(handle, stream,
                              { Kind::reduce, send, receive, count, type, reduction, root });
}

ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type,
                           int root, ncclComm_t handle, cudaStream_t stream)
{
    return enqueue_collective(handle, stream,
                              { Kind::broadcast, send, receive, count, type, ncclSum, root });
}

ncclResult_t ncclAllGather(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclComm_t handle, cudaStream_t stream)
{
    return enqueue_collective(handle, stream,
                              { Kind::all_gather, send, receive, count, type, ncclSum, 0 });
}

ncclResult_t ncclReduceScatter(const void *send, void *receive, size_t count, ncclDataType_t type,
                               ncclRedOp_t reduction, ncclComm_t handle, cudaStream_t stream)
{
    return enqueue_collective(handle, stream,
                              { Kind::reduce_scatter, send, receive, count, type, reduction, 0 });
}
}
