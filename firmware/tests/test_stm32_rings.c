/* boards/common/stm32_ethernet on a simulated MAC, PHY and cable: frames in both directions. */
#include "stm32_bench.h"

#define ROUNDS 20000u

static void test_filter(void)
{
    start_with_link();
    receive(other_mac, 100, 1);
    expect_nothing();
    receive(own_mac, 100, 2);
    receive(group_mac, 100, 3);
    receive(all_mac, 100, 4);
    expect(own_mac, 100, 2);
    expect(group_mac, 100, 3);
    expect(all_mac, 100, 4);
    expect_nothing();
}

static void test_sizes(void)
{
    start_with_link();
    chip.restless = 1;
    for (unsigned size = 60; size <= 1514u; size += size < 600u || size > 1500u ? 1u : 7u) {
        receive(own_mac, size, size);
        expect(own_mac, size, size);
        send(size, size);
        expect_sent(size, size);
        expect_nothing();
    }
    CHECK(chip.missed == 0u && chip.torn == 0u);
}

static void test_bad_frames(void)
{
    static const enum fate fates[] = {DAMAGED, RUNT, ENDLESS};
    uint8_t small[100];
    start_with_link();
    for (unsigned round = 0; round < 60u; round++) {
        const size_t size = round % 2u == 0u ? 200u : 1300u;
        chip.fate = fates[round % 3u];
        receive(own_mac, size, round);
        chip.fate = GOOD;
        receive(own_mac, 300, round);
        expect(own_mac, 300, round);
        expect_nothing();
    }
    receive(own_mac, 101, 1);
    receive(own_mac, 1514, 2);
    receive(own_mac, 100, 3);
    CHECK(vp_board_ethernet_read(small, sizeof(small)) == 100u && small[99] == (uint8_t)(93u + 693u));
    receive(own_mac, 1515, 4);
    receive(own_mac, 60, 5);
    expect(own_mac, 60, 5);
    expect_nothing();
}

/* More than the ring holds: the first ones come, the others are lost, and it goes on afterwards. */
static void test_full_receive_ring(void)
{
    start_with_link();
    for (unsigned round = 0; round < 3u; round++) {
        const unsigned demands = chip.receive_demands;
        for (unsigned i = 0; i < RECEIVE_RING + 9u; i++) {
            receive(own_mac, 586, i);
        }
        CHECK(chip.receive.suspended && (*reg(0x1014) & RBUS) != 0u);
        vp_stm32_ethernet_interrupt();
        CHECK((*reg(0x1014) & (RBUS | RS_NIS)) == RBUS);
        for (unsigned i = 0; i < RECEIVE_RING; i++) {
            expect(own_mac, 586, i);
        }
        expect_nothing();
        CHECK(chip.receive_demands == demands + 1u && !chip.receive.suspended);
        receive(own_mac, 60, 50);
        expect(own_mac, 60, 50);
    }
    CHECK(chip.missed == 27u);
}

/* The ring ends in the middle of a frame, which the chip marks and Renode leaves without an end. */
static void test_ring_ends_within_a_frame(void)
{
    static const enum fate fates[] = {GOOD, CUT};
    for (unsigned i = 0; i < 2u; i++) {
        start_with_link();
        for (unsigned seed = 0; seed < RECEIVE_RING - 1u; seed++) {
            receive(own_mac, 400, seed);
        }
        chip.fate = fates[i];
        receive(own_mac, 1400, 99);
        chip.fate = GOOD;
        for (unsigned seed = 0; seed < RECEIVE_RING - 1u; seed++) {
            expect(own_mac, 400, seed);
        }
        receive(own_mac, 500, 7);
        expect(own_mac, 500, 7);
        expect_nothing();
    }
    /* A ring full of what is neither the beginning nor the end of a frame. */
    for (unsigned i = 0; i < chip.receive.count; i++) {
        descriptor(chip.receive.address[i])[0] = 0;
    }
    expect_nothing();
    for (unsigned seed = 0; seed < RECEIVE_RING; seed++) {
        receive(own_mac, 90, seed);
        expect(own_mac, 90, seed);
    }
}

