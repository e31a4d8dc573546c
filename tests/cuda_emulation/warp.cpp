#include "warp.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstring>

namespace emu
{

/* --- Meeting --- */

static void complete(Warp &warp, Meeting &meeting)
{
    meeting.operation(meeting.lanes.data(), meeting.arrived);
    for (unsigned lane = 0; lane < 32; lane++) {
        if (meeting.arrived >> lane & 1) {
            thread_at(warp.first_thread + lane).state = Thread::State::ready;
        }
    }
    meeting.mask = meeting.arrived = 0;
    meeting.rendezvous.next();
}

static Meeting &find_meeting(Warp &warp, unsigned mask, void (*operation)(void **, unsigned),
                             Site site)
{
    Meeting *free_one = nullptr;
    for (Meeting &meeting : warp.meetings) {
        if (meeting.mask == mask) {
            if (meeting.operation != operation) {
                fail("lanes of one mask are at different warp operations", site);
            }
            return meeting;
        }
        if (meeting.mask == 0) {
            free_one = &meeting;
        } else if (meeting.mask & mask) {
            fail("masks of warp operations overlap and differ: some lane is in both", site);
        }
    }
    if (!free_one) {
        fail("too many warp operations at the same time", site);
    }
    free_one->mask = mask;
    free_one->operation = operation;
    return *free_one;
}

/* Every lane brings its arguments; `operation` sees those of all and writes the results there. */
static void meet(unsigned mask, void (*operation)(void **, unsigned), void *arguments,
                 bool orders_memory, Site site)
{
    Warp &warp = current_warp();
    unsigned bit = 1u << lane();
    if (!(mask & bit)) {
        fail("the lane is not in the mask that it names", site);
    }
    Meeting &meeting = find_meeting(warp, mask, operation, site);
    void *tag = meeting.rendezvous.tag();
    if (orders_memory) {
        tsan_release(tag);
    }
    meeting.lanes[lane()] = arguments;
    meeting.arrived |= bit;
    if (meeting.arrived == (mask & warp.live_mask)) {
        complete(warp, meeting);
    } else {
        wait_as(Thread::State::in_warp, site);
    }
    if (orders_memory) {
        tsan_acquire(tag);
    }
}

void lane_ended(Warp &warp, unsigned lane)
{
    warp.live_mask &= ~(1u << lane);
    for (Meeting &meeting : warp.meetings) {
        if (meeting.mask && meeting.arrived == (meeting.mask & warp.live_mask)) {
            complete(warp, meeting);
        }
    }
}

/* The arguments of all lanes that have arrived, as their own type. */
template <class Arguments, class Function>
static void for_lanes(void **lanes, unsigned mask, Function function)
{
    for (unsigned lane = 0; lane < 32; lane++) {
        if (mask >> lane & 1) {
            function(lane, *static_cast<Arguments *>(lanes[lane]));
        }
    }
}

/* --- Synchronisation, shuffle, vote, match, reduction --- */

void sync_warp(unsigned mask, Site site)
{
    meet(
        mask, [](void **, unsigned) {}, nullptr, true, site);
}

struct Shuffle {
    uint64_t bits, result;
    unsigned source;
    Site site;
};

uint64_t shuffle(unsigned mask, uint64_t bits, unsigned source_lane, Site site)
{
    Shuffle own = { bits, bits, source_lane, site };
    meet(
        mask,
        [](void **lanes, unsigned arrived) {
            for_lanes<Shuffle>(lanes, arrived, [=](unsigned, Shuffle &lane) {
                if (!(arrived >> lane.source & 1)) {
                    fail("shuffle from a lane that is not in the mask, or has ended", lane.site);
                }
                lane.result = static_cast<Shuffle *>(lanes[lane.source])->bits;
            });
        },
        &own, false, site);
    return own.result;
}

struct Exchange {
    uint64_t value;
    unsigned result;
    int all_equal;
};

unsigned ballot(unsigned mask, bool predicate, Site site)
{
    Exchange own = { predicate, 0, 0 };
    meet(
        mask,
        [](void **lanes, unsigned arrived) {
            unsigned votes = 0;
            for_lanes<Exchange>(lanes, arrived, [&](unsigned lane, Exchange &exchange) {
                votes |= (unsigned)exchange.value << lane;
            });
            for_lanes<Exchange>(lanes, arrived,
                                [=](unsigned, Exchange &exchange) { exchange.result = votes; });
        },
        &own, false, site);
    return own.result;
}

static void match_lanes(void **lanes, unsigned arrived)
{
    for_lanes<Exchange>(lanes, arrived, [=](unsigned, Exchange &exchange) {
        for_lanes<Exchange>(lanes, arrived, [&](unsigned lane, const Exchange &other) {
            exchange.result |= (unsigned)(other.value == exchange.value) << lane;
        });
        exchange.all_equal = exchange.result == arrived;
    });
}

unsigned match_any(unsigned mask, uint64_t bits, Site site)
{
    Exchange own = { bits, 0, 0 };
    meet(mask, match_lanes, &own, false, site);
    return own.result;
}

unsigned match_all(unsigned mask, uint64_t bits, int *all_equal, Site site)
{
    Exchange own = { bits, 0, 0 };
    meet(mask, match_lanes, &own, false, site);
    *all_equal = own.all_equal;
    return own.all_equal ? own.result : 0;
}

struct Reduce {
    unsigned value;
    Reduction reduction;
    bool is_signed;
};

static unsigned combine(unsigned a, unsigned b, Reduction reduction, bool is_signed)
{
    bool b_less = is_signed ? (int)b < (int)a : b < a;
    switch (reduction) {
    case Reduction::add:
        return a + b;
    case Reduction::min:
        return b_less ? b : a;
    case Reduction::max:
        return b_less ? a : b;
    case Reduction::and_:
        return a & b;
    case Reduction::or_:
        return a | b;
    case Reduction::xor_:
        return a ^ b;
    }
    return 0;
}

unsigned reduce(unsigned mask, unsigned value, Reduction reduction, bool is_signed, Site site)
{
    Reduce own = { value, reduction, is_signed };
    meet(
        mask,
        [](void **lanes, unsigned arrived) {
            const Reduce *first = nullptr;
            unsigned result = 0;
            for_lanes<Reduce>(lanes, arrived, [&](unsigned, const Reduce &lane) {
                result = first ? combine(result, lane.value, lane.reduction, lane.is_signed)
                               : lane.value;
                first = &lane;
            });
            for_lanes<Reduce>(lanes, arrived, [=](unsigned, Reduce &lane) { lane.value = result; });
        },
        &own, false, site);
    return own.value;
}

/* --- Matrices --- */

struct Matrices {
    uint32_t *registers;
    unsigned count;
    bool transposed;
    uint16_t row[8];
};

static void spread(void **lanes, unsigned arrived)
{
    for_lanes<Matrices>(lanes, arrived, [=](unsigned lane, Matrices &own) {
        unsigned group = lane / 4, pair = lane % 4 * 2;
        for (unsigned m = 0; m < own.count; m++) {
            auto element = [&](unsigned row, unsigned column) {
                return (uint32_t) static_cast<Matrices *>(lanes[8 * m + row])->row[column];
            };
            own.registers[m] = own.transposed
                                   ? element(pair, group) | element(pair + 1, group) << 16
                                   : element(group, pair) | element(group, pair + 1) << 16;
        }
    });
}

void spread_matrices(uint32_t *registers, unsigned matrices_count, bool transposed, const void *row,
                     Site site)
{
    Matrices own = { registers, matrices_count, transposed, {} };
    memcpy(own.row, row, sizeof own.row);
    if (current_warp().live_mask != ~0u) {
        fail("ldmatrix needs a whole warp", site);
    }
    meet(~0u, spread, &own, false, site);
}

struct Mma {
    MmaType type;
    void *d;
    const uint32_t *a, *b;
};

static float to_float(MmaType type, uint32_t bits)
{
    switch (type) {
    case MmaType::bf16:
        return __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{ (unsigned short)bits }));
    case MmaType::f16:
        return __half2float(__half(__half_raw{ (unsigned short)bits }));
    case MmaType::e4m3:
        return __half2float(__half(__nv_cvt_fp8_to_halfraw((__nv_fp8_storage_t)bits, __NV_E4M3)));
    case MmaType::s8:
        return (float)(int8_t)bits; /* exact, and so are sums of 32 products */
    }
    return 0;
}

