/**
 * @file stm32_config.h
 * NUCLEO-F429ZI (MB1137, UM1974): the serial line is the ST-Link's.
 */
#ifndef VP_STM32_CONFIG_H
#define VP_STM32_CONFIG_H

#define VP_STM32_F7 0
#define VP_STM32_HSE_BYPASS 1

#define VP_STM32_USART 3
#define VP_STM32_USART_TX VP_STM32_PIN('D', 8)
#define VP_STM32_USART_RX VP_STM32_PIN('D', 9)

/* REF_CLK, MDIO, MDC, CRS_DV, RXD0, RXD1, TX_EN, TXD0, TXD1. */
#define VP_STM32_RMII_PINS                                                              \
    VP_STM32_PIN('A', 1), VP_STM32_PIN('A', 2), VP_STM32_PIN('C', 1),                   \
    VP_STM32_PIN('A', 7), VP_STM32_PIN('C', 4), VP_STM32_PIN('C', 5),                   \
    VP_STM32_PIN('G', 11), VP_STM32_PIN('G', 13), VP_STM32_PIN('B', 13)

#endif
