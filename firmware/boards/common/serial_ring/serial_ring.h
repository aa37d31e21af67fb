/**
 * @file serial_ring.h
 * The serial line of vp/board.h for a UART that gives and takes single bytes: a receive ring that its
 * interrupt fills, and polled sending.
 */
#ifndef VP_SERIAL_RING_H
#define VP_SERIAL_RING_H

#include <stdint.h>

/** Takes a received byte; from the UART's interrupt alone. A full ring drops it: the frame is damaged
 *  then, and its CRC or tag says so. */
void vp_serial_received(uint8_t byte);

/** Whether vp_board_serial_read would give something. */
int vp_serial_waiting(void);

/** The board's: whether the UART takes a byte now. */
int vp_uart_can_send(void);

/** The board's: hands the UART a byte; called only while it takes one. */
void vp_uart_send(uint8_t byte);

#endif
