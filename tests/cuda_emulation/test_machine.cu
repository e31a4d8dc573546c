/* The machine behind the API: order between streams, graphs, copies, errors, faults, matrix
 * products, ranks. Kernels are trivial here; test_device.cu is about those.
 */
#include "machine.h"

#include <cublasLt.h>
#include <nccl.h>

#include <csetjmp>
#include <cstdarg>
#include <cstdlib>
#include <thread>
extern "C" {
#include <cmocka.h>
}

static __global__ void add_one(float *x, int count)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) {
        x[i] += 1;
    }
}

static const int count = 100;
static const size_t bytes = count * sizeof(float);

static void ok(cudaError_t error)
{
    if (error != cudaSuccess) {
        fail_msg("%s", cudaGetErrorName(error));
    }
}

static float *device_floats(float value)
{
    std::vector<float> host(count, value);
    void *floats;
    ok(cudaMalloc(&floats, bytes));
    ok(cudaMemcpy(floats, host.data(), bytes, cudaMemcpyHostToDevice));
    return static_cast<float *>(floats);
}

static float *pinned_floats(float value)
{
    void *floats;
    ok(cudaMallocHost(&floats, bytes));
    std::fill_n(static_cast<float *>(floats), count, value);
    return static_cast<float *>(floats);
}

static cudaStream_t new_stream()
{
    cudaStream_t stream;
    ok(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    return stream;
}

static cudaError_t launch_add_one(float *x, cudaStream_t stream)
{
    return CM_LAUNCH(add_one, 4, 32, 0, stream, x, count);
}

static float first_of(const float *device)
{
    float value = 0;
    ok(cudaMemcpy(&value, device, sizeof value, cudaMemcpyDeviceToHost));
    return value;
}

static int reset(void **)
{
    unsetenv("EMU_FAULT");
    setenv("EMU_DEVICES", "2", 1);
    setenv("EMU_MEMORY_MB", "16", 1);
    emu::turn_off();
    return 0;
}

/* --- Streams, events, copies --- */

static void streams_are_lazy(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0);
    ok(launch_add_one(x, stream));
    assert_true(first_of(x) == 0); /* the default stream does not wait for this one */
    assert_int_equal(cudaStreamQuery(stream), cudaErrorNotReady);
    ok(cudaStreamSynchronize(stream));
    assert_int_equal(cudaStreamQuery(stream), cudaSuccess);
    assert_true(first_of(x) == 1);
    ok(cudaStreamDestroy(stream));
    ok(cudaFree(x));
}

static void queries_make_progress(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0);
    cudaEvent_t event;
    ok(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    ok(launch_add_one(x, stream));
    ok(cudaEventRecord(event, stream));
    int polls = 0;
    while (cudaEventQuery(event) == cudaErrorNotReady) {
        polls++;
    }
    assert_int_equal(polls, 2);
    assert_true(first_of(x) == 1);
    ok(cudaEventDestroy(event));
    ok(cudaFree(x));
}

static void events_order_streams(void **)
{
    cudaStream_t first = new_stream(), second = new_stream();
    float *x = device_floats(0), *from = pinned_floats(5), *to = pinned_floats(0);
    cudaEvent_t copied;
    ok(cudaEventCreateWithFlags(&copied, cudaEventDisableTiming));
    ok(cudaMemcpyAsync(x, from, bytes, cudaMemcpyHostToDevice, first));
    ok(cudaEventRecord(copied, first));
    ok(cudaStreamWaitEvent(second, copied, 0));
    ok(launch_add_one(x, second));
    ok(cudaMemcpyAsync(to, x, bytes, cudaMemcpyDeviceToHost, second));
    assert_true(to[0] == 0);
    ok(cudaStreamSynchronize(second));
    assert_true(to[0] == 6 && to[count - 1] == 6);
    ok(cudaEventDestroy(copied));
    ok(cudaFreeHost(from));
    ok(cudaFreeHost(to));
    ok(cudaFree(x));
}

