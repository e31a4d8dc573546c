/* Small kernels with one mistake each, and the same without it: what the emulation must report, and
 * what it must not. `emulation_mistakes NAME right|wrong` runs one; test_mistakes.py says which
 * report belongs to which mistake, in which build.
 */
#ifndef COPYMILL_CUDA_EMULATED
#error "for the emulated device only"
#endif

#include <cstdlib>

namespace
{

const int threads = 64, count = 256;

/* --- Missing order --- */

template <bool wrong> static __global__ void reverse_block(float *out, const float *in)
{
    __shared__ float tile[threads];
    tile[threadIdx.x] = in[threadIdx.x];
    if (!wrong) {
        __syncthreads();
    }
    out[threadIdx.x] = tile[threads - 1 - threadIdx.x];
}

template <bool wrong> static __global__ void reuse_tile(float *out, const float *in)
{
    __shared__ float tile[threads];
    float sum = 0;
    for (int i = 0; i < count; i += threads) {
        tile[threadIdx.x] = in[i + threadIdx.x];
        __syncthreads();
        sum += tile[threads - 1 - threadIdx.x];
        if (!wrong) {
            __syncthreads(); /* or the next round overwrites what others have yet to read */
        }
    }
    out[threadIdx.x] = sum;
}

template <bool wrong> static __global__ void rotate_warp(float *out, const float *in)
{
    __shared__ float tile[threads];
    int warp = threadIdx.x / 32 * 32, lane = threadIdx.x % 32;
    tile[threadIdx.x] = in[threadIdx.x];
    if (!wrong) {
        __syncwarp();
    }
    out[threadIdx.x] = tile[warp + (lane + 1) % 32];
}

/* A shuffle is no fence: lanes meet, but what they wrote to shared memory need not be seen. */
template <bool wrong> static __global__ void shuffle_as_fence(float *out, const float *in)
{
    __shared__ float tile[threads];
    int warp = threadIdx.x / 32 * 32, lane = threadIdx.x % 32;
    tile[threadIdx.x] = in[threadIdx.x];
    float sum = __shfl_xor_sync(~0u, in[threadIdx.x], 1);
    if (!wrong) {
        __syncwarp();
    }
    out[threadIdx.x] = tile[warp + (lane + 1) % 32] + sum;
}

template <bool wrong> static __global__ void weak_wait(float *out, const float *in)
{
    __shared__ __align__(16) float tile[2][threads];
    for (int stage = 0; stage < 2; stage++) {
        if (threadIdx.x < threads / 4) {
            cm_cp_async_16(&tile[stage][4 * threadIdx.x], in + stage * threads + 4 * threadIdx.x,
                           true);
        }
        cm_cp_async_commit();
    }
    cm_cp_async_wait<wrong ? 1 : 0>();
    __syncthreads();
    out[threadIdx.x] = tile[0][threadIdx.x] + tile[1][threads - 1 - threadIdx.x];
}

/* --- Outside of memory --- */

template <bool wrong> static __global__ void static_row_short(float *out, const float *in)
{
    __shared__ float tile[wrong ? 7 : 8][8];
    __shared__ float sum[8]; /* what lies behind is not for the first array */
    tile[threadIdx.x / 8][threadIdx.x % 8] = in[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 8) {
        sum[threadIdx.x] = tile[threadIdx.x][7];
    }
    __syncthreads();
    out[threadIdx.x] = sum[threadIdx.x % 8];
}

static __global__ void use_dynamic(float *out, const float *in)
{
    CM_DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threads - 1 - threadIdx.x];
}

template <bool wrong> static __global__ void beyond_global(float *out, const float *in)
{
    out[threadIdx.x] = in[count - threads + threadIdx.x + (wrong ? 1 : 0)];
}

template <bool wrong> static __global__ void misaligned_load(float *out, const float *in)
{
    float4 four = *reinterpret_cast<const float4 *>(in + 4 * (threadIdx.x / 4) + (wrong ? 1 : 0));
    out[threadIdx.x] = four.x;
}

template <bool wrong> static __global__ void misaligned_matrix(float *out, const float *)
{
    __shared__ __align__(16) uint16_t tile[8 * 8 * 4 + 8];
    for (int i = threadIdx.x; i < 8 * 8 * 4 + 8; i += threads) {
        tile[i] = (uint16_t)i;
    }
    __syncthreads();
    uint32_t r[4];
    cm_ldmatrix_x4(r, tile + 8 * (threadIdx.x % 32) + (wrong ? 2 : 0));
    out[threadIdx.x] = (float)(r[0] + r[1] + r[2] + r[3]);
}

/* --- Threads that do not meet --- */

