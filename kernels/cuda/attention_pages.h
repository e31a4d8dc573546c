/* How pages come into shared memory for attention_mma.cu: the block walks over the visits that
 * concern its rows and copies a few pages at a time, asynchronously, while the ones before are
 * computed. Pages of float16 are used as they come. Pages of e4m3 come into a buffer of their own
 * and are made float16 when their turn has come: each is a float16 times a power of two that
 * float16 holds exactly, so nothing is rounded. */
#ifndef CM_KERNELS_CUDA_ATTENTION_PAGES_H
#define CM_KERNELS_CUDA_ATTENTION_PAGES_H

#include "kernels/cuda/attention_split.h"

#include <type_traits>

enum {
    TILE = 16, /* queries of a warp */
    STAGES = 2,
};

/* How many times 32 visits are on their way while those before are looked at. */
template <int D> constexpr int visits_ahead = D > 128 ? 0 : 3; /* registers are short */

/* Pages of a stage, for blocks of W warps: wide blocks have few stages to wait for, narrow ones
 * leave room for each other. */
template <int D, int W> constexpr int stage_pages = D > 128 ? 1 : W > 1 ? 4 : D > 64 ? 1 : 2;

/* Pages as they stand in memory, for what is not float16 there. */
template <int D, bool FP8, int W> struct raw_pages {
};

template <int D, int W> struct raw_pages<D, true, W> {
    static constexpr int pages = stage_pages<D, W>;
    uint8_t keys[STAGES][pages][CM_PAGE_TOKENS + 1][D]; /* the last: exponents */
    uint8_t values[STAGES][pages][CM_PAGE_TOKENS + 1][D];
};

/* Shared memory for head size D and W warps. Rows are longer by 16 bytes, an odd number of 16-byte
 * pieces, so that the eight rows of an ldmatrix lie in different banks. */
template <int D, bool FP8, int W> struct layout {
    static constexpr int pages = stage_pages<D, W>;
    static constexpr int queries = W * TILE;
    static constexpr int pitch = D + 8;
    static constexpr int stages = FP8 ? 1 : STAGES; /* of float16 */
    __half q[queries][pitch];
    __half keys[stages][pages][CM_PAGE_TOKENS][pitch];
    __half values[stages][pages][CM_PAGE_TOKENS][pitch];
    struct raw_pages<D, FP8, W> raw;
    struct cm_visit visits[STAGES][pages];
    int32_t positions[CM_ATTENTION_CHUNK_ROWS];
};

/* Walks over the visits that concern the block's rows; the same in every warp, but for `seen`. */
template <int A> struct cursor {
    const struct cm_visit *visits;
    int32_t end;
    int32_t base;                /* of the 32 visits looked at last ... */
    struct cm_visit seen[1 + A]; /* ... of which a lane holds one, and of those behind */
    unsigned pending;            /* those of them that concern us, not yet taken */
    int32_t first_row;
    int32_t last_row;
    struct reach reach;
};

/* The lane's visit from `base` on; one of no rows behind the end. */
template <int A>
static __device__ __forceinline__ struct cm_visit visit_at(const struct cursor<A> &cursor,
                                                           int32_t base)
{
    int32_t at = base + (int32_t)(threadIdx.x % 32);
    struct cm_visit none = { 0, 0, 0, 0 };
    return at < cursor.end ? cursor.visits[at] : none;
}

template <int A> static __device__ __forceinline__ void start_cursor(struct cursor<A> &cursor)
{
#pragma unroll
    for (int i = 0; i < A; i++) {
        cursor.seen[1 + i] = visit_at(cursor, cursor.base + 32 * (1 + i));
    }
}

/* The next visit; false: there is none. A search of a long list would wait for memory with every 32
 * visits, if they were not asked for ahead. */
