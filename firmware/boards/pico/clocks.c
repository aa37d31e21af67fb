/* Clocks, RP2040 datasheet sections 2.15 (clocks), 2.16 (crystal oscillator) and 2.18 (PLL). */
#include "rp2040.h"

#define CLOCKS 0x40008000u
#define CLK_REF_CTRL (CLOCKS + 0x30u)
#define CLK_REF_SELECTED VP_REGISTER(CLOCKS + 0x38u)
#define CLK_SYS_CTRL (CLOCKS + 0x3Cu)
#define CLK_SYS_DIV VP_REGISTER(CLOCKS + 0x40u)
#define CLK_SYS_SELECTED VP_REGISTER(CLOCKS + 0x44u)
#define CLK_PERI_CTRL VP_REGISTER(CLOCKS + 0x48u)
#define REF_SOURCE_BITS 3u
#define REF_SOURCE_XOSC 2u
#define SYS_SOURCE_AUX 1u
#define SYS_AUX_BITS (7u << 5)
#define PERI_ENABLE (1u << 11)
#define DIVIDE_BY_ONE (1u << 8)

#define XOSC_CTRL VP_REGISTER(0x40024000u)
#define XOSC_STATUS VP_REGISTER(0x40024004u)
#define XOSC_STARTUP VP_REGISTER(0x4002400Cu)
#define XOSC_1_TO_15_MHZ 0xAA0u
#define XOSC_ENABLE (0xFABu << 12)
#define XOSC_STABLE (1u << 31)
#define XOSC_HZ (VP_RP2040_XOSC_MHZ * 1000000u)

#define PLL_CS VP_REGISTER(0x40028000u)
#define PLL_PWR 0x40028004u
#define PLL_FBDIV VP_REGISTER(0x40028008u)
#define PLL_PRIM VP_REGISTER(0x4002800Cu)
#define PLL_LOCK (1u << 31)
#define PLL_POWER_DOWN (1u << 0)
#define PLL_POST_DIVIDER_DOWN (1u << 3)
#define PLL_VCO_DOWN (1u << 5)

/* 1500 MHz from the oscillator, within 750 .. 1600; the post dividers bring it down. */
#define FEEDBACK 125u
#define POST_DIVIDER_1 6u
#define POST_DIVIDER_2 2u
_Static_assert(XOSC_HZ / (POST_DIVIDER_1 * POST_DIVIDER_2) * FEEDBACK == VP_BOARD_CLOCK_HZ,
               "the PLL does not make clock_hz");

/* The oscillator counts this many times 256 cycles before it calls itself stable: 4 ms, as slow
 * crystals need more than the 1 ms of the datasheet's example. */
#define STARTUP_COUNT ((XOSC_HZ / 250u + 255u) / 256u)

void vp_rp2040_release(uint32_t peripherals)
{
    VP_RP2040_CLEAR(VP_RP2040_RESETS) = peripherals;
    while ((VP_REGISTER(VP_RP2040_RESETS_DONE) & peripherals) != peripherals) {
    }
}

static void start_crystal(void)
{
    XOSC_STARTUP = STARTUP_COUNT;
    XOSC_CTRL = XOSC_ENABLE | XOSC_1_TO_15_MHZ;
    while ((XOSC_STATUS & XOSC_STABLE) == 0u) {
    }
}

static void start_pll(void)
{
    VP_RP2040_SET(VP_RP2040_RESETS) = VP_RP2040_RESET_PLL_SYS;
    vp_rp2040_release(VP_RP2040_RESET_PLL_SYS);
    PLL_CS = 1; /* The crystal, undivided. */
    PLL_FBDIV = FEEDBACK;
    VP_RP2040_CLEAR(PLL_PWR) = PLL_POWER_DOWN | PLL_VCO_DOWN;
    while ((PLL_CS & PLL_LOCK) == 0u) {
    }
    PLL_PRIM = POST_DIVIDER_1 << 16 | POST_DIVIDER_2 << 12;
    VP_RP2040_CLEAR(PLL_PWR) = PLL_POST_DIVIDER_DOWN;
}

/* A reset of the core alone leaves the PLL running and the core on it: back to the slow clock first,
 * as the PLL stops under whoever runs on it. */
void vp_rp2040_start_clocks(void)
{
    VP_RP2040_CLEAR(CLK_SYS_CTRL) = SYS_SOURCE_AUX;
    while (CLK_SYS_SELECTED != 1u) {
    }
    VP_RP2040_CLEAR(CLK_REF_CTRL) = REF_SOURCE_BITS;
    while (CLK_REF_SELECTED != 1u) {
    }
    start_crystal();
    start_pll();
    VP_RP2040_SET(CLK_REF_CTRL) = REF_SOURCE_XOSC;
    while (CLK_REF_SELECTED != 1u << REF_SOURCE_XOSC) {
    }
    CLK_SYS_DIV = DIVIDE_BY_ONE;
    VP_RP2040_CLEAR(CLK_SYS_CTRL) = SYS_AUX_BITS; /* All zero: the PLL. */
    VP_RP2040_SET(CLK_SYS_CTRL) = SYS_SOURCE_AUX;
    while (CLK_SYS_SELECTED != 1u << SYS_SOURCE_AUX) {
    }
    CLK_PERI_CTRL = PERI_ENABLE; /* From the core's clock. */
}