static void pageable_copies_are_snapshots(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0), host[count] = { 3 };
    ok(cudaMemcpyAsync(x, host, bytes, cudaMemcpyHostToDevice, stream));
    host[0] = 4;
    ok(cudaStreamSynchronize(stream));
    assert_true(first_of(x) == 3);
    ok(cudaFree(x));
}

static void copies_stay_inside(void **)
{
    float *x = device_floats(0);
    std::vector<float> host(count + 1);
    assert_int_equal(cudaMemcpy(x, host.data(), bytes + 4, cudaMemcpyHostToDevice),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(x, host.data(), bytes, cudaMemcpyDeviceToHost),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaMemset(x + 1, 0, bytes), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    ok(cudaFree(x));
}

/* --- Graphs --- */

static cudaGraphExec_t capture_add_one(cudaStream_t stream, float *x, int times)
{
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    for (int i = 0; i < times; i++) {
        ok(launch_add_one(x, stream));
    }
    ok(cudaStreamEndCapture(stream, &graph));
    ok(cudaGraphInstantiate(&executable, graph, 0));
    ok(cudaGraphDestroy(graph));
    return executable;
}

static void copies_between_devices_name_both(void **)
{
    float *from = device_floats(3);
    ok(cudaSetDevice(1));
    float *to = device_floats(0);
    cudaStream_t stream = new_stream();
    assert_int_equal(cudaMemcpyPeerAsync(to, 0, from, 0, 4, stream), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpyPeerAsync(to, 1, from, 1, 4, stream), cudaErrorInvalidValue);
    ok(cudaMemcpyPeerAsync(to, 1, from, 0, 4, stream));
    ok(cudaStreamSynchronize(stream));
    assert_true(first_of(to) == 3);
    ok(cudaFree(to));
    ok(cudaStreamDestroy(stream));
    ok(cudaSetDevice(0));
    ok(cudaFree(from));
}

static void graphs_replay(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0);
    cudaGraphExec_t graph = capture_add_one(stream, x, 3);
    assert_true(first_of(x) == 0);
    ok(cudaGraphLaunch(graph, stream));
    ok(cudaGraphLaunch(graph, stream));
    ok(cudaStreamSynchronize(stream));
    assert_true(first_of(x) == 6);
    ok(cudaGraphExecDestroy(graph));
    ok(cudaFree(x));
}

static void a_capture_forks_and_joins(void **)
{
    cudaStream_t stream = new_stream(), side = new_stream();
    float *x = device_floats(0), *y = device_floats(10);
    cudaEvent_t fork, join;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    ok(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming));
    ok(cudaEventCreateWithFlags(&join, cudaEventDisableTiming));
    ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    ok(cudaEventRecord(fork, stream));
    ok(cudaStreamWaitEvent(side, fork, 0));
    ok(launch_add_one(y, side));
    ok(launch_add_one(x, stream));
    ok(cudaEventRecord(join, side));
    ok(cudaStreamWaitEvent(stream, join, 0));
    ok(cudaStreamEndCapture(stream, &graph));
    ok(cudaGraphInstantiate(&executable, graph, 0));
    ok(cudaGraphLaunch(executable, stream));
    ok(cudaStreamSynchronize(stream));
    assert_true(first_of(x) == 1 && first_of(y) == 11);
    ok(cudaGraphDestroy(graph));
    ok(cudaGraphExecDestroy(executable));
    ok(cudaEventDestroy(fork));
    ok(cudaEventDestroy(join));
    ok(cudaFree(x));
    ok(cudaFree(y));
}

static void a_capture_refuses_to_wait(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0), host[count];
    cudaGraph_t graph;
    void *more;
    for (int what = 0; what < 4; what++) {
        ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
        ok(launch_add_one(x, stream));
        cudaError_t error = what == 0   ? cudaStreamSynchronize(stream)
                            : what == 1 ? cudaMalloc(&more, 16)
                            : what == 2
                                ? cudaMemcpyAsync(x, host, bytes, cudaMemcpyHostToDevice, stream)
                                : cudaDeviceSynchronize();
        assert_int_equal(error, cudaErrorStreamCaptureUnsupported);
        assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    }
    ok(cudaFree(x));
}

