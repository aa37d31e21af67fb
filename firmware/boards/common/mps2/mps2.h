/**
 * @file mps2.h
 * Arm's MPS2 and MPS3 boards, which differ by FPGA image. Each board folder gives mps2_map.h:
 *
 *     VP_MPS2_UART, VP_MPS2_UART_HZ, VP_MPS2_UART_INTERRUPT
 *     VP_MPS2_ETHERNET, VP_MPS2_ETHERNET_INTERRUPT
 *     VP_MPS2_WATCHDOG, VP_MPS2_WATCHDOG_HZ
 *
 * addresses, clocks in hertz and numbers of interrupts, and puts the two interrupts into its vectors.
 */
#ifndef VP_MPS2_H
#define VP_MPS2_H

#include "core.h"
#include "mps2_map.h"

void vp_mps2_uart_start(void);
void vp_mps2_uart_interrupt(void);

void vp_mps2_ethernet_interrupt(void);
int vp_mps2_ethernet_waiting(void);

#endif
