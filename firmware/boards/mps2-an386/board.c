/* Watchdog, vectors and what main.c asks of the board as a whole. */
#include "mps2.h"
#include "vp/wire.h"

#define WATCHDOG 0x40008000u
#define WATCHDOG_LOAD VP_REGISTER(WATCHDOG + 0x000u)
#define WATCHDOG_CONTROL VP_REGISTER(WATCHDOG + 0x008u)
#define WATCHDOG_CLEAR VP_REGISTER(WATCHDOG + 0x00Cu)
#define WATCHDOG_LOCK VP_REGISTER(WATCHDOG + 0xC00u)
#define WATCHDOG_UNLOCK_KEY 0x1ACCE551u
#define WATCHDOG_RESET_AND_INTERRUPT 3u

/* The first expiry raises the NMI; a second one resets the board, should that hang too. */
#define WATCHDOG_CYCLES (VP_BOARD_WATCHDOG_MS * (VP_BOARD_CLOCK_HZ / 1000u))

_Static_assert((uint64_t)VP_BOARD_WATCHDOG_MS * (VP_BOARD_CLOCK_HZ / 1000u) <= 0xFFFFFFFFu,
               "the watchdog's period does not fit its 32 bits");

/* NMI: the main loop has hung for watchdog_ms. */
uint32_t vp_board_watchdog_exception(void)
{
    return 2;
}

static void start_watchdog(void)
{
    WATCHDOG_LOCK = WATCHDOG_UNLOCK_KEY;
    WATCHDOG_LOAD = WATCHDOG_CYCLES;
    WATCHDOG_CONTROL = WATCHDOG_RESET_AND_INTERRUPT;
    WATCHDOG_LOCK = 0;
}

void vp_board_feed_watchdog(void)
{
    WATCHDOG_LOCK = WATCHDOG_UNLOCK_KEY;
    WATCHDOG_CLEAR = 1;
    WATCHDOG_LOCK = 0;
}

void vp_board_init(void)
{
    vp_core_start_clock();
    vp_mps2_uart_start();
    start_watchdog();
}

/* QEMU's reset register does not tell a watchdog's reset from another. */
uint8_t vp_board_hardware_reset_cause(void)
{
    return VP_RESET_UNKNOWN;
}

const uint8_t *vp_board_provision_block(void)
{
    return (const uint8_t *)VP_BOARD_PROVISION_ADDRESS;
}

/* The board has RAM alone: the counter is the emulator's to raise. */
uint32_t vp_board_stored_boot(void)
{
    return 0;
}

int vp_board_store_boot(uint32_t boot)
{
    (void)boot;
    return 0;
}

static int input_waiting(void)
{
    return vp_mps2_uart_waiting() || vp_mps2_ethernet_waiting();
}

void vp_board_sleep(void)
{
    vp_core_sleep(input_waiting);
}

#define UNUSED vp_core_unexpected
VP_BOARD_VECTORS static const vp_vector vectors[] = {
    vp_mps2_uart_interrupt, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED,
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, vp_mps2_ethernet_interrupt, UNUSED, UNUSED,
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED,
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED,
};
