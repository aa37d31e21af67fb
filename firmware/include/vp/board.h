/**
 * @file vp/board.h
 * What a board implements so that boards/common/main.c runs on it. A new board is a new folder
 * with these functions, its interrupt vectors and a board.toml.
 *
 * Everything is called from the main loop alone, never from an interrupt.
 */
#ifndef VP_BOARD_H
#define VP_BOARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Bytes of a serial receive ring that loses nothing of a gateway that keeps to the protocol: six
 *  unacknowledged chunks and some smaller messages, while one step of the model runs. */
#define VP_BOARD_SERIAL_RING 4096u

/** Starts clock, serial line and watchdog. */
void vp_board_init(void);

/** Microseconds since vp_board_init; never falls. */
uint64_t vp_board_now_us(void);

/** Takes up to `capacity` received bytes. @return how many. */
size_t vp_board_serial_read(uint8_t *out, size_t capacity);

/** Sends bytes; gives up what the other side does not take in 100 ms. */
void vp_board_serial_write(const uint8_t *data, size_t size);

/** Starts the Ethernet controller under an address. @return 0, or -1 if the board has none. */
int vp_board_ethernet_start(const uint8_t mac[6]);

/** Takes the next received frame, without its checksum. Damaged frames and those longer than
 *  `capacity` are dropped. @return its size; 0 if there is none. */
size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity);

/** Sends one frame (14 .. 1514 bytes, without checksum), or drops it if the controller is full. */
void vp_board_ethernet_write(const uint8_t *frame, size_t size);

/** The VP_PROVISION_SIZE bytes at board.toml's provision_address. */
const uint8_t *vp_board_provision_block(void);

/** Why the board started: enum vp_reset_cause. */
uint8_t vp_board_reset_cause(void);

/** A boot counter that is at least `least` and above every one that this function returned before,
 *  also before a reset. @return 24 bits. */
uint32_t vp_board_next_boot(uint32_t least);

/** To be called once per turn of the main loop; without it the board resets. */
void vp_board_feed_watchdog(void);

/** Sleeps until an interrupt, at most 20 ms, unless received bytes or frames wait already. */
void vp_board_sleep(void);

#ifdef __cplusplus
}
#endif

#endif
