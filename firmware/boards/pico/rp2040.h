/**
 * @file rp2040.h
 * Registers of the RP2040 that more than one file of this board uses, and what the files share.
 * Addresses and fields: RP2040 datasheet, section 2.2 (address map) and each peripheral's list.
 */
#ifndef VP_RP2040_H
#define VP_RP2040_H

#include "core.h"

/* Section 2.1.2: writes to these aliases of a register set or clear bits of it. */
#define VP_RP2040_SET(address) VP_REGISTER((address) + 0x2000u)
#define VP_RP2040_CLEAR(address) VP_REGISTER((address) + 0x3000u)

/* Subsystem resets, section 2.14. */
#define VP_RP2040_RESETS 0x4000C000u
#define VP_RP2040_RESETS_DONE 0x4000C008u
#define VP_RP2040_RESET_IO_BANK0 (1u << 5)
#define VP_RP2040_RESET_PADS_BANK0 (1u << 8)
#define VP_RP2040_RESET_PLL_SYS (1u << 12)
#define VP_RP2040_RESET_UART0 (1u << 22)

#define VP_RP2040_UART0_INTERRUPT 20

/* The board's crystal. */
#define VP_RP2040_XOSC_MHZ 12u

/** Takes peripherals out of reset and waits until they are: bits VP_RP2040_RESET_*. */
void vp_rp2040_release(uint32_t peripherals);

/** Crystal, PLL and dividers: 125 MHz for the core and the UART, 12 MHz for the watchdog's tick. A
 *  crystal that does not start is the watchdog's business. */
void vp_rp2040_start_clocks(void);

void vp_rp2040_uart_start(void);
void vp_rp2040_uart_interrupt(void);

#endif
