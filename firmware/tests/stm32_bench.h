/**
 * @file stm32_bench.h
 * A board around stm32_mac.h for the tests of boards/common/stm32_ethernet: frames on the wire, frames
 * that came.
 */
#ifndef VP_TESTS_STM32_BENCH_H
#define VP_TESTS_STM32_BENCH_H

#include "stm32.h"
#include "stm32_mac.h"
#include "vp/board.h"

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 7};
static const uint8_t group_mac[6] = {1, 0, 94, 77, 80, 1};
static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 8};
static const uint8_t all_mac[6] = {255, 255, 255, 255, 255, 255};

uint64_t vp_board_now_us(void)
{
    return chip.now_us++;
}

void vp_stm32_pin_output(uint8_t pin, int level)
{
    CHECK(pin == VP_STM32_PHY_RESET && level == 0);
    chip.reset_us = chip.now_us;
}

void vp_stm32_pin_write(uint8_t pin, int level)
{
    CHECK(pin == VP_STM32_PHY_RESET && level == 1 && chip.now_us - chip.reset_us >= 100u);
    chip.pin = 1;
}

void vp_stm32_start_rmii(void)
{
    CHECK(chip.pin);
    chip.rmii = 1;
}

void vp_core_enable_interrupt(unsigned number)
{
    chip.interrupt = number;
}

static inline void power_on(void)
{
    const uintptr_t at = chip.memory;
    memset(&chip, 0, sizeof(chip));
    chip.memory = at;
    chip.phy[1] = 0x7809u;
    chip.phy[2] = 0x0007u;
    chip.phy[3] = 0xc131u;
    chip.phy[5] = 0x45e1u;
}

/* The main loop with nothing to do. @return frames that came. */
static inline unsigned pass(uint64_t ms)
{
    static uint8_t bytes[1514];
    unsigned came = 0;
    const uint64_t end_us = chip.now_us + 1000u * ms;
    while (chip.now_us < end_us) {
        came += vp_board_ethernet_read(bytes, sizeof(bytes)) != 0u;
        chip.now_us += 200u;
    }
    return came;
}

static inline void start_with_link(void)
{
    power_on();
    chip.cable = 1;
    CHECK(vp_board_ethernet_start(own_mac) == 0);
    pass(300);
    CHECK(*reg(0x00) == 0x1c80cu);
}

static inline void fill(uint8_t *bytes, size_t size, const uint8_t *to, unsigned seed)
{
    memcpy(bytes, to, 6);
    for (size_t i = 6; i < size; i++) {
        bytes[i] = (uint8_t)(seed * 31u + i * 7u + (i >> 8));
    }
}

static inline void put_on_wire(const uint8_t *to, size_t size, unsigned seed)
{
    frame *const in = &chip.incoming.frame[chip.incoming.end++ % MAX_FRAMES];
    CHECK(chip.incoming.end - chip.incoming.begin <= MAX_FRAMES);
    in->size = size;
    fill(in->bytes, size, to, seed);
}

static inline void receive(const uint8_t *to, size_t size, unsigned seed)
{
    put_on_wire(to, size, seed);
    run_receive();
}

/* The frame with this seed is the next one that the driver hands out. */
static inline void expect(const uint8_t *to, size_t size, unsigned seed)
{
    static uint8_t wanted[FRAME_ROOM];
    static uint8_t got[1514];
    memset(got, 0, sizeof(got));
    fill(wanted, size, to, seed);
    CHECK(vp_stm32_ethernet_waiting());
    CHECK(vp_board_ethernet_read(got, sizeof(got)) == size && memcmp(got, wanted, size) == 0);
}

static inline void expect_nothing(void)
{
    static uint8_t got[1514];
    CHECK(vp_board_ethernet_read(got, sizeof(got)) == 0u && !vp_stm32_ethernet_waiting());
}

static inline void send(size_t size, unsigned seed)
{
    static uint8_t bytes[FRAME_ROOM];
    fill(bytes, size, other_mac, seed);
    vp_board_ethernet_write(bytes, size);
}

static inline void expect_sent(size_t size, unsigned seed)
{
    static uint8_t wanted[FRAME_ROOM];
    const frame *const out = &chip.sent.frame[chip.sent.begin++ % MAX_FRAMES];
    fill(wanted, size, other_mac, seed);
    CHECK(chip.sent.begin <= chip.sent.end && out->size == size &&
          memcmp(out->bytes, wanted, size) == 0);
}

#endif
