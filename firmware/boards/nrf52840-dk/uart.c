/* UARTE 0 (nRF52840 PS, chapter UARTE) on P0.06 (out) and P0.08 (in), the lines of the DK's USB port.
 *
 * It receives by DMA only, and tells how many bytes came only when a buffer is full: so the buffer is
 * one byte, and each brings an interrupt. While that one waits to be served, up to four more stand in
 * the UARTE's own FIFO: 430 us at 115,200 baud. Interrupts are never off that long but while a page
 * of the boot journal is erased, which stops the core for 85 ms. */
#include "nrf52840.h"
#include "serial_ring.h"

#define UARTE 0x40002000u
#define TASKS_STARTRX VP_REGISTER(UARTE + 0x000u)
#define TASKS_STARTTX VP_REGISTER(UARTE + 0x008u)
#define EVENTS_ENDRX VP_REGISTER(UARTE + 0x110u)
#define EVENTS_ENDTX VP_REGISTER(UARTE + 0x120u)
#define INTENSET VP_REGISTER(UARTE + 0x304u)
#define ENABLE VP_REGISTER(UARTE + 0x500u)
#define PSEL_TXD VP_REGISTER(UARTE + 0x50Cu)
#define PSEL_RXD VP_REGISTER(UARTE + 0x514u)
#define BAUDRATE VP_REGISTER(UARTE + 0x524u)
#define RXD_PTR VP_REGISTER(UARTE + 0x534u)
#define RXD_MAXCNT VP_REGISTER(UARTE + 0x538u)
#define TXD_PTR VP_REGISTER(UARTE + 0x544u)
#define TXD_MAXCNT VP_REGISTER(UARTE + 0x548u)
#define INTEN_ENDRX (1u << 4)
#define ENABLE_UARTE 8u
#define BAUD_115200 0x01D60000u /* 115,108 with the crystal. */

#define P0_OUTSET VP_REGISTER(0x50000508u)
#define P0_PIN_CNF(pin) VP_REGISTER(0x50000700u + 4u * (pin))
#define PIN_OUTPUT 3u               /* Its input buffer off. */
#define PIN_INPUT_PULLED_UP (3u << 2)
#define PIN_TX 6u
#define PIN_RX 8u

_Static_assert(VP_BOARD_SERIAL_BAUD == 115200u, "the divider is that of 115,200 baud");

/* What DMA reads and writes. */
static volatile uint8_t received;
static volatile uint8_t sent;
static int sending;

void vp_nrf52840_uart_start(void)
{
    P0_OUTSET = 1u << PIN_TX;
    P0_PIN_CNF(PIN_TX) = PIN_OUTPUT;
    P0_PIN_CNF(PIN_RX) = PIN_INPUT_PULLED_UP;
    PSEL_TXD = PIN_TX;
    PSEL_RXD = PIN_RX;
    BAUDRATE = BAUD_115200;
    ENABLE = ENABLE_UARTE;
    TXD_PTR = (uint32_t)&sent;
    TXD_MAXCNT = 1;
    RXD_PTR = (uint32_t)&received;
    RXD_MAXCNT = 1;
    INTENSET = INTEN_ENDRX;
    vp_core_enable_interrupt(VP_NRF52840_UARTE0_INTERRUPT);
    TASKS_STARTRX = 1;
}

/* The event is read back, or its interrupt would still stand when this one returns. */
void vp_nrf52840_uart_interrupt(void)
{
    if (EVENTS_ENDRX == 0u) {
        return;
    }
    EVENTS_ENDRX = 0;
    (void)EVENTS_ENDRX;
    vp_serial_received(received);
    TASKS_STARTRX = 1;
}

int vp_uart_can_send(void)
{
    return !sending || EVENTS_ENDTX != 0u;
}

void vp_uart_send(uint8_t byte)
{
    sent = byte;
    sending = 1;
    EVENTS_ENDTX = 0;
    __asm volatile("dmb" ::: "memory");
    TASKS_STARTTX = 1;
}
