/* Clock, watchdog, reset cause, vectors and what main.c asks of the board as a whole. */
#include "nrf52840.h"
#include "serial_ring.h"

/* Chapters POWER and CLOCK. */
#define TASKS_HFCLKSTART VP_REGISTER(0x40000000u)
#define HFCLKSTAT VP_REGISTER(0x4000040Cu)
#define HFCLKSTAT_CRYSTAL_RUNS (1u << 16 | 1u << 0)
#define RESETREAS VP_REGISTER(0x40000400u)
#define RESETREAS_PIN (1u << 0)
#define RESETREAS_WATCHDOG (1u << 1)
#define RESETREAS_LOCKUP (1u << 3)

/* Chapter NVMC: the cache of code from the flash. */
#define ICACHECNF VP_REGISTER(0x4001E540u)
#define ICACHECNF_ENABLE 1u

/* Chapter WDT. Counts at 32,768 Hz. */
#define WDT 0x40010000u
#define WDT_START VP_REGISTER(WDT + 0x000u)
#define WDT_INTENSET VP_REGISTER(WDT + 0x304u)
#define WDT_CRV VP_REGISTER(WDT + 0x504u)
#define WDT_RREN VP_REGISTER(WDT + 0x508u)
#define WDT_CONFIG VP_REGISTER(WDT + 0x50Cu)
#define WDT_RR0 VP_REGISTER(WDT + 0x600u)
#define WDT_RUN_IN_SLEEP 1u /* And not while a debugger halts the core. */
#define WDT_RELOAD 0x6E524635u
#define WDT_COUNTS ((uint32_t)(VP_BOARD_WATCHDOG_MS * 32768ull / 1000u))

/* Access port protection: chapter "Debug and trace", and configuration 249 of Nordic's MDK for the
 * silicon that has it (words of FICR that the specification leaves out). */
#define FICR_SERIES VP_REGISTER(0x10000130u)
#define FICR_REVISION VP_REGISTER(0x10000134u)
#define SERIES_NRF52840 8u
#define REVISION_3 5u
#define UICR_APPROTECT VP_REGISTER(0x10001208u)
#define APPROTECT_DISABLE VP_REGISTER(0x40000558u)

/* Since revision 3 the chip locks its debug port at every reset until the firmware, too, says that it
 * is to be open. What the user has set in UICR decides, as on the silicon before. */
static void open_debug_port(void)
{
    if (FICR_SERIES == SERIES_NRF52840 && FICR_REVISION >= REVISION_3) {
        APPROTECT_DISABLE = UICR_APPROTECT;
    }
}

/* After a reset by pin, the other flags mean nothing (erratum 136). None at all is power-on or
 * brown-out. */
uint8_t vp_board_hardware_reset_cause(void)
{
    const uint32_t flags = RESETREAS;
    RESETREAS = flags;
    if (flags == 0u) {
        return VP_RESET_POWER;
    }
    if ((flags & RESETREAS_PIN) != 0u) {
        return VP_RESET_EXTERNAL;
    }
    if ((flags & RESETREAS_WATCHDOG) != 0u) {
        return VP_RESET_WATCHDOG;
    }
    return (flags & RESETREAS_LOCKUP) != 0u ? VP_RESET_FAULT : VP_RESET_EXTERNAL;
}

/* Its interrupt comes 61 us before its reset: time enough for the record. */
uint32_t vp_board_watchdog_exception(void)
{
    return 16u + VP_NRF52840_WDT_INTERRUPT;
}

/* First of all, so that it ends the wait for the crystal. It runs on over a reset by software, with the
 * same setting, and takes no other until it has bitten. */
static void start_watchdog(void)
{
    WDT_CONFIG = WDT_RUN_IN_SLEEP;
    WDT_CRV = WDT_COUNTS - 1u;
    WDT_RREN = 1;
    WDT_INTENSET = 1;
    vp_core_enable_interrupt(VP_NRF52840_WDT_INTERRUPT);
    WDT_START = 1;
    vp_board_feed_watchdog();
}

void vp_board_feed_watchdog(void)
{
    WDT_RR0 = WDT_RELOAD;
}

/* The UART's bits are timed by the crystal: the chip's own oscillator may be 6% off. */
static void start_crystal(void)
{
    TASKS_HFCLKSTART = 1;
    while ((HFCLKSTAT & HFCLKSTAT_CRYSTAL_RUNS) != HFCLKSTAT_CRYSTAL_RUNS) {
    }
}

void vp_board_init(void)
{
    start_watchdog();
    open_debug_port();
    ICACHECNF = ICACHECNF_ENABLE;
    start_crystal();
    vp_core_start_clock();
    vp_nrf52840_uart_start();
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
    [VP_NRF52840_UARTE0_INTERRUPT] = vp_nrf52840_uart_interrupt,
    [VP_NRF52840_TIMER0_INTERRUPT] = vp_nrf52840_timer_interrupt,
    [VP_NRF52840_WDT_INTERRUPT] = vp_core_unexpected,
};
