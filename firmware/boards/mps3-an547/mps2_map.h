/* Arm MPS3 with FPGA image AN547 (Arm DAI 0547), a Corstone SSE-300. The processor runs in Secure state
 * all the time, so these are the secure aliases: 0x10000000 above the non-secure ones. */
#ifndef VP_MPS2_MAP_H
#define VP_MPS2_MAP_H

#define VP_MPS2_UART 0x59303000u
#define VP_MPS2_UART_HZ 25000000u
#define VP_MPS2_UART_INTERRUPT 33u
#define VP_MPS2_ETHERNET 0x51400000u
#define VP_MPS2_ETHERNET_INTERRUPT 49u
#define VP_MPS2_WATCHDOG 0x5802E000u
#define VP_MPS2_WATCHDOG_HZ 32768u

#endif
