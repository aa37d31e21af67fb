/* CMSDK watchdog (Arm DDI 0479, 4.6), and what main.c asks of the board as a whole. */
#include "mps2.h"
#include "serial_ring.h"

#define WATCHDOG_LOAD VP_REGISTER(VP_MPS2_WATCHDOG + 0x000u)
#define WATCHDOG_CONTROL VP_REGISTER(VP_MPS2_WATCHDOG + 0x008u)
#define WATCHDOG_CLEAR VP_REGISTER(VP_MPS2_WATCHDOG + 0x00Cu)
#define WATCHDOG_LOCK VP_REGISTER(VP_MPS2_WATCHDOG + 0xC00u)
#define WATCHDOG_UNLOCK_KEY 0x1ACCE551u
#define WATCHDOG_RESET_AND_INTERRUPT 3u
#define NMI 2u

/* The first expiry raises the NMI; a second one resets the board, should that hang too. */
#define WATCHDOG_COUNTS ((uint64_t)VP_BOARD_WATCHDOG_MS * VP_MPS2_WATCHDOG_HZ / 1000u)

_Static_assert(WATCHDOG_COUNTS > 0u && WATCHDOG_COUNTS <= 0xFFFFFFFFu,
               "the watchdog's period does not fit its 32 bits");

uint32_t vp_board_watchdog_exception(void)
{
    return NMI;
}

static void start_watchdog(void)
{
    WATCHDOG_LOCK = WATCHDOG_UNLOCK_KEY;
    WATCHDOG_LOAD = (uint32_t)WATCHDOG_COUNTS;
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
    vp_core_enable_caches();
    vp_core_start_clock();
    vp_mps2_uart_start();
    start_watchdog();
}

/* The FPGA images tell a loss of power from another reset in no way that emulators follow; what RAM
 * holds does. */
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
    return vp_serial_waiting() || vp_mps2_ethernet_waiting();
}

void vp_board_sleep(void)
{
    vp_core_sleep(input_waiting);
}

VP_BOARD_VECTORS static const vp_vector vectors[] = {
    [VP_MPS2_UART_INTERRUPT] = vp_mps2_uart_interrupt,
    [VP_MPS2_ETHERNET_INTERRUPT] = vp_mps2_ethernet_interrupt,
};