/* The default stream of a device waits for the streams of that device alone. */
static void a_capture_minds_its_own_device(void **)
{
    cudaStream_t stream = new_stream();
    float *x = device_floats(0);
    cudaGraph_t graph;
    ok(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    ok(launch_add_one(x, stream));
    std::vector<float> host(count, 1);
    void *y;
    std::thread other([&] {
        ok(cudaSetDevice(1));
        ok(cudaMalloc(&y, bytes));
        ok(cudaMemcpy(y, host.data(), bytes, cudaMemcpyHostToDevice));
    });
    other.join();
    ok(cudaSetDevice(0));
    ok(cudaStreamEndCapture(stream, &graph));
    ok(cudaGraphDestroy(graph));
    ok(cudaFree(x));
    ok(cudaFree(y));
}

/* --- Limits and faults --- */

static void memory_is_limited(void **)
{
    size_t free_before, free_now, total;
    void *much, *more;
    ok(cudaMemGetInfo(&free_before, &total));
    assert_int_equal(free_before, total);
    ok(cudaMalloc(&much, total / 2));
    ok(cudaMemGetInfo(&free_now, &total));
    assert_int_equal(free_now, total - total / 2);
    assert_int_equal(cudaMalloc(&more, total / 2 + 1), cudaErrorMemoryAllocation);
    ok(cudaFree(much));
    ok(cudaMalloc(&more, total));
    ok(cudaFree(more));
    assert_int_equal(cudaFree(more), cudaErrorInvalidValue);
}

static void launches_are_checked(void **)
{
    float *x = device_floats(0);
    assert_int_equal(CM_LAUNCH(add_one, 0, 32, 0, nullptr, x, count),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(CM_LAUNCH(add_one, 1, 1025, 0, nullptr, x, count),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(CM_LAUNCH(add_one, 1, 32, 49 << 10, nullptr, x, count),
                     cudaErrorInvalidConfiguration);
    ok(cudaFuncSetAttribute((const void *)add_one, cudaFuncAttributeMaxDynamicSharedMemorySize,
                            49 << 10));
    ok(CM_LAUNCH(add_one, 1, 32, 49 << 10, nullptr, x, count));
    cudaStream_t stream = new_stream();
    ok(cudaSetDevice(1));
    assert_int_equal(launch_add_one(x, stream), cudaErrorInvalidResourceHandle);
    ok(cudaSetDevice(0));
    ok(cudaFree(x));
}

static void the_nth_allocation_fails(void **)
{
    setenv("EMU_FAULT", "malloc:2", 1);
    void *first, *second, *third;
    ok(cudaMalloc(&first, 16));
    assert_int_equal(cudaMalloc(&second, 16), cudaErrorMemoryAllocation);
    ok(cudaMalloc(&third, 16));
    ok(cudaFree(first));
    ok(cudaFree(third));
}

static void a_device_dies_and_stays_dead(void **)
{
    setenv("EMU_FAULT", "device:0:2", 1);
    cudaStream_t stream = new_stream();
    float *x = device_floats(0), host;
    for (int i = 0; i < 3; i++) {
        ok(launch_add_one(x, stream)); /* errors of a kernel come with a later call */
    }
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorLaunchFailure);
    assert_int_equal(launch_add_one(x, stream), cudaErrorLaunchFailure);
    assert_int_equal(cudaMemcpy(&host, x, 4, cudaMemcpyDeviceToHost), cudaErrorLaunchFailure);
    assert_int_equal(cudaFree(x), cudaErrorLaunchFailure);
    assert_int_equal(cudaGetLastError(), cudaErrorLaunchFailure);
    ok(cudaSetDevice(1)); /* the other one lives */
    x = device_floats(1);
    ok(launch_add_one(x, nullptr));
    assert_true(first_of(x) == 2);
    ok(cudaFree(x));
    assert_int_equal(cudaSetDevice(0), cudaErrorLaunchFailure);
    emu::current_device = 0;
}

/* --- Matrix products --- */

struct Shape {
    int m, n, k;
    bool uses_heuristic_per_call;
};

/* y[n][m] = x[n][k] w[m][k]^T + bias, with the algorithm that is chosen for 64 rows. */
static std::vector<float> multiply(const Shape &shape, const std::vector<float> &w,
                                   const std::vector<float> &x, const std::vector<float> &bias)
{
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint64_t chosen_for = shape.uses_heuristic_per_call ? (uint64_t)shape.n : 64;
    const uint64_t n = (uint64_t)shape.n, m = (uint64_t)shape.m, k = (uint64_t)shape.k;
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, d;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t found;
    int found_count;
    void *memory[4];
    std::vector<float> y(n * m);
    const size_t sizes[] = { w.size(), x.size(), bias.size(), y.size() };
    const float *sources[] = { w.data(), x.data(), bias.data() };
    for (int i = 0; i < 4; i++) {
        ok(cudaMalloc(&memory[i], sizes[i] * sizeof(float)));
        if (i < 3) {
            ok(cudaMemcpy(memory[i], sources[i], sizes[i] * sizeof(float), cudaMemcpyHostToDevice));
        }
    }
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, 4);
    cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, 4);
    cublasLtMatmulDescSetAttribute(product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &memory[2], 8);
    cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, k, m, shape.k);
    cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, k, chosen_for, shape.k);
    cublasLtMatrixLayoutCreate(&d, CUDA_R_32F, m, chosen_for, shape.m);
    cublasLtMatmulPreferenceCreate(&preference);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &reductions, sizeof reductions);
    assert_int_equal(cublasLtMatmulAlgoGetHeuristic(handle, product, a, b, d, d, preference, 1,
                                                    &found, &found_count),
                     CUBLAS_STATUS_SUCCESS);
    cublasLtMatrixLayoutSetAttribute(b, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    cublasLtMatrixLayoutSetAttribute(d, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    const float one = 1, zero = 0;
    assert_int_equal(cublasLtMatmul(handle, product, &one, memory[0], a, memory[1], b, &zero,
                                    memory[3], d, memory[3], d, &found.algo, nullptr, 0, nullptr),
                     CUBLAS_STATUS_SUCCESS);
    ok(cudaMemcpy(y.data(), memory[3], y.size() * sizeof(float), cudaMemcpyDeviceToHost));
    for (void *each : memory) {
        ok(cudaFree(each));
    }
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatrixLayoutDestroy(a);
    cublasLtMatrixLayoutDestroy(b);
    cublasLtMatrixLayoutDestroy(d);
    cublasLtMatmulDescDestroy(product);
    cublasLtDestroy(handle);
    return y;
}

static void products_do_not_depend_on_the_number_of_rows(void **)
{
    const int m = 5, k = 67, n_max = 40;
    std::vector<float> w(m * k), x(n_max * k), bias(m);
    for (size_t i = 0; i < w.size(); i++) {
        w[i] = sinf((float)i);
    }
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = cosf((float)i * 0.7f);
    }
    for (int i = 0; i < m; i++) {
        bias[(size_t)i] = (float)i;
    }
    auto all = multiply({ m, n_max, k, false }, w, x, bias);
    for (int row = 0; row < n_max; row++) {
        for (int i = 0; i < m; i++) {
            double expected = bias[(size_t)i];
            for (int j = 0; j < k; j++) {
                expected += (double)w[(size_t)(i * k + j)] * x[(size_t)(row * k + j)];
            }
            assert_true(fabs(all[(size_t)(row * m + i)] - expected) < 1e-4);
        }
    }
    std::vector<float> first(x.begin(), x.begin() + k);
    auto alone = multiply({ m, 1, k, false }, w, first, bias);
    assert_memory_equal(alone.data(), all.data(), m * sizeof(float));
    alone = multiply({ m, 1, k, true }, w, first, bias); /* a caller who asks anew finds out */
    assert_memory_not_equal(alone.data(), all.data(), m * sizeof(float));
}

