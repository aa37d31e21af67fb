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

#include "vp/capture.h"
#include "vp/wire.h"

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

/** Sends bytes; gives up what the other side does not take within `patience_us`. While it still takes
 *  nothing, later calls give up at once; the first one that it takes begins with a zero byte. */
void vp_board_serial_write(const uint8_t *data, size_t size, uint32_t patience_us);

/** Starts the Ethernet controller under an address. @return 0, or -1 if the board has none. */
int vp_board_ethernet_start(const uint8_t mac[6]);

/** Takes the next received frame, without its checksum. Damaged frames and those longer than
 *  `capacity` are dropped. @return its size; 0 if there is none. */
size_t vp_board_ethernet_read(uint8_t *frame, size_t capacity);

/** Sends one frame (14 .. 1514 bytes, without checksum), or drops it if the controller is full. */
void vp_board_ethernet_write(const uint8_t *frame, size_t size);

/** Starts the board's own input source: camera, microphone, IMU (docs/sensors.md).
 *  @return 0, or -1 if the board has none, or does not find it. */
int vp_board_source_start(void);

/** Begins a capture. Called after vp_board_source_start returned 0, and with no other capture under way. May
 *  set capture->height and ->width, and leaves the rest alone. @return 0, or -1: the source failed. */
int vp_board_capture_begin(vp_capture *capture);

/** Takes what the source has meanwhile into capture->pixels and raises capture->filled, by as much as
 *  a few milliseconds allow, or not at all; never waits. Called once per turn of the main loop until the input
 *  is complete. @return 0, or -1: the source failed, and vp_board_capture_cancel follows. */
int vp_board_capture_poll(vp_capture *capture);

/** Ends a capture that is not complete. The pixels are no longer the source's to write, even by DMA. */
void vp_board_capture_cancel(void);

/** The VP_PROVISION_SIZE bytes at board.toml's provision_address. */
const uint8_t *vp_board_provision_block(void);

/** Why the chip started, by its own reset register, which this clears: enum vp_reset_cause, and
 *  VP_RESET_UNKNOWN where there is no such register. A reset that the software asked for is
 *  VP_RESET_EXTERNAL. Where several flags stand, power wins over watchdog, and that over external.
 *  Called once, before vp_board_init, on the clock that the chip starts with. */
uint8_t vp_board_hardware_reset_cause(void);

/** Why the board started: enum vp_reset_cause. What vp_board_hardware_reset_cause said, refined by
 *  what the last run left in RAM. */
uint8_t vp_board_reset_cause(void);

/** What the processor held when a fault, or a watchdog that warns first, ended the last run; NULL if
 *  something else ended it. */
const vp_fault *vp_board_fault(void);

/** A boot counter that is at least `least` and above every one that this function returned before,
 *  also before a reset, but not before a loss of power. @return 24 bits. */
uint32_t vp_board_next_boot(uint32_t least);

/** The last boot counter that vp_board_store_boot stored; 0 if there is none. */
uint32_t vp_board_stored_boot(void);

/** Stores a boot counter where it survives a loss of power, before the first message carries it: at
 *  every boot and after every 65,536 messages. A write that is cut short must leave the old one or
 *  the new one. @return 1, or 0 if the board has no memory of its own for it: after a loss of power
 *  its counter then starts from the provisioning block again, and the gateway refuses the node until
 *  whoever cut the power has raised the block's value. */
int vp_board_store_boot(uint32_t boot);

/** The gateway's boot counter that was kept last; 0 after a loss of power. */
uint32_t vp_board_gateway_boot(void);

/** Keeps the gateway's boot counter (24 bits) over a reset. */
void vp_board_keep_gateway_boot(uint32_t boot);

/** To be called once per turn of the main loop; without it the board resets. */
void vp_board_feed_watchdog(void);

/** Sleeps until an interrupt, at most 20 ms, unless received bytes or frames wait already. */
void vp_board_sleep(void);

#ifdef __cplusplus
}
#endif

#endif
