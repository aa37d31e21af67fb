/**
 * @file stm32_chip.h
 * What an STM32F4 or F7 does behind the registers that boards/common/stm32 uses: a second statement of
 * RM0090 (RM0385 where VP_STM32_F7 is set), in the manual's own numbers. CHIP is 407, 446 or 746.
 *
 * Each access first lets the chip answer what was written before it. What the manual forbids is counted
 * in `violations`.
 */
#ifndef VP_TESTS_STM32_CHIP_H
#define VP_TESTS_STM32_CHIP_H

#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "core.h"
#include "stm32.h"

#define BUS 0x40000000u
#define BUS_SIZE 0x30000u
#define CORE 0xE000E000u
#define CORE_SIZE 0x1000u
#define DEBUG 0xE0042000u
#define FLASH 0x08000000u
#define FLASH_SIZE (4u * VP_BOARD_JOURNAL_PAGE_SIZE)

#define RCC 0x40023800u
#define PWR 0x40007000u
#define FLASH_IF 0x40023C00u
#define IWDG 0x40003000u
#define MPU_REGIONS 8

enum source { NONE, CRYSTAL, CLOCK };

static struct {
    uint32_t bus[BUS_SIZE / 4];
    uint32_t core[CORE_SIZE / 4];
    uint32_t debug[4];
    enum source hse;
    int dead;      /* Nothing answers: every register reads zero. */
    int unlocking; /* The PLL does not lock. */
    unsigned accesses;
    unsigned violations;
    unsigned ready_at; /* Access at which what was switched on last is ready. */
    uint32_t seen_cr, seen_pllcfgr, seen_cfgr, seen_pmc;
    unsigned keys; /* Flash: how far the unlock sequence is; 2: unlocked. */
    uint32_t *touched, before; /* Flash: the word that was accessed last. */
    int broken;    /* Flash: commands fail. */
    int idle;      /* Flash: commands do nothing, as in an emulator. */
    unsigned erased; /* Flash: a bit for each sector. */
    int watchdog_open, watchdog_on;
    unsigned fed;
    uint32_t prescaler, reload, region_base[MPU_REGIONS], region_attributes[MPU_REGIONS];
    const uint8_t *incoming; /* What the USART receives. */
    unsigned incoming_count;
    unsigned interrupt;
} chip;

static uint32_t *at(uint32_t address)
{
    return &chip.bus[(address - BUS) / 4u];
}

static unsigned field(uint32_t value, unsigned first, unsigned bits)
{
    return value >> first & ((1u << bits) - 1u);
}

/* Of PLL input, its VCO and its output, in kHz; 0 where there is no input. */
static uint32_t pll_input_khz(void)
{
    const uint32_t pllcfgr = *at(RCC + 4u);
    const uint32_t input = field(pllcfgr, 22, 1) ? (chip.hse == NONE ? 0u : 8000u) : 16000u;
    const unsigned m = field(pllcfgr, 0, 6);
    return m < 2u ? 0u : input / m;
}

static uint32_t vco_khz(void)
{
    return pll_input_khz() * field(*at(RCC + 4u), 6, 9);
}

static uint32_t sysclk_khz(void)
{
    const unsigned sws = field(*at(RCC + 8u), 2, 2);
    return sws == 2u ? vco_khz() / (2u * field(*at(RCC + 4u), 16, 2) + 2u)
                     : (sws == 1u ? 8000u : 16000u);
}

static unsigned apb_divider(unsigned first)
{
    const unsigned code = field(*at(RCC + 8u), first, 3);
    return code < 4u ? 1u : 2u << (code - 4u);
}

/* The limits of section 6.3.2 and table 11 (F7: 5.2 and table 5), 2.7 .. 3.6 V. */
static void check_limits(void)
{
    const uint32_t khz = sysclk_khz();
    const uint32_t csr = *at(PWR + 4u);
    const int overdriven = field(csr, 16, 2) == 3u;
    const uint32_t plain_khz = VP_STM32_F7 ? 180000u : 168000u;
    const uint32_t most_khz = VP_STM32_F7 ? 216000u : (CHIP == 407 ? 168000u : 180000u);
    const uint32_t apb1_khz = most_khz / 4u;
    chip.violations += khz > (overdriven ? most_khz : plain_khz);
    chip.violations += khz / apb_divider(10) > apb1_khz;
    chip.violations += khz / apb_divider(13) > 2u * apb1_khz;
    chip.violations += field(*at(RCC + 8u), 4, 4) != 0u;
    chip.violations += field(*at(FLASH_IF), 0, 4) < (khz - 1u) / 30000u;
}

