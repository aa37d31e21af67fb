/**
 * @file core.h
 * What every Cortex-M board shares: vectors, clock, caches, records over a reset, sleep.
 */
#ifndef VP_CORTEX_M_CORE_H
#define VP_CORTEX_M_CORE_H

#include <stdint.h>

#include "vp/board.h"

/* Tests on the host bring registers of their own. */
#ifndef VP_REGISTER
#define VP_REGISTER(address) (*(volatile uint32_t *)(address))

/** Completes every memory access before the next instruction. */
#define VP_CORE_BARRIER() __asm volatile("dsb\n isb" ::: "memory")
#endif

/** Entry of a vector table. */
typedef void (*vp_vector)(void);

/** Puts a board's interrupt vectors behind the 16 of the core. */
#define VP_BOARD_VECTORS __attribute__((section(".vectors.board"), used))

/** Takes every fault and every interrupt that the board does not use: recorded, then reset. */
void vp_core_unexpected(void);

/** The exception by which the watchdog warns before it bites (2: the NMI; 16 + n: interrupt n, whose
 *  vector then is vp_core_unexpected): its record names the watchdog, and where the program hung.
 *  A board whose watchdog does not warn leaves this undefined. */
uint32_t vp_board_watchdog_exception(void);

/** SysTick from the core clock at 50 Hz. A board whose SysTick stands still while the core sleeps
 *  defines this and vp_board_now_us itself. */
void vp_core_start_clock(void);

void vp_core_enable_interrupt(unsigned number);

/** Sleeps until an interrupt is pending, unless `waiting` says that there is work. It is asked with
 *  interrupts off, so that none slips in between the question and the sleep. */
void vp_core_sleep(int (*waiting)(void));

/** Bytes that the caches below handle at a time. What a DMA controller reads or writes should begin at
 *  a multiple of it and fill whole lines, or share them with nothing that the program writes. */
#define VP_CORE_CACHE_LINE 32u

/** Invalidates and enables the instruction and the data cache, if the core has them and they are off.
 *  For vp_board_init. */
void vp_core_enable_caches(void);

/** Writes the lines of some bytes to memory: before a DMA controller reads them. Here and below:
 *  nothing where the data cache is off. */
void vp_core_clean_dcache(const volatile void *data, size_t size);

/** Drops the lines of some bytes: after a DMA controller or the flash controller has written them.
 *  What the program wrote to these lines and has not cleaned is lost. */
void vp_core_invalidate_dcache(const volatile void *data, size_t size);

#endif
