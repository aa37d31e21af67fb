/**
 * @file rcc.h
 * Registers of reset and clock control (RM0090 section 7.3, RM0385 section 5.3).
 */
#ifndef VP_STM32_RCC_H
#define VP_STM32_RCC_H

#include "core.h"

#define RCC_BASE 0x40023800u
#define RCC_CR_ADDRESS (RCC_BASE + 0x00u)
#define RCC_CR VP_REGISTER(RCC_CR_ADDRESS)
#define RCC_PLLCFGR VP_REGISTER(RCC_BASE + 0x04u)
#define RCC_CFGR_ADDRESS (RCC_BASE + 0x08u)
#define RCC_CFGR VP_REGISTER(RCC_CFGR_ADDRESS)
#define RCC_AHB1RSTR VP_REGISTER(RCC_BASE + 0x10u)
#define RCC_APB1RSTR VP_REGISTER(RCC_BASE + 0x20u)
#define RCC_AHB1ENR VP_REGISTER(RCC_BASE + 0x30u)
#define RCC_APB1ENR VP_REGISTER(RCC_BASE + 0x40u)
#define RCC_APB2ENR VP_REGISTER(RCC_BASE + 0x44u)
#define RCC_CSR VP_REGISTER(RCC_BASE + 0x74u)

#define RCC_AHB1_ETHERNET (1u << 25)
#define RCC_AHB1_ETHERNET_TX_RX (3u << 26)
#define RCC_APB1_USART(number) (1u << (15u + (number)))
#define RCC_APB1_PWR (1u << 28)
#define RCC_APB2_SYSCFG (1u << 14)

#define RCC_CSR_CLEAR (1u << 24)
#define RCC_CSR_POWER (1u << 25 | 1u << 27)              /* Brown-out, power-on. */
#define RCC_CSR_WATCHDOGS (1u << 29 | 1u << 30)          /* Independent, window. */
#define RCC_CSR_OTHERS (1u << 26 | 1u << 28 | 1u << 31)  /* Pin, software, low power. */

#endif