static void settle_clock(void)
{
    uint32_t *cr = at(RCC);
    uint32_t *cfgr = at(RCC + 8u);
    if (*cr != chip.seen_cr || *cfgr != chip.seen_cfgr) {
        chip.ready_at = chip.accesses + 20u;
    }
    const uint32_t changed = *cr ^ chip.seen_cr;
    chip.violations += (changed & 1u << 18) != 0u && (chip.seen_cr & *cr & 1u << 16) != 0u;
    chip.violations += *at(RCC + 4u) != chip.seen_pllcfgr && (chip.seen_cr & *cr & 1u << 24) != 0u;
    chip.violations += (*cr & 1u << 24) == 0u && field(chip.seen_cfgr, 2, 2) == 2u;
    const int late = chip.accesses >= chip.ready_at;
    const int bypass = (*cr & 1u << 18) != 0u;
    const int hse = (*cr & 1u << 16) != 0u && chip.hse == (bypass ? CLOCK : CRYSTAL);
    const int locks = (*cr & 1u << 24) != 0u && !chip.unlocking && pll_input_khz() != 0u;
    *cr = (*cr & ~(1u << 1 | 1u << 17 | 1u << 25)) | (*cr & 1u) << 1;
    *cr |= (late || (chip.seen_cr & 1u << 17) != 0u) && hse ? 1u << 17 : 0u;
    *cr |= (late || (chip.seen_cr & 1u << 25) != 0u) && locks ? 1u << 25 : 0u;
    if ((*cr & 1u << 25) != 0u) {
        chip.violations += pll_input_khz() < 950u || pll_input_khz() > 2100u;
        chip.violations += vco_khz() < 100000u || vco_khz() > 432000u;
        chip.violations += vco_khz() / field(*at(RCC + 4u), 24, 4) > 48000u;
    }
    const unsigned wanted = field(*cfgr, 0, 2);
    const int possible = wanted == 0u || (wanted == 2u && (*cr & 1u << 25) != 0u);
    chip.violations += wanted != field(*cfgr, 2, 2) && !possible;
    if (possible && late) {
        *cfgr = (*cfgr & ~0xCu) | wanted << 2;
    }
    /* Over-drive: with PWR's clock, the switch after the ready flag, and only while the PLL feeds
     * nothing. */
    uint32_t *csr = at(PWR + 4u);
    const unsigned over = (*at(RCC + 0x40u) & 1u << 28) != 0u ? field(*at(PWR), 16, 2) : 0u;
    chip.violations += (over & 2u) != 0u && (*csr & 1u << 16) == 0u;
    chip.violations += over != field(*csr, 16, 2) && field(*cfgr, 2, 2) == 2u;
    *csr = (*csr & ~(3u << 16)) | over << 16;
    check_limits();
    chip.seen_cr = *cr;
    chip.seen_cfgr = *cfgr;
    chip.seen_pllcfgr = *at(RCC + 4u);
}

static void run_erase(uint32_t cr, uint32_t *sr)
{
    chip.violations += (cr & 3u) != 2u || field(cr, 8, 2) != 2u;
    *sr |= chip.broken ? 1u << 4 : 1u;
    if (!chip.broken && !chip.idle) {
        memset((void *)(uintptr_t)(FLASH + field(cr, 3, 4) * VP_BOARD_JOURNAL_PAGE_SIZE), 0xFF,
               VP_BOARD_JOURNAL_PAGE_SIZE);
        chip.erased |= 1u << field(cr, 3, 4);
    }
}

/* A word of flash that was written: programming clears bits. */
static void run_program(uint32_t cr, uint32_t *sr)
{
    const uint32_t written = *chip.touched;
    *chip.touched = chip.before;
    chip.violations += (cr & 3u) != 1u || field(cr, 8, 2) != 2u || chip.keys != 2u;
    *sr |= chip.broken ? 1u << 4 : 1u;
    if (!chip.broken && !chip.idle) {
        *chip.touched = chip.before & written;
    }
}

/* Section 3.6: unlocked by two keys. */
static void settle_flash(void)
{
    uint32_t *key = at(FLASH_IF + 4u);
    uint32_t *sr = at(FLASH_IF + 0xCu);
    uint32_t *cr = at(FLASH_IF + 0x10u);
    if (*key != 0u) {
        const int right = chip.keys < 2u && *key == (chip.keys == 0u ? 0x45670123u : 0xCDEF89ABu);
        chip.violations += !right;
        chip.keys += right ? 1u : 0u;
        *key = 0;
        *cr &= chip.keys == 2u ? 0x7FFFFFFFu : 0xFFFFFFFFu;
    } else if (chip.keys == 2u && (*cr & 1u << 31) != 0u) {
        chip.keys = 0;
    }
    if (*sr == 0xF3u) {
        *sr = 0;
    }
    chip.violations += chip.keys < 2u && (*cr & 0x7FFFFFFFu) != 0u;
    if ((*cr & 1u << 16) != 0u) {
        run_erase(*cr, sr);
        *cr &= ~(1u << 16);
    }
    if (chip.touched != NULL && *chip.touched != chip.before) {
        run_program(*cr, sr);
    }
    chip.touched = NULL;
}