template <int A>
static __device__ __forceinline__ bool next_visit(struct cursor<A> &cursor, struct cm_visit *visit)
{
    while (cursor.pending == 0) {
        cursor.base += 32;
        if (cursor.base >= cursor.end) {
            return false;
        }
#pragma unroll
        for (int i = 0; i < A; i++) {
            cursor.seen[i] = cursor.seen[1 + i];
        }
        cursor.seen[A] = visit_at(cursor, cursor.base + 32 * A);
        const struct cm_visit &seen = cursor.seen[0];
        bool ours = seen.row_begin <= cursor.last_row && seen.row_end > cursor.first_row &&
                    seen.first_position >= cursor.reach.begin &&
                    seen.first_position < cursor.reach.end;
        cursor.pending = __ballot_sync(0xffffffffu, ours);
    }
    int lane = __ffs((int)cursor.pending) - 1;
    cursor.pending &= cursor.pending - 1;
    visit->page = __shfl_sync(0xffffffffu, cursor.seen[0].page, lane);
    visit->first_position = __shfl_sync(0xffffffffu, cursor.seen[0].first_position, lane);
    visit->row_begin = __shfl_sync(0xffffffffu, cursor.seen[0].row_begin, lane);
    visit->row_end = __shfl_sync(0xffffffffu, cursor.seen[0].row_end, lane);
    return true;
}

/* Positions of the page that somebody has written: those up to the last of its visitors'. */
static __device__ __forceinline__ int32_t written_slots(const struct cm_visit &visit,
                                                        const struct cm_attention_chunk &chunk,
                                                        const struct reach &reach,
                                                        const int32_t *positions)
{
    if (visit.first_position + CM_PAGE_TOKENS <= reach.lowest + 1) {
        return CM_PAGE_TOKENS; /* all rows are past it */
    }
    int32_t lane = (int32_t)(threadIdx.x % 32);
    int32_t row = chunk.row_begin + lane;
    bool visits = row < chunk.row_end && row >= visit.row_begin && row < visit.row_end;
    int32_t last = __reduce_max_sync(0xffffffffu, visits ? positions[lane] : -1);
    return last - visit.first_position + 1;
}

/* Starts copying pieces of 16 bytes from slots of a page, `pieces` of each, into rows of `pitch`
 * bytes; slots that nobody has written arrive as zeros. Where a warp takes whole slots, a thread's
 * pieces lie at fixed distances, which cost no arithmetic. */
template <int pieces, int pitch, int W>
static __device__ __forceinline__ void copy_slots(const unsigned char *from, int32_t written,
                                                  unsigned char *to)
{
    if constexpr (32 * W % pieces == 0) {
        constexpr int slots = 32 * W / pieces; /* at a time */
        const int first = (int)threadIdx.x / pieces;
        const int column = (int)threadIdx.x % pieces * 16;
        from += first * pieces * 16 + column;
        to += first * pitch + column;
#pragma unroll
        for (int slot = 0; slot < CM_PAGE_TOKENS; slot += slots) {
            if (slots <= CM_PAGE_TOKENS || first < CM_PAGE_TOKENS) {
                cm_cp_async_16(to + slot * pitch, from + slot * pieces * 16,
                               slot + first < written);
            }
        }
    } else {
        for (int i = (int)threadIdx.x; i < CM_PAGE_TOKENS * pieces; i += 32 * W) {
            int slot = i / pieces;
            cm_cp_async_16(to + slot * pitch + i % pieces * 16, from + i * 16, slot < written);
        }
    }
}

/* Starts copying a page of float16. */
template <int D, int W>
static __device__ __forceinline__ void copy_page(const __half *keys, size_t values_stride,
                                                 int32_t written, int stage, int page,
                                                 layout<D, false, W> *shared)
{
    constexpr int pitch = layout<D, false, W>::pitch * (int)sizeof(__half);
    copy_slots<D / 8, pitch, W>((const unsigned char *)keys, written,
                                (unsigned char *)shared->keys[stage][page]);
    copy_slots<D / 8, pitch, W>((const unsigned char *)(keys + values_stride), written,
                                (unsigned char *)shared->values[stage][page]);
}

