/**
 * @file mps2.h
 * What the files of this board share.
 */
#ifndef VP_MPS2_H
#define VP_MPS2_H

#include "core.h"

#define VP_MPS2_UART_INTERRUPT 0
#define VP_MPS2_ETHERNET_INTERRUPT 13

void vp_mps2_uart_start(void);
void vp_mps2_uart_interrupt(void);
int vp_mps2_uart_waiting(void);

void vp_mps2_ethernet_interrupt(void);
int vp_mps2_ethernet_waiting(void);

#endif
