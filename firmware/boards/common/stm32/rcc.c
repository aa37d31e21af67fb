/* Clock tree, RM0090 sections 5.1.4 (over-drive), 7.2 and 7.3: PLL at VP_BOARD_CLOCK_HZ, AHB the same,
 * APB1 a quarter, APB2 a half. Regulator scale 1 is what reset selects. */
#include "rcc.h"

#include "stm32.h"

#define CR_HSION (1u << 0)
#define CR_HSIRDY (1u << 1)
#define CR_HSEON (1u << 16)
#define CR_HSERDY (1u << 17)
#define CR_HSEBYP (1u << 18)
#define CR_PLLON (1u << 24)
#define CR_PLLRDY (1u << 25)
#define PLLCFGR_RESERVED 0xF0000000u
#define PLLCFGR_HSE (1u << 22)
#define CFGR_SW_PLL 2u
#define CFGR_SWS (3u << 2)
#define CFGR_SWS_PLL (2u << 2)
#define CFGR_PPRE1_QUARTER (5u << 10)
#define CFGR_PPRE2_HALF (4u << 13)

#define PWR_CR VP_REGISTER(0x40007000u)
#define PWR_CSR_ADDRESS 0x40007004u
#define PWR_OVERDRIVE (1u << 16)
#define PWR_OVERDRIVE_SWITCH (1u << 17)

#define FLASH_ACR_ADDRESS 0x40023C00u
#define FLASH_ACR_LATENCY 0xFu
#define FLASH_ACR_PREFETCH (1u << 8)
#define FLASH_ACR_CACHES (3u << 9)
#define DBGMCU_IDCODE VP_REGISTER(0xE0042000u)
#define DBGMCU_DEVICE 0xFFFu
#define STM32F407_REVISION_A 0x411u

/* The PLL's input is 2 MHz (7.3.2 recommends it for the least jitter), its output half of the VCO's
 * 100 .. 432 MHz. PLLQ keeps the unused 48 MHz output at or below 48. */
#define HSE_MHZ 8u
#define HSI_MHZ 16u
#define PLL_INPUT_MHZ 2u
#define PLLN (VP_BOARD_CLOCK_HZ / 1000000u)
#define PLLQ ((2u * PLLN + 47u) / 48u)

_Static_assert(VP_BOARD_CLOCK_HZ % 1000000u == 0u && PLLN >= 50u && PLLN <= 216u,
               "the PLL does not make this clock");

/* Scale 1 without over-drive: F4 up to 168 MHz, F7 up to 180. Wait states at 2.7 .. 3.6 V: one per
 * 30 MHz (RM0090 table 11, RM0385 table 5). */
#define NEEDS_OVERDRIVE (VP_BOARD_CLOCK_HZ > (VP_STM32_F7 ? 180000000u : 168000000u))
#define WAIT_STATES ((VP_BOARD_CLOCK_HZ - 1u) / 30000000u)

/* In reads of a register, each of which takes at least four cycles of the 16 MHz oscillator that the
 * processor runs on here: 0.5 ms for that oscillator itself (4 us at most), 50 ms for the rest (a
 * crystal: 2 ms, PLL lock: 0.3 ms, regulator: 0.1 ms). */
#define HSI_TURNS 2000u
#define TURNS 200000u

static int wait_for(uint32_t address, uint32_t mask, uint32_t value, uint32_t turns)
{
    for (uint32_t turn = 0; turn < turns; turn++) {
        if ((VP_REGISTER(address) & mask) == value) {
            return 1;
        }
    }
    return 0;
}

static int start_hse(void)
{
    RCC_CR &= ~(CR_HSEON | CR_HSEBYP);
    RCC_CR |= VP_STM32_HSE_BYPASS ? CR_HSEBYP : 0u;
    RCC_CR |= CR_HSEON;
    if (wait_for(RCC_CR_ADDRESS, CR_HSERDY, CR_HSERDY, TURNS)) {
        return 1;
    }
    RCC_CR &= ~(CR_HSEON | CR_HSEBYP);
    return 0;
}

static void start_overdrive(void)
{
    RCC_APB1ENR |= RCC_APB1_PWR;
    (void)RCC_APB1ENR;
    PWR_CR |= PWR_OVERDRIVE;
    (void)wait_for(PWR_CSR_ADDRESS, PWR_OVERDRIVE, PWR_OVERDRIVE, TURNS);
    PWR_CR |= PWR_OVERDRIVE_SWITCH;
    (void)wait_for(PWR_CSR_ADDRESS, PWR_OVERDRIVE_SWITCH, PWR_OVERDRIVE_SWITCH, TURNS);
}

/* F4: caches and prefetch of the flash interface. The first silicon of the F407, which goes by another
 * device number, has no working prefetch (ES0182, revision A). F7: what corresponds to them serves the
 * ITCM bus alone; code comes over AXI and the core's caches. */
static uint32_t flash_features(void)
{
    if (VP_STM32_F7) {
        return 0;
    }
    const uint32_t chip = DBGMCU_IDCODE & DBGMCU_DEVICE;
    return FLASH_ACR_CACHES | (chip == STM32F407_REVISION_A ? 0u : FLASH_ACR_PREFETCH);
}

void vp_stm32_start_clock(void)
{
    RCC_CR |= CR_HSION;
    if (!wait_for(RCC_CR_ADDRESS, CR_HSIRDY, CR_HSIRDY, HSI_TURNS)) {
        return;
    }
    /* A bootloader may have left the PLL running. */
    RCC_CFGR = 0;
    (void)wait_for(RCC_CFGR_ADDRESS, CFGR_SWS, 0, TURNS);
    RCC_CR &= ~CR_PLLON;
    (void)wait_for(RCC_CR_ADDRESS, CR_PLLRDY, 0, TURNS);

    const int hse = start_hse();
    const uint32_t divider = (hse ? HSE_MHZ : HSI_MHZ) / PLL_INPUT_MHZ;
    RCC_PLLCFGR = (RCC_PLLCFGR & PLLCFGR_RESERVED) | PLLQ << 24 | (hse ? PLLCFGR_HSE : 0u) |
                  PLLN << 6 | divider;
    RCC_CR |= CR_PLLON;
    if (NEEDS_OVERDRIVE) {
        start_overdrive();
    }
    VP_REGISTER(FLASH_ACR_ADDRESS) = WAIT_STATES | flash_features();
    (void)wait_for(FLASH_ACR_ADDRESS, FLASH_ACR_LATENCY, WAIT_STATES, TURNS);
    if (!wait_for(RCC_CR_ADDRESS, CR_PLLRDY, CR_PLLRDY, TURNS)) {
        return;
    }
    RCC_CFGR = CFGR_PPRE1_QUARTER | CFGR_PPRE2_HALF;
    RCC_CFGR |= CFGR_SW_PLL;
    (void)wait_for(RCC_CFGR_ADDRESS, CFGR_SWS, CFGR_SWS_PLL, TURNS);
}

/* 7.3.21. Power-on sets the flag of the brown-out detector too, and every reset pulls the pin. */
uint8_t vp_board_hardware_reset_cause(void)
{
    const uint32_t flags = RCC_CSR;
    RCC_CSR = flags | RCC_CSR_CLEAR;
    if ((flags & RCC_CSR_POWER) != 0u) {
        return VP_RESET_POWER;
    }
    if ((flags & RCC_CSR_WATCHDOGS) != 0u) {
        return VP_RESET_WATCHDOG;
    }
    return (flags & RCC_CSR_OTHERS) != 0u ? VP_RESET_EXTERNAL : VP_RESET_UNKNOWN;
}