/* The same of e4m3, and the exponents behind. */
template <int D, int W>
static __device__ __forceinline__ void copy_page(const uint8_t *keys, size_t values_stride,
                                                 int32_t written, int stage, int page,
                                                 layout<D, true, W> *shared)
{
    const uint8_t *const from[2] = { keys, keys + values_stride };
    uint8_t *const to[2] = { &shared->raw.keys[stage][page][0][0],
                             &shared->raw.values[stage][page][0][0] };
#pragma unroll
    for (int i = 0; i < 2; i++) {
        copy_slots<D / 16, D, W>(from[i], written, to[i]);
        if (threadIdx.x == 0) {
            cm_cp_async_16(to[i] + CM_PAGE_TOKENS * D, from[i] + CM_PAGE_TOKENS * D, true);
        }
    }
}

/* Starts copying the next pages; returns how many. */
template <int D, bool FP8, int W>
static __device__ __forceinline__ int
start_stage(const struct cm_attention_args &args, const struct cm_cuda_kv &kv,
            const struct cm_attention_chunk &chunk, struct cursor<visits_ahead<D>> &cursor,
            int stage, layout<D, FP8, W> *shared)
{
    using element = std::conditional_t<FP8, uint8_t, __half>;
    int count = 0;
    for (; count < stage_pages<D, W>; count++) {
        struct cm_visit visit;
        if (!next_visit(cursor, &visit)) {
            break;
        }
        int32_t written = written_slots(visit, chunk, cursor.reach, shared->positions);
        const element *keys = (const element *)kv.pages + (size_t)visit.page * kv.page_stride +
                              args.layer * kv.layer_stride + blockIdx.y * kv.head_stride;
        copy_page(keys, kv.values_stride, written, stage, count, shared);
        if (threadIdx.x == 0) {
            shared->visits[stage][count] = visit;
        }
    }
    cm_cp_async_commit();
    return count;
}

/* Sixteen e4m3 times 2^exponent, to float16. */
static __device__ __forceinline__ void widen(const uint8_t *from, int exponent, __half *to)
{
    uint4 codes = *reinterpret_cast<const uint4 *>(from);
    const uint32_t words[4] = { codes.x, codes.y, codes.z, codes.w };
    __half2 factor = __float2half2_rn(256.0f * power_of_slot(exponent));
    uint32_t halves[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t bits = half2_of_e4m3(__byte_perm(words[i / 2], 0, i % 2 == 0 ? 0x4140 : 0x4342));
        __half2 value = __hmul2(*reinterpret_cast<__half2 *>(&bits), factor);
        halves[i] = *reinterpret_cast<uint32_t *>(&value);
    }
    uint4 *out = reinterpret_cast<uint4 *>(to);
    out[0] = make_uint4(halves[0], halves[1], halves[2], halves[3]);
    out[1] = make_uint4(halves[4], halves[5], halves[6], halves[7]);
}

/* Makes the pages of a stage float16. */
template <int D, int W>
static __device__ __forceinline__ void widen_stage(int stage, int count, layout<D, true, W> *shared)
{
    constexpr int PIECES = D / 16;
    for (int i = (int)threadIdx.x; i < count * CM_PAGE_TOKENS * PIECES; i += 32 * W) {
        int page = i / PIECES / CM_PAGE_TOKENS;
        int slot = i / PIECES % CM_PAGE_TOKENS;
        int column = i % PIECES * 16;
        const uint8_t(*keys)[D] = shared->raw.keys[stage][page];
        const uint8_t(*values)[D] = shared->raw.values[stage][page];
        widen(&keys[slot][column], (int8_t)keys[CM_PAGE_TOKENS][slot],
              &shared->keys[0][page][slot][column]);
        widen(&values[slot][column], (int8_t)values[CM_PAGE_TOKENS][slot],
              &shared->values[0][page][slot][column]);
    }
}

#endif