static void test_full_send_ring(void)
{
    start_with_link();
    chip.lazy = 1;
    chip.send.suspended = 0;
    for (unsigned seed = 0; seed < 10u; seed++) {
        send(170, seed);
    }
    for (unsigned i = 0; i < 2u; i++) {
        run_send();
        CHECK(chip.sent.end == 6u && chip.torn == 0u);
    }
    for (unsigned seed = 0; seed < 6u; seed++) {
        expect_sent(170, seed);
    }
    chip.sent.begin = chip.sent.end = 0;
    send(60, 1);
    send(1514, 2);
    send(1300, 3);
    send(1514, 4);
    send(0, 5);
    send(1515, 6);
    run_send();
    expect_sent(60, 1);
    expect_sent(1514, 2);
    CHECK(chip.sent.begin == chip.sent.end);
}

static void test_interrupt(void)
{
    start_with_link();
    receive(own_mac, 60, 1);
    CHECK((*reg(0x1014) & RS_NIS) == RS_NIS && vp_stm32_ethernet_waiting());
    vp_stm32_ethernet_interrupt();
    CHECK((*reg(0x1014) & RS_NIS) == 0u && vp_stm32_ethernet_waiting());
    expect(own_mac, 60, 1);
    expect_nothing();
}

/* Traffic in both directions with a DMA that comes at any time, and a cable that is pulled. */
static void test_soak(void)
{
    uint32_t random = 12345;
    unsigned in = 0;
    unsigned out = 0;
    unsigned answered = 0;
    start_with_link();
    chip.restless = 1;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1664525u + 1013904223u;
        const unsigned dice = random >> 24;
        const size_t size = 60u + (random >> 8) % 1455u;
        chip.lazy = (random & 0x10000u) != 0u;
        if (dice < 120u && in - out < 4u && chip.incoming.end - chip.incoming.begin < 4u) {
            put_on_wire(dice & 1u ? own_mac : group_mac, size, in++);
        } else if (dice < 200u && chip.incoming.begin != chip.incoming.end) {
            run_receive();
        } else if (vp_stm32_ethernet_waiting()) {
            static uint8_t got[1514];
            const size_t came = vp_board_ethernet_read(got, sizeof(got));
            static uint8_t wanted[1514];
            fill(wanted, came, got[0] == 1u ? group_mac : own_mac, out);
            CHECK(came >= 60u && memcmp(got, wanted, came) == 0);
            out++;
            chip.lazy = 0;
            send(came, out);
            vp_mac_order();
            expect_sent(came, out);
            answered++;
        }
    }
    CHECK(chip.missed == 0u && chip.torn == 0u && answered > ROUNDS / 8u && in - out <= 4u);
}

/* Whether a frame is one that `fill` made. The seed is in each byte, and 31 * 223 is 1 modulo 256. */
static int is_whole(const uint8_t *bytes, size_t size)
{
    static uint8_t wanted[1514];
    fill(wanted, size, own_mac, (bytes[6] - 42u) * 223u);
    return memcmp(bytes, wanted, size) == 0;
}

/* More than the ring holds, again and again, and read at any time: what comes out is whole, and a frame
 * that comes when it is quiet comes out. */
static void test_overrun_soak(void)
{
    static uint8_t got[1514];
    uint32_t random = 1;
    start_with_link();
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1664525u + 1013904223u;
        const unsigned dice = random >> 24;
        if (dice < 140u) {
            chip.fate = dice % 2u == 0u ? GOOD : CUT;
            receive(own_mac, 60u + (random >> 8) % 1455u, round);
            chip.fate = GOOD;
        } else if (dice < 250u) {
            const size_t size = vp_board_ethernet_read(got, sizeof(got));
            CHECK(size == 0u || is_whole(got, size));
        } else {
            while (vp_board_ethernet_read(got, sizeof(got)) != 0u) {
            }
            receive(own_mac, 333, round);
            expect(own_mac, 333, round);
            expect_nothing();
        }
    }
    CHECK(chip.missed > ROUNDS / 20u);
}

int main(void)
{
    test_filter();
    test_sizes();
    test_bad_frames();
    test_full_receive_ring();
    test_ring_ends_within_a_frame();
    test_full_send_ring();
    test_interrupt();
    test_soak();
    test_overrun_soak();
    CHECK_DONE();
}