/* RMII is selected with SYSCFG's clock on, the MAC in reset and its clocks off (33.4.4). */
static void settle_syscfg(void)
{
    const uint32_t pmc = *at(0x40013804u);
    const int clocked = (*at(RCC + 0x44u) & 1u << 14) != 0u;
    const int mac_off = (*at(RCC + 0x10u) & 1u << 25) != 0u && field(*at(RCC + 0x30u), 25, 3) == 0u;
    chip.violations += pmc != chip.seen_pmc && !(clocked && mac_off);
    chip.seen_pmc = pmc;
}

static void settle_watchdog(void)
{
    uint32_t *key = at(IWDG);
    if (*key == 0xCCCCu) {
        chip.watchdog_on = 1;
    }
    chip.fed += *key == 0xAAAAu;
    chip.watchdog_open = *key == 0x5555u || (chip.watchdog_open && *key == 0u);
    *key = 0;
    if (chip.watchdog_open) {
        chip.prescaler = 4u << *at(IWDG + 4u);
        chip.reload = *at(IWDG + 8u);
    }
}

static void settle_mpu(void)
{
    const uint32_t region = chip.core[0xD98u / 4u];
    if (region < MPU_REGIONS && chip.core[0xDA0u / 4u] != 0u) {
        chip.region_base[region] = chip.core[0xD9Cu / 4u];
        chip.region_attributes[region] = chip.core[0xDA0u / 4u];
        chip.core[0xDA0u / 4u] = 0;
    }
}

void stm32_barrier(void)
{
    settle_flash();
    settle_mpu();
}

/* A read of the USART's data, which on the F4 clears the overrun, too; on the F7 a register does. */
static void receive(uint32_t offset, uint32_t usart)
{
    uint32_t *status = at(usart + (VP_STM32_F7 ? 0x1Cu : 0u));
    uint32_t *clear = at(usart + 0x20u);
    *status &= ~(VP_STM32_F7 ? *clear : 0u);
    *clear = 0;
    if (offset == (VP_STM32_F7 ? 0x24u : 4u)) {
        *status &= ~(VP_STM32_F7 ? 0u : 1u << 3);
        if (chip.incoming_count > 0u) {
            *at(usart + offset) = *chip.incoming++;
            chip.incoming_count--;
        }
    }
    *status = (*status & ~(1u << 5)) | (chip.incoming_count > 0u ? 1u << 5 : 0u) | 1u << 7;
}

volatile uint32_t *stm32_register(uint32_t address)
{
    static uint32_t nothing;
    chip.accesses++;
    nothing = 0;
    if (chip.dead) {
        return &nothing;
    }
    settle_clock();
    settle_flash();
    settle_syscfg();
    settle_watchdog();
    settle_mpu();
    if (address - FLASH < FLASH_SIZE) {
        chip.touched = (uint32_t *)(uintptr_t)address;
        chip.before = *chip.touched;
        return chip.touched;
    }
    if (address - CORE < CORE_SIZE) {
        return &chip.core[(address - CORE) / 4u];
    }
    if (address - DEBUG < sizeof(chip.debug)) {
        return &chip.debug[(address - DEBUG) / 4u];
    }
    if (address - BUS >= BUS_SIZE || address % 4u != 0u) {
        chip.violations++;
        return &nothing;
    }
    const uint32_t usart = 0x40004000u + 0x400u * (VP_STM32_USART - 1u);
    if (address - usart < 0x400u) {
        receive(address - usart, usart);
    }
    return at(address);
}

void vp_core_enable_interrupt(unsigned number)
{
    chip.interrupt = number;
}

/* As reset leaves it, with a source on OSC_IN. */
static void power_on(enum source hse)
{
    void *flash = mmap((void *)(uintptr_t)FLASH, FLASH_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(flash == (void *)(uintptr_t)FLASH);
    memset(&chip, 0, sizeof(chip));
    memset(flash, 0xFF, FLASH_SIZE);
    chip.hse = hse;
    *at(RCC) = 0x83;
    *at(RCC + 4u) = 0x24003010u;
    *at(RCC + 0x74u) = 0x0E000000u;
    *at(PWR) = 0xC000u;
    *at(FLASH_IF + 0x10u) = 1u << 31;
    chip.seen_cr = 0x83;
    chip.seen_pllcfgr = 0x24003010u;
}

#endif
