/* CMSDK APB UART (Arm DDI 0479, 4.3). */
#include "mps2.h"
#include "serial_ring.h"

#define UART_DATA VP_REGISTER(VP_MPS2_UART + 0x00u)
#define UART_STATE VP_REGISTER(VP_MPS2_UART + 0x04u)
#define UART_CONTROL VP_REGISTER(VP_MPS2_UART + 0x08u)
#define UART_INTERRUPT VP_REGISTER(VP_MPS2_UART + 0x0Cu)
#define UART_DIVIDER VP_REGISTER(VP_MPS2_UART + 0x10u)
#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define CONTROL_TX_RX_RX_INTERRUPT 0xBu
#define INTERRUPT_RX 2u
#define DIVIDER ((VP_MPS2_UART_HZ + VP_BOARD_SERIAL_BAUD / 2u) / VP_BOARD_SERIAL_BAUD)

_Static_assert(DIVIDER >= 16u && DIVIDER < 1u << 20, "no divider makes serial_baud");

void vp_mps2_uart_start(void)
{
    UART_DIVIDER = DIVIDER;
    UART_CONTROL = CONTROL_TX_RX_RX_INTERRUPT;
    UART_INTERRUPT = INTERRUPT_RX; /* Renode's line stays up over a reset, and tells nothing more. */
    (void)UART_DATA; /* QEMU looks for input after a reset only once somebody reads. */
    vp_core_enable_interrupt(VP_MPS2_UART_INTERRUPT);
}

/* Acknowledged before the data is read: a byte that comes in between raises it again. */
void vp_mps2_uart_interrupt(void)
{
    UART_INTERRUPT = INTERRUPT_RX;
    while ((UART_STATE & STATE_RX_FULL) != 0u) {
        vp_serial_received((uint8_t)(UART_DATA & 255u));
    }
}

int vp_uart_can_send(void)
{
    return (UART_STATE & STATE_TX_FULL) == 0u;
}

void vp_uart_send(uint8_t byte)
{
    UART_DATA = byte;
}