template <bool wrong> static __global__ void divergent_barrier(float *out, const float *in)
{
    if (wrong && threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = in[threadIdx.x];
}

template <bool wrong> static __global__ void barrier_in_a_branch(float *out, const float *in)
{
    if (!wrong || threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncwarp(~0u);
        cm_bar_sync(1, 64); /* nobody else comes */
    }
    out[threadIdx.x] = in[threadIdx.x];
}

template <bool wrong> static __global__ void shuffle_outside_mask(float *out, const float *in)
{
    float value = in[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        value += __shfl_xor_sync(0xffffu, value, wrong ? 16 : 8);
    }
    out[threadIdx.x] = value;
}

template <bool wrong> static __global__ void shuffle_in_a_branch(float *out, const float *in)
{
    float value = in[threadIdx.x];
    if (!wrong || threadIdx.x % 32 < 16) {
        value += __shfl_xor_sync(~0u, value, 1);
    } else {
        __syncwarp();
    }
    out[threadIdx.x] = value;
}

/* --- The host's side --- */

struct Buffers {
    float *in, *out;     /* on the device */
    float *pinned;       /* count floats 0, 1, ... */
    float result[threads];
};

void check(cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        fprintf(stderr, "%s: %s\n", what, cudaGetErrorName(error));
        exit(4);
    }
}

/* Results are finite unless something was read that nobody had written. */
void finish(Buffers &buffers)
{
    check(cudaMemcpy(buffers.result, buffers.out, sizeof buffers.result, cudaMemcpyDeviceToHost),
          "the result");
    for (float value : buffers.result) {
        if (!std::isfinite(value)) {
            fprintf(stderr, "wrong result: not a number\n");
            exit(3);
        }
    }
}

template <void (*kernel)(float *, const float *)> void launch(Buffers &buffers, bool)
{
    check(CM_LAUNCH(kernel, 1, threads, 0, nullptr, buffers.out, buffers.in), "the launch");
    finish(buffers);
}

void dynamic_row_short(Buffers &buffers, bool wrong)
{
    size_t bytes = sizeof(float) * (threads - (wrong ? 8 : 0));
    check(CM_LAUNCH(use_dynamic, 1, threads, bytes, nullptr, buffers.out, buffers.in), "launch");
    finish(buffers);
}

void host_touches_device(Buffers &buffers, bool wrong)
{
    check(cudaMemset(buffers.out, 0, sizeof buffers.result), "cudaMemset");
    if (wrong) {
        buffers.in[0] = 1;
    }
    finish(buffers);
}

void fresh_memory(Buffers &buffers, bool wrong)
{
    if (!wrong) {
        check(cudaMemset(buffers.out, 0, sizeof buffers.result), "cudaMemset");
    }
    finish(buffers);
}

void use_after_free(Buffers &buffers, bool wrong)
{
    float *in = buffers.in;
    if (wrong) {
        check(cudaFree(in), "cudaFree");
    }
    check(CM_LAUNCH((beyond_global<false>), 1, threads, 0, nullptr, buffers.out, in), "launch");
    finish(buffers);
}

/* A copy from page-locked memory reads it when it runs, not when it is asked for. */
void pinned_too_early(Buffers &buffers, bool wrong)
{
    cudaStream_t stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaMemcpyAsync(buffers.out, buffers.pinned, sizeof buffers.result,
                          cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync");
    if (!wrong) {
        check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    }
    for (int i = 0; i < threads; i++) {
        buffers.pinned[i] = NAN;
    }
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    finish(buffers);
}

const struct {
    const char *name;
    void (*right)(Buffers &, bool), (*wrong)(Buffers &, bool);
} mistakes[] = {
#define KERNEL(name) { #name, launch<name<false>>, launch<name<true>> }
    KERNEL(reverse_block),
    KERNEL(reuse_tile),
    KERNEL(rotate_warp),
    KERNEL(shuffle_as_fence),
    KERNEL(weak_wait),
    KERNEL(static_row_short),
    KERNEL(beyond_global),
    KERNEL(misaligned_load),
    KERNEL(misaligned_matrix),
    KERNEL(divergent_barrier),
    KERNEL(barrier_in_a_branch),
    KERNEL(shuffle_outside_mask),
    KERNEL(shuffle_in_a_branch),
#undef KERNEL
#define HOST(name) { #name, name, name }
    HOST(dynamic_row_short),
    HOST(host_touches_device),
    HOST(fresh_memory),
    HOST(use_after_free),
    HOST(pinned_too_early),
#undef HOST
};

} // namespace

int main(int argc, char **argv)
{
    Buffers buffers;
    for (const auto &mistake : mistakes) {
        if (argc == 3 && strcmp(argv[1], mistake.name) == 0) {
            bool wrong = strcmp(argv[2], "wrong") == 0;
            void *pinned;
            check(cudaMalloc((void **)&buffers.in, count * sizeof(float)), "cudaMalloc");
            check(cudaMalloc((void **)&buffers.out, sizeof buffers.result), "cudaMalloc");
            check(cudaMallocHost(&pinned, count * sizeof(float)), "cudaMallocHost");
            buffers.pinned = static_cast<float *>(pinned);
            for (int i = 0; i < count; i++) {
                buffers.pinned[i] = (float)i;
            }
            check(cudaMemcpy(buffers.in, pinned, count * sizeof(float), cudaMemcpyHostToDevice),
                  "cudaMemcpy");
            (wrong ? mistake.wrong : mistake.right)(buffers, wrong);
            check(cudaFree(buffers.in), "cudaFree");
            check(cudaFree(buffers.out), "cudaFree");
            check(cudaFreeHost(pinned), "cudaFreeHost");
            return 0;
        }
    }
    fprintf(stderr, "usage: emulation_mistakes NAME right|wrong\n");
    return 2;
}
