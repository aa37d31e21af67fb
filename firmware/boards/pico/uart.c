/* UART 0 (PL011, RP2040 datasheet section 4.2) on GP0 (out) and GP1 (in). */
#include "rp2040.h"
#include "serial_ring.h"

#define UART 0x40034000u
#define UART_DATA VP_REGISTER(UART + 0x00u)
#define UART_FLAGS VP_REGISTER(UART + 0x18u)
#define UART_DIVIDER VP_REGISTER(UART + 0x24u)
#define UART_DIVIDER_64THS VP_REGISTER(UART + 0x28u)
#define UART_LINE VP_REGISTER(UART + 0x2Cu)
#define UART_CONTROL VP_REGISTER(UART + 0x30u)
#define UART_LEVELS VP_REGISTER(UART + 0x34u)
#define UART_INTERRUPT_MASK VP_REGISTER(UART + 0x38u)
#define FLAG_RX_EMPTY (1u << 4)
#define FLAG_TX_FULL (1u << 5)
#define LINE_8_BITS (3u << 5)
#define LINE_FIFOS (1u << 4)
#define CONTROL_ENABLE_TX_RX (1u << 0 | 1u << 8 | 1u << 9)
#define LEVEL_RX_QUARTER (1u << 3)
#define INTERRUPT_RX_LEVEL (1u << 4)
#define INTERRUPT_RX_TIMEOUT (1u << 6)

#define PIN_FUNCTION(pin) VP_REGISTER(0x40014004u + 8u * (pin))
#define PIN_PAD(pin) VP_REGISTER(0x4001C004u + 4u * (pin))
#define FUNCTION_UART 2u
#define PAD_INPUT_WITH_PULL_UP 0x5Au /* Reset value, with the pull-up in place of the pull-down. */
#define PIN_TX 0u
#define PIN_RX 1u

/* In 64ths; section 4.2.7.1. */
#define DIVIDER ((VP_BOARD_CLOCK_HZ * 4u + VP_BOARD_SERIAL_BAUD / 2u) / VP_BOARD_SERIAL_BAUD)

_Static_assert(DIVIDER >= 64u && DIVIDER < 64u << 16, "no divider makes serial_baud");

/* Nothing comes in while the pin floats: its pull-up is on before the UART listens. */
void vp_rp2040_uart_start(void)
{
    vp_rp2040_release(VP_RP2040_RESET_IO_BANK0 | VP_RP2040_RESET_PADS_BANK0 |
                      VP_RP2040_RESET_UART0);
    PIN_PAD(PIN_RX) = PAD_INPUT_WITH_PULL_UP;
    UART_CONTROL = 0;
    UART_DIVIDER = DIVIDER / 64u;
    UART_DIVIDER_64THS = DIVIDER % 64u;
    UART_LINE = LINE_8_BITS | LINE_FIFOS; /* Also takes the divider over. */
    UART_LEVELS = LEVEL_RX_QUARTER;
    UART_INTERRUPT_MASK = INTERRUPT_RX_LEVEL | INTERRUPT_RX_TIMEOUT;
    UART_CONTROL = CONTROL_ENABLE_TX_RX;
    PIN_FUNCTION(PIN_TX) = FUNCTION_UART;
    PIN_FUNCTION(PIN_RX) = FUNCTION_UART;
    vp_core_enable_interrupt(VP_RP2040_UART0_INTERRUPT);
}

/* Emptying the FIFO takes both of its interrupts back. */
void vp_rp2040_uart_interrupt(void)
{
    while ((UART_FLAGS & FLAG_RX_EMPTY) == 0u) {
        vp_serial_received((uint8_t)(UART_DATA & 255u));
    }
}

int vp_uart_can_send(void)
{
    return (UART_FLAGS & FLAG_TX_FULL) == 0u;
}

void vp_uart_send(uint8_t byte)
{
    UART_DATA = byte;
}
