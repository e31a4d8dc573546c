/* What a kernel can call: warp operations, barriers, matrix fragments, asynchronous copies,
 * atomics, each against plain arithmetic.
 */
#include <csetjmp>
#include <cstdarg>
#include <cstdlib>
extern "C" {
#include <cmocka.h>
}

static void ok(cudaError_t error)
{
    if (error != cudaSuccess) {
        fail_msg("%s", cudaGetErrorName(error));
    }
}

/* Runs a kernel of one block that fills `out`, and returns what it left there. */
template <class T>
static std::vector<T> run(void (*kernel)(T *), unsigned threads, size_t count, unsigned blocks = 1)
{
    std::vector<T> result(count);
    void *out;
    ok(cudaMalloc(&out, count * sizeof(T)));
    ok(cudaMemset(out, 0, count * sizeof(T)));
    ok(CM_LAUNCH(kernel, blocks, threads, 0, nullptr, static_cast<T *>(out)));
    ok(cudaMemcpy(result.data(), out, count * sizeof(T), cudaMemcpyDeviceToHost));
    ok(cudaFree(out));
    return result;
}

/* --- Warp operations --- */

enum { SHUFFLES = 8 };

static __global__ void shuffle_all(int *out)
{
    int lane = threadIdx.x % 32, *own = out + SHUFFLES * threadIdx.x;
    own[0] = __shfl_sync(~0u, lane, lane + 5);
    own[1] = __shfl_xor_sync(~0u, lane, 6);
    own[2] = __shfl_down_sync(~0u, lane, 3u);
    own[3] = __shfl_up_sync(~0u, lane, 3u);
    own[4] = __shfl_sync(~0u, lane, 1, 8);
    own[5] = __shfl_down_sync(~0u, lane, 3u, 8);
    own[6] = __shfl_up_sync(~0u, lane, 3u, 8);
    own[7] = (int)__shfl_xor_sync(~0u, lane + 0.5, 1, 2); /* eight bytes */
}

static void shuffles(void **)
{
    auto out = run(shuffle_all, 64, 64 * SHUFFLES);
    for (int i = 0; i < 64; i++) {
        int lane = i % 32, group = lane / 8 * 8;
        const int expected[SHUFFLES] = { (lane + 5) % 32,
                                         lane ^ 6,
                                         lane + 3 < 32 ? lane + 3 : lane,
                                         lane >= 3 ? lane - 3 : lane,
                                         group + 1,
                                         lane + 3 < group + 8 ? lane + 3 : lane,
                                         lane >= group + 3 ? lane - 3 : lane,
                                         lane ^ 1 };
        for (int s = 0; s < SHUFFLES; s++) {
            assert_int_equal(out[(size_t)(SHUFFLES * i + s)], expected[s]);
        }
    }
}

enum { VOTES = 10 };

static __global__ void vote_all(unsigned *out)
{
    int lane = threadIdx.x % 32, all;
    unsigned *own = out + VOTES * threadIdx.x;
    own[0] = __ballot_sync(~0u, lane % 3 == 0);
    own[1] = (unsigned)__any_sync(~0u, lane == 31) + 2u * (unsigned)__all_sync(~0u, lane < 32) +
             4u * (unsigned)__any_sync(~0u, lane > 31) + 8u * (unsigned)__all_sync(~0u, lane);
    own[2] = __match_any_sync(~0u, lane / 4);
    own[3] = __match_all_sync(~0u, 7, &all) + (unsigned)all;
    own[4] = __match_all_sync(~0u, lane, &all) + (unsigned)all;
    own[5] = __reduce_add_sync(~0u, (unsigned)lane);
    own[6] = (unsigned)__reduce_min_sync(~0u, lane - 10);
    own[7] = __reduce_max_sync(~0u, (unsigned)(lane - 10));
    own[8] = __reduce_xor_sync(~0u, 1u << lane) & __reduce_or_sync(~0u, 1u << lane) &
             ~__reduce_and_sync(~0u, 1u << lane);
    own[9] = 0;
    if (lane >= 16) {
        own[9] = __ballot_sync(0xffff0000u, lane % 2);
    }
}

static void votes_and_reductions(void **)
{
    auto out = run(vote_all, 32, 32 * VOTES);
    for (unsigned lane = 0; lane < 32; lane++) {
        const unsigned expected[VOTES] = {
            0x49249249,      3,           0xfu << lane / 4 * 4, 0, 0, 496, (unsigned)-10,
            (unsigned)-1,    ~0u,         lane >= 16 ? 0xaaaa0000u : 0
        };
        for (unsigned v = 0; v < VOTES; v++) {
            assert_int_equal(out[VOTES * lane + v], expected[v]);
        }
    }
}

/* Lanes that have ended do not count, as on the device since Volta. */
static __global__ void leave_early(int *out)
{
    __shared__ int sum;
    if (threadIdx.x == 0) {
        sum = 0;
    }
    __syncthreads();
    if (threadIdx.x % 32 >= 20) {
        return;
    }
    atomicAdd(&sum, (int)__reduce_add_sync(0xfffffu, 1));
    __syncthreads();
    out[threadIdx.x] = sum + (int)__popc(__ballot_sync(~0u, 1));
}