/* --- Ranks --- */

struct Rank {
    ncclComm_t communicator;
    cudaStream_t stream;
    float *x;
};

static ncclResult_t wait_for(ncclComm_t communicator)
{
    ncclResult_t result = ncclInProgress;
    while (result == ncclInProgress) {
        ncclCommGetAsyncError(communicator, &result);
    }
    return result;
}

static Rank new_rank(int rank, ncclUniqueId id)
{
    Rank made;
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ok(cudaSetDevice(rank));
    ncclCommInitRankConfig(&made.communicator, 2, id, rank, &config);
    assert_int_equal(wait_for(made.communicator), ncclSuccess);
    made.stream = new_stream();
    made.x = device_floats((float)(1 + rank));
    return made;
}

static void sum_ranks(int device, ncclUniqueId id, float *result, bool uses_graph)
{
    Rank rank = new_rank(device, id);
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable;
    if (uses_graph) {
        ok(cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeThreadLocal));
    }
    ok(launch_add_one(rank.x, rank.stream));
    ncclAllReduce(rank.x, rank.x, count, ncclFloat32, ncclSum, rank.communicator, rank.stream);
    assert_int_equal(wait_for(rank.communicator), ncclSuccess);
    if (uses_graph) {
        ok(cudaStreamEndCapture(rank.stream, &graph));
        ok(cudaGraphInstantiate(&executable, graph, 0));
        ok(cudaGraphLaunch(executable, rank.stream));
        ok(cudaGraphLaunch(executable, rank.stream));
        ok(cudaGraphDestroy(graph));
    }
    ok(cudaStreamSynchronize(rank.stream));
    if (uses_graph) {
        ok(cudaGraphExecDestroy(executable));
    }
    *result = first_of(rank.x);
    ncclCommDestroy(rank.communicator);
    ok(cudaFree(rank.x));
}

