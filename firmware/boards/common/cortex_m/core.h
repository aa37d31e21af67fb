/**
 * @file core.h
 * What every Cortex-M board shares: vectors, clock, reset record, sleep.
 */
#ifndef VP_CORTEX_M_CORE_H
#define VP_CORTEX_M_CORE_H

#include <stdint.h>

#include "vp/board.h"

#define VP_REGISTER(address) (*(volatile uint32_t *)(address))

/** Entry of a vector table. */
typedef void (*vp_vector)(void);

/** Puts a board's interrupt vectors behind the 16 of the core. */
#define VP_BOARD_VECTORS __attribute__((section(".vectors.board"), used))

/** Takes any interrupt that the board does not use: recorded as a fault, then reset. */
void vp_core_unexpected(void);

/** SysTick from the core clock at 50 Hz. */
void vp_core_start_clock(void);

void vp_core_enable_interrupt(unsigned number);

/** Sleeps until an interrupt is pending, unless `waiting` says that there is work. It is asked with
 *  interrupts off, so that none slips in between the question and the sleep. */
void vp_core_sleep(int (*waiting)(void));

/** Leaves a cause for the next start: enum vp_reset_cause. */
void vp_core_record_cause(uint32_t cause);

/** NMI. A board whose watchdog warns before it bites defines it; elsewhere an NMI is a fault. */
void vp_board_watchdog_barked(void);

#endif
