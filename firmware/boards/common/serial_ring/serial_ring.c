#include "serial_ring.h"

#include "vp/board.h"

#define RING_MASK (VP_BOARD_SERIAL_RING - 1u)

_Static_assert((VP_BOARD_SERIAL_RING & RING_MASK) == 0u, "the ring's size is not a power of two");

/* Written by the interrupt: head; by the main loop: tail. */
static volatile uint8_t ring[VP_BOARD_SERIAL_RING];
static volatile uint32_t head;
static volatile uint32_t tail;
static int cut_short;

void vp_serial_received(uint8_t byte)
{
    if (head - tail < VP_BOARD_SERIAL_RING) {
        ring[head & RING_MASK] = byte;
        head++;
    }
}

int vp_serial_waiting(void)
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
    while (!vp_uart_can_send()) {
        if (vp_board_now_us() >= deadline_us) {
            return 0;
        }
    }
    vp_uart_send(byte);
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
