/**
 * @file core.h
 * Stands in for boards/common/cortex_m/core.h where the STM32 code runs on the host: every access to a
 * register goes through the simulated chip of stm32_chip.h.
 */
#ifndef VP_TESTS_STM32_CORE_H
#define VP_TESTS_STM32_CORE_H

#include "vp/board.h"

#define VP_REGISTER(address) (*stm32_register(address))
#define VP_CORE_BARRIER() stm32_barrier()

volatile uint32_t *stm32_register(uint32_t address);
void stm32_barrier(void);
void vp_core_enable_interrupt(unsigned number);

#endif