/* Registers of 32 bits hold `per` elements that follow each other in k. */
static void gather(void **lanes, MmaType type, float (&a)[16][32], float (&b)[32][8])
{
    const unsigned per = type == MmaType::bf16 || type == MmaType::f16 ? 2 : 4, bits = 32 / per;
    const uint32_t element = per == 2 ? 0xffff : 0xff;
    for (unsigned lane = 0; lane < 32; lane++) {
        const Mma &own = *static_cast<Mma *>(lanes[lane]);
        unsigned group = lane / 4, first = lane % 4 * per;
        for (unsigned e = 0; e < per; e++) {
            for (unsigned r = 0; r < 4; r++) {
                a[group + 8 * (r & 1)][first + e + 4 * per * (r >> 1)] =
                    to_float(type, own.a[r] >> bits * e & element);
            }
            for (unsigned r = 0; r < 2; r++) {
                b[first + e + 4 * per * r][group] = to_float(type, own.b[r] >> bits * e & element);
            }
        }
    }
}

static void multiply(void **lanes, unsigned)
{
    const MmaType type = static_cast<Mma *>(lanes[0])->type;
    const unsigned depth = type == MmaType::bf16 || type == MmaType::f16 ? 16 : 32;
    float a[16][32], b[32][8], d[16][8];
    gather(lanes, type, a, b);
    for (unsigned lane = 0; lane < 32 && type != MmaType::s8; lane++) {
        const float *own = static_cast<float *>(static_cast<Mma *>(lanes[lane])->d);
        for (unsigned r = 0; r < 4; r++) {
            d[lane / 4 + 8 * (r >> 1)][lane % 4 * 2 + (r & 1)] = own[r];
        }
    }
    for (unsigned i = 0; i < 16; i++) {
        float sum[8] = {};
        if (type != MmaType::s8) {
            memcpy(sum, d[i], sizeof sum);
        }
        for (unsigned k = 0; k < depth; k++) {
            for (unsigned j = 0; j < 8; j++) {
                sum[j] += a[i][k] * b[k][j];
            }
        }
        memcpy(d[i], sum, sizeof sum);
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        void *own = static_cast<Mma *>(lanes[lane])->d;
        for (unsigned r = 0; r < 4; r++) {
            float result = d[lane / 4 + 8 * (r >> 1)][lane % 4 * 2 + (r & 1)];
            if (type == MmaType::s8) {
                static_cast<int32_t *>(own)[r] += (int32_t)result;
            } else {
                static_cast<float *>(own)[r] = result;
            }
        }
    }
}

void mma(MmaType type, void *d, const uint32_t *a, const uint32_t *b, Site site)
{
    Mma own = { type, d, a, b };
    if (current_warp().live_mask != ~0u) {
        fail("mma needs a whole warp", site);
    }
    meet(~0u, multiply, &own, false, site);
}

} // namespace emu
