/* CMSDK APB UART 0. */
#include "mps2.h"

#define UART 0x40004000u
#define UART_DATA VP_REGISTER(UART + 0x00u)
#define UART_STATE VP_REGISTER(UART + 0x04u)
#define UART_CONTROL VP_REGISTER(UART + 0x08u)
#define UART_INTERRUPT VP_REGISTER(UART + 0x0Cu)
#define UART_DIVIDER VP_REGISTER(UART + 0x10u)
#define STATE_TX_FULL 1u
#define STATE_RX_FULL 2u
#define CONTROL_TX_RX_RX_INTERRUPT 0xBu
#define INTERRUPT_RX 2u

#define BAUD 115200u
#define RING_MASK (VP_BOARD_SERIAL_RING - 1u)

_Static_assert((VP_BOARD_SERIAL_RING & RING_MASK) == 0u, "the ring's size is not a power of two");

/* Written by the interrupt: head; by the main loop: tail. A full ring drops what comes: the frame
 * is damaged then, and its CRC or tag says so. */
static volatile uint8_t ring[VP_BOARD_SERIAL_RING];
static volatile uint32_t head;
static volatile uint32_t tail;
static int cut_short;

void vp_mps2_uart_start(void)
{
    UART_DIVIDER = (VP_BOARD_CLOCK_HZ + BAUD / 2u) / BAUD;
    UART_CONTROL = CONTROL_TX_RX_RX_INTERRUPT;
    (void)UART_DATA; /* QEMU looks for input after a reset only once somebody reads. */
    vp_core_enable_interrupt(VP_MPS2_UART_INTERRUPT);
}

/* Acknowledged before the data is read: a byte that comes in between raises it again. */
void vp_mps2_uart_interrupt(void)
{
    UART_INTERRUPT = INTERRUPT_RX;
    while ((UART_STATE & STATE_RX_FULL) != 0u) {
        const uint8_t byte = (uint8_t)(UART_DATA & 255u);
        if (head - tail < VP_BOARD_SERIAL_RING) {
            ring[head & RING_MASK] = byte;
            head++;
        }
    }
}

int vp_mps2_uart_waiting(void)
{
    return head != tail;
}

size_t vp_board_serial_read(uint8_t *out, size_t capacity)
{
    size_t count = 0;
    while (count < capacity && head != tail) {
        out[count++] = ring[tail & RING_MASK];
        tail++;
    }
    return count;
}

static int write_byte(uint8_t byte, uint64_t deadline_us)
{
    while ((UART_STATE & STATE_TX_FULL) != 0u) {
        if (vp_board_now_us() >= deadline_us) {
            return 0;
        }
    }
    UART_DATA = byte;
    return 1;
}

void vp_board_serial_write(const uint8_t *data, size_t size, uint32_t patience_us)
{
    const uint64_t deadline_us = vp_board_now_us() + patience_us;
    /* Ends the frame that an earlier call could not finish, or it would swallow this one. Whoever
     * still does not read is not waited for. */
    if (cut_short && !write_byte(0, 0)) {
        return;
    }
    cut_short = 0;
    for (size_t i = 0; i < size; i++) {
        if (!write_byte(data[i], deadline_us)) {
            cut_short = 1;
            return;
        }
    }
}
