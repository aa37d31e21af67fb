/**
 * @file nrf52840.h
 * What the files of this board share. Addresses and fields: nRF52840 Product Specification,
 * chapter "Memory" and each peripheral's list.
 */
#ifndef VP_NRF52840_H
#define VP_NRF52840_H

#include "core.h"

#define VP_NRF52840_UARTE0_INTERRUPT 2
#define VP_NRF52840_TIMER0_INTERRUPT 8
#define VP_NRF52840_WDT_INTERRUPT 16

void vp_nrf52840_uart_start(void);
void vp_nrf52840_uart_interrupt(void);
void vp_nrf52840_timer_interrupt(void);

#endif
