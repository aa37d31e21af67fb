/* Watchdog, reset cause, vectors and what main.c asks of the board as a whole. */
#include "rp2040.h"
#include "serial_ring.h"

/* Section 4.7. Its counter falls twice a microsecond (erratum RP2040-E1). */
#define WATCHDOG_CTRL VP_REGISTER(0x40058000u)
#define WATCHDOG_LOAD VP_REGISTER(0x40058004u)
#define WATCHDOG_REASON VP_REGISTER(0x40058008u)
#define WATCHDOG_SCRATCH2 VP_REGISTER(0x40058014u)
#define WATCHDOG_TICK VP_REGISTER(0x4005802Cu)
#define CTRL_ENABLE (1u << 30)
#define CTRL_PAUSE_UNDER_DEBUGGER (7u << 24)
#define TICK_ENABLE (1u << 9)
#define REASON_TIMER 1u
#define WATCHDOG_COUNTS (VP_BOARD_WATCHDOG_MS * 2000u)
#define OWN_WATCHDOG 0x56505744u

_Static_assert(WATCHDOG_COUNTS < 1u << 24, "the watchdog's period does not fit its 24 bits");

/* Section 2.13: what the watchdog resets, all but the two oscillators. */
#define PSM_WATCHDOG_SELECT VP_REGISTER(0x40010008u)
#define PSM_ALL_BUT_OSCILLATORS 0x1FFFCu

/* Section 2.12. */
#define CHIP_RESET VP_REGISTER(0x40064008u)
#define CHIP_HAD_POWER_ON (1u << 8)
#define CHIP_HAD_RUN_PIN (1u << 16)
#define CHIP_HAD_DEBUGGER (1u << 20)

/* The chip's flags cannot be cleared: they tell of the last reset of their own level, and a lower one
 * leaves them. So the lowest level is asked first. A UART out of reset means that the core alone was
 * reset; a watchdog's reset is this firmware's only with its mark, as the boot ROM starts a new
 * firmware by watchdog too. The mark outlives the watchdog's reset, and nothing above it. */
uint8_t vp_board_hardware_reset_cause(void)
{
    const uint32_t mark = WATCHDOG_SCRATCH2;
    WATCHDOG_SCRATCH2 = 0;
    if ((VP_REGISTER(VP_RP2040_RESETS) & VP_RP2040_RESET_UART0) == 0u) {
        return VP_RESET_EXTERNAL;
    }
    if (WATCHDOG_REASON != 0u) {
        return WATCHDOG_REASON == REASON_TIMER && mark == OWN_WATCHDOG ? VP_RESET_WATCHDOG
                                                                       : VP_RESET_EXTERNAL;
    }
    if ((CHIP_RESET & CHIP_HAD_POWER_ON) != 0u) {
        return VP_RESET_POWER;
    }
    return (CHIP_RESET & (CHIP_HAD_RUN_PIN | CHIP_HAD_DEBUGGER)) != 0u ? VP_RESET_EXTERNAL
                                                                       : VP_RESET_UNKNOWN;
}

/* First of all, so that it ends every wait for a clock. Until the crystal gives its time it is slower:
 * seven times at most. */
static void start_watchdog(void)
{
    WATCHDOG_TICK = TICK_ENABLE | VP_RP2040_XOSC_MHZ;
    PSM_WATCHDOG_SELECT = PSM_ALL_BUT_OSCILLATORS;
    WATCHDOG_SCRATCH2 = OWN_WATCHDOG;
    WATCHDOG_LOAD = WATCHDOG_COUNTS;
    WATCHDOG_CTRL = CTRL_ENABLE | CTRL_PAUSE_UNDER_DEBUGGER;
}

void vp_board_feed_watchdog(void)
{
    WATCHDOG_LOAD = WATCHDOG_COUNTS;
}

void vp_board_init(void)
{
    start_watchdog();
    vp_rp2040_start_clocks();
    vp_core_start_clock();
    vp_rp2040_uart_start();
}

const uint8_t *vp_board_provision_block(void)
{
    return (const uint8_t *)VP_BOARD_PROVISION_ADDRESS;
}

void vp_board_sleep(void)
{
    vp_core_sleep(vp_serial_waiting);
}

VP_BOARD_VECTORS static const vp_vector vectors[] = {
    [VP_RP2040_UART0_INTERRUPT] = vp_rp2040_uart_interrupt,
};
