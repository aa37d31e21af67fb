/* nRF51 UART (nRF51 Series Reference Manual, chapter 29), and nothing else: for tests in QEMU. */
#include "core.h"
#include "serial_ring.h"

#define UART 0x40002000u
#define START_RX VP_REGISTER(UART + 0x000u)
#define START_TX VP_REGISTER(UART + 0x008u)
#define RX_READY VP_REGISTER(UART + 0x108u)
#define TX_READY VP_REGISTER(UART + 0x11Cu)
#define INTERRUPT_SET VP_REGISTER(UART + 0x304u)
#define ENABLE VP_REGISTER(UART + 0x500u)
#define RX_DATA VP_REGISTER(UART + 0x518u)
#define TX_DATA VP_REGISTER(UART + 0x51Cu)
#define BAUD_RATE VP_REGISTER(UART + 0x524u)
#define ENABLED 4u
#define BAUD_115200 0x01D7E000u
#define INTERRUPT_RX_READY (1u << 2)
#define UART_INTERRUPT 2u

static int sending;

static void uart_interrupt(void)
{
    while (RX_READY != 0u) {
        RX_READY = 0;
        vp_serial_received((uint8_t)RX_DATA);
    }
}

int vp_uart_can_send(void)
{
    return !sending || TX_READY != 0u;
}

void vp_uart_send(uint8_t byte)
{
    TX_READY = 0;
    TX_DATA = byte;
    sending = 1;
}

void vp_board_init(void)
{
    vp_core_enable_caches();
    vp_core_start_clock();
    ENABLE = ENABLED;
    BAUD_RATE = BAUD_115200;
    INTERRUPT_SET = INTERRUPT_RX_READY;
    START_TX = 1;
    START_RX = 1;
    vp_core_enable_interrupt(UART_INTERRUPT);
}

uint8_t vp_board_hardware_reset_cause(void)
{
    return VP_RESET_UNKNOWN;
}

const uint8_t *vp_board_provision_block(void)
{
    return (const uint8_t *)VP_BOARD_PROVISION_ADDRESS;
}

uint32_t vp_board_stored_boot(void)
{
    return 0;
}

int vp_board_store_boot(uint32_t boot)
{
    (void)boot;
    return 0;
}

void vp_board_feed_watchdog(void)
{
}

void vp_board_sleep(void)
{
    vp_core_sleep(vp_serial_waiting);
}

VP_BOARD_VECTORS static const vp_vector vectors[] = {[UART_INTERRUPT] = uart_interrupt};