static void lanes_that_have_ended(void **)
{
    auto out = run(leave_early, 64, 64);
    assert_int_equal(out[0], 2 * 20 * 20 + 20);
    assert_int_equal(out[51], 2 * 20 * 20 + 20);
}

/* --- Barriers, atomics, index variables --- */

static __global__ void count_votes(int *out)
{
    int odd = threadIdx.x % 2;
    int count = __syncthreads_count(odd), all = __syncthreads_and(odd), any = __syncthreads_or(odd);
    out[threadIdx.x] = 100 * count + 10 * all + any;
}

static __global__ void hand_over(int *out)
{
    __shared__ int box[64];
    if (threadIdx.x < 64) { /* two warps make, the other two take */
        box[threadIdx.x] = 3 * (int)threadIdx.x;
        cm_bar_sync(1, 128);
    } else {
        cm_bar_sync(1, 128);
        out[threadIdx.x - 64] = box[127 - threadIdx.x];
    }
}

static void barriers(void **)
{
    auto votes = run(count_votes, 96, 96);
    assert_int_equal(votes[0], 4801);
    assert_int_equal(votes[95], 4801);
    auto handed = run(hand_over, 128, 64);
    assert_int_equal(handed[0], 189);
    assert_int_equal(handed[63], 0);
}

static __global__ void count_up(unsigned *out)
{
    atomicAdd(&out[0], 1u);
    atomicMax(&out[1], blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(reinterpret_cast<float *>(&out[2]), 0.5f);
    atomicCAS(&out[3], 0u, 1 + threadIdx.x);
    atomicInc(&out[4], 9);
    atomicOr(&out[5], 1u << threadIdx.x);
}

static void atomics(void **)
{
    auto out = run(count_up, 32, 6, 5);
    assert_int_equal(out[0], 160);
    assert_int_equal(out[1], 159);
    assert_true(__uint_as_float(out[2]) == 80);
    assert_in_range(out[3], 1, 32);
    assert_int_equal(out[4], 0);
    assert_int_equal(out[5], ~0u);
}

/* The last block to finish sums up what all have left: needs a fence on both sides. */
static __global__ void last_block_sums(unsigned *out)
{
    __shared__ bool is_last;
    if (threadIdx.x == 0) {
        out[2 + blockIdx.x] = blockIdx.x + 1;
        __threadfence();
        is_last = atomicAdd(&out[0], 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        __threadfence();
        for (unsigned i = 0; i < gridDim.x; i++) {
            out[1] += out[2 + i];
        }
    }
}

static void last_block(void **)
{
    assert_int_equal(run(last_block_sums, 64, 12, 10)[1], 55);
}

/* --- Matrix fragments, as the PTX manual numbers them --- */

static float a_of(int row, int k)
{
    return (float)((row * 7 + k * 3) % 11 - 5);
}

static float b_of(int k, int column)
{
    return (float)((k * 5 + column * 2) % 9 - 4);
}

template <class T> static uint32_t pack(const float *values)
{
    const int per = 4 / sizeof(T);
    T elements[per];
    uint32_t bits;
    for (int i = 0; i < per; i++) {
        elements[i] = T(values[i]);
    }
    memcpy(&bits, elements, sizeof bits);
    return bits;
}

template <class T, class D, void (*mma)(D (&)[4], const uint32_t (&)[4], const uint32_t (&)[2],
                                        emu::Site)>
static __global__ void multiply(float *out)
{
    const int per = 4 / sizeof(T), lane = threadIdx.x, group = lane / 4, in_group = lane % 4;
    uint32_t a[4], b[2];
    D d[4] = { 1, 2, 3, 4 };
    for (int r = 0; r < 4; r++) {
        float values[per];
        for (int i = 0; i < per; i++) {
            values[i] = a_of(group + r % 2 * 8, in_group * per + i + r / 2 * 4 * per);
        }
        a[r] = pack<T>(values);
    }
    for (int r = 0; r < 2; r++) {
        float values[per];
        for (int i = 0; i < per; i++) {
            values[i] = b_of(in_group * per + i + r * 4 * per, group);
        }
        b[r] = pack<T>(values);
    }
    mma(d, a, b, emu::here());
    for (int r = 0; r < 4; r++) {
        out[(group + r / 2 * 8) * 8 + in_group * 2 + r % 2] = (float)(d[r] - (D)(r + 1));
    }
}

static void check_product(const std::vector<float> &d, int depth)
{
    for (int row = 0; row < 16; row++) {
        for (int column = 0; column < 8; column++) {
            float expected = 0;
            for (int k = 0; k < depth; k++) {
                expected += a_of(row, k) * b_of(k, column);
            }
            assert_true(d[(size_t)(row * 8 + column)] == expected);
        }
    }
}

static void matrix_products(void **)
{
    check_product(run(multiply<__nv_bfloat16, float, cm_mma_m16n8k16_bf16>, 32, 128), 16);
    check_product(run(multiply<__half, float, cm_mma_m16n8k16_f16>, 32, 128), 16);
    check_product(run(multiply<__nv_fp8_e4m3, float, cm_mma_m16n8k32_e4m3>, 32, 128), 32);
    check_product(run(multiply<int8_t, int32_t, cm_mma_m16n8k32_s8>, 32, 128), 32);
}

/* Matrix m holds 100 m + 10 row + column. */
template <bool transposed> static __global__ void load_fragments(uint32_t *out)
{
    __shared__ __align__(16) uint16_t tile[4][8][8];
    for (int i = threadIdx.x; i < 256; i += 32) {
        tile[i / 64][i / 8 % 8][i % 8] = (uint16_t)(100 * (i / 64) + 10 * (i / 8 % 8) + i % 8);
    }
    __syncwarp();
    uint32_t four[4], two[2];
    const void *row = tile[threadIdx.x / 8][threadIdx.x % 8];
    if (transposed) {
        cm_ldmatrix_x4_trans(four, row);
        cm_ldmatrix_x2_trans(two, row);
    } else {
        cm_ldmatrix_x4(four, row);
        cm_ldmatrix_x2(two, row);
    }
    for (int m = 0; m < 4; m++) {
        out[4 * threadIdx.x + m] = four[m];
        if (m < 2 && two[m] != four[m]) {
            out[4 * threadIdx.x + m] = 0;
        }
    }
}

static void matrix_loads(void **)
{
    auto plain = run(load_fragments<false>, 32, 128), turned = run(load_fragments<true>, 32, 128);
    for (unsigned lane = 0; lane < 32; lane++) {
        for (unsigned m = 0; m < 4; m++) {
            unsigned group = lane / 4, pair = lane % 4 * 2, first = 100 * m + 10 * group + pair;
            assert_int_equal(plain[4 * lane + m], first | (first + 1) << 16);
            first = 100 * m + 10 * pair + group;
            assert_int_equal(turned[4 * lane + m], first | (first + 10) << 16);
        }
    }
}

/* --- Asynchronous copies --- */

static __global__ void pipeline(float *out)
{
    __shared__ __align__(16) float tile[3][4];
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < 3; stage++) {
            cm_cp_async_16(tile[stage], out, stage != 1);
            cm_cp_async_commit();
        }
        cm_cp_async_wait<1>();
        out[4] = tile[0][2];
        out[5] = tile[1][2]; /* zeros, since it was not valid */
        cm_cp_async_wait<0>();
        out[6] = tile[2][2];
    }
}

