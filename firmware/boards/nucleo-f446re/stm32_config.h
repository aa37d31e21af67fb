/**
 * @file stm32_config.h
 * NUCLEO-F446RE (MB1136, UM1724): the serial line is the ST-Link's.
 */
#ifndef VP_STM32_CONFIG_H
#define VP_STM32_CONFIG_H

#define VP_STM32_F7 0
#define VP_STM32_HSE_BYPASS 1

#define VP_STM32_USART 2
#define VP_STM32_USART_TX VP_STM32_PIN('A', 2)
#define VP_STM32_USART_RX VP_STM32_PIN('A', 3)

#endif
