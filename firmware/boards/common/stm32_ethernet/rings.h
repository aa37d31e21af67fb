/**
 * @file rings.h
 * The two rings of descriptors between driver and DMA, and their buffers.
 */
#ifndef VP_STM32_RINGS_H
#define VP_STM32_RINGS_H

#include <stddef.h>
#include <stdint.h>

/** Bytes of a buffer, a multiple of 4. A full chunk of the protocol (540 bytes of message, 42 of
 *  headers, 4 of checksum) fits one; a longer frame goes through several. */
#define VP_RINGS_BUFFER 608u

/** Frames that wait for the main loop at most: the six chunks of a window, and what else is on the
 *  network meanwhile. */
#define VP_RINGS_RECEIVE 16u

/** A frame of 1514 bytes takes three. */
#define VP_RINGS_SEND 6u

/** Empties both rings and tells the DMA where they are; it must stand still. */
void vp_rings_start(void);

/** Whether vp_rings_receive has something to do. */
int vp_rings_waiting(void);

/** Takes the next good frame without its checksum and drops those before it that are damaged or longer
 *  than `capacity`. @return its size, or 0. */
size_t vp_rings_receive(uint8_t *frame, size_t capacity);

/** Hands a frame of 1 .. 1514 bytes to the DMA. @return 1, or 0 if there is no room for it now. */
int vp_rings_send(const uint8_t *frame, size_t size);

#endif