static void asynchronous_copies(void **)
{
    float host[7] = { 1, 2, 3, 4, -1, -1, -1 };
    void *out;
    ok(cudaMalloc(&out, sizeof host));
    ok(cudaMemcpy(out, host, sizeof host, cudaMemcpyHostToDevice));
    ok(CM_LAUNCH(pipeline, 1, 32, 0, nullptr, static_cast<float *>(out)));
    ok(cudaMemcpy(host, out, sizeof host, cudaMemcpyDeviceToHost));
    assert_true(host[4] == 3 && host[5] == 0 && host[6] == 3);
    ok(cudaFree(out));
}

/* --- Intrinsics --- */

static __global__ void intrinsics_all(unsigned *out)
{
    out[0] = __byte_perm(0x03020100, 0x07060504, 0x7531);
    out[1] = __brev(1);
    out[2] = (unsigned)__clz(1) + 100u * (unsigned)__ffs(8) + 10000u * (unsigned)__popc(0xff);
    out[3] = __funnelshift_r(0x80000000u, 1, 31);
    out[4] = (unsigned)__dp4a(0x01ff0203, 0x02020202, 10);
    out[5] = __umulhi(0x80000000u, 6);
    out[6] = __float_as_uint(__fmaf_rn(3, 4, 0.5f));
    out[7] = (unsigned)(min(-3, 2) + max(5, 7));
}

static void intrinsics(void **)
{
    auto out = run(intrinsics_all, 1, 8);
    assert_int_equal(out[0], 0x07050301);
    assert_int_equal(out[1], 0x80000000u);
    assert_int_equal(out[2], 31 + 400 + 80000);
    assert_int_equal(out[3], 3);
    assert_int_equal(out[4], 10 + 2 * (1 - 1 + 2 + 3));
    assert_int_equal(out[5], 3);
    assert_true(__uint_as_float(out[6]) == 12.5f);
    assert_int_equal(out[7], 4);
}

int main()
{
    const CMUnitTest tests[] = {
        cmocka_unit_test(shuffles),
        cmocka_unit_test(votes_and_reductions),
        cmocka_unit_test(lanes_that_have_ended),
        cmocka_unit_test(barriers),
        cmocka_unit_test(atomics),
        cmocka_unit_test(last_block),
        cmocka_unit_test(matrix_products),
        cmocka_unit_test(matrix_loads),
        cmocka_unit_test(asynchronous_copies),
        cmocka_unit_test(intrinsics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