static void ranks_of_threads_meet(void **)
{
    for (int uses_graph = 0; uses_graph < 2; uses_graph++) {
        ncclUniqueId id;
        float results[2];
        ncclGetUniqueId(&id);
        std::thread other(sum_ranks, 1, id, &results[1], uses_graph);
        sum_ranks(0, id, &results[0], uses_graph);
        other.join();
        float expected = uses_graph ? 12 : 5; /* (2 + 3), then (6 + 6) */
        assert_true(results[0] == expected && results[1] == expected);
        ok(cudaSetDevice(0));
    }
}

static void a_rank_that_hangs_is_aborted(void **)
{
    setenv("EMU_FAULT", "hang:1:1", 1);
    ncclUniqueId id;
    ncclGetUniqueId(&id);
    Rank ranks[2];
    std::thread other([&] { ranks[1] = new_rank(1, id); });
    ranks[0] = new_rank(0, id);
    other.join();
    for (int i = 0; i < 2; i++) {
        ok(cudaSetDevice(i));
        ncclAllReduce(ranks[i].x, ranks[i].x, count, ncclFloat32, ncclSum, ranks[i].communicator,
                      ranks[i].stream);
    }
    for (int polls = 0; polls < 100; polls++) {
        assert_int_equal(cudaStreamQuery(ranks[0].stream), cudaErrorNotReady);
    }
    for (Rank &rank : ranks) {
        ncclCommAbort(rank.communicator);
    }
    for (int i = 0; i < 2; i++) {
        ok(cudaSetDevice(i));
        ok(cudaStreamSynchronize(ranks[i].stream));
        ok(cudaFree(ranks[i].x));
    }
    ok(cudaSetDevice(0));
}

int main()
{
    const CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, reset)
        TEST(streams_are_lazy),
        TEST(queries_make_progress),
        TEST(events_order_streams),
        TEST(pageable_copies_are_snapshots),
        TEST(copies_stay_inside),
        TEST(copies_between_devices_name_both),
        TEST(graphs_replay),
        TEST(a_capture_forks_and_joins),
        TEST(a_capture_refuses_to_wait),
        TEST(a_capture_minds_its_own_device),
        TEST(memory_is_limited),
        TEST(launches_are_checked),
        TEST(the_nth_allocation_fails),
        TEST(a_device_dies_and_stays_dead),
        TEST(products_do_not_depend_on_the_number_of_rows),
        TEST(ranks_of_threads_meet),
        TEST(a_rank_that_hangs_is_aborted),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
