/**
 * @file stm32.h
 * Stands in for boards/common/stm32/stm32.h where the Ethernet driver runs on the host: the chip is
 * stm32_mac.h.
 */
#ifndef VP_TESTS_STM32_H
#define VP_TESTS_STM32_H

#include "vp/board.h"

#define VP_STM32_DMA_MEMORY
#define VP_STM32_PHY_RESET 7

void vp_stm32_pin_output(uint8_t pin, int level);
void vp_stm32_pin_write(uint8_t pin, int level);
void vp_stm32_start_rmii(void);
void vp_core_enable_interrupt(unsigned number);
void vp_stm32_ethernet_interrupt(void);
int vp_stm32_ethernet_waiting(void);

#endif
