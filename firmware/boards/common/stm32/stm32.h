/**
 * @file stm32.h
 * What the STM32F4 and STM32F7 boards share: clock, pins, USART, watchdog, flash. A board's own facts
 * are in its stm32_config.h. Sections of the reference manuals are those of RM0090 (F407, F429) and,
 * where they differ, of RM0385 (F746); RM0390 (F446) and RM0410 (F767) have the same registers.
 *
 * stm32_config.h defines:
 * - VP_STM32_F7: 1 for an STM32F7, 0 for an STM32F4.
 * - VP_STM32_HSE_BYPASS: 1 if the 8 MHz on OSC_IN come from another chip, 0 for a crystal.
 * - VP_STM32_USART (2 or 3), VP_STM32_USART_TX, VP_STM32_USART_RX: the serial line and its pins.
 * - VP_STM32_RMII_PINS: the Ethernet pins, separated by commas; only where there is Ethernet.
 * - VP_STM32_PHY_RESET: the pin that resets the PHY while it is low; only where it is wired.
 */
#ifndef VP_STM32_H
#define VP_STM32_H

#include <stdint.h>

#include "core.h"

/** A pin as one byte: VP_STM32_PIN('D', 8) is PD8. */
#define VP_STM32_PIN(port, number) ((uint8_t)((((port) - 'A') << 4) | (number)))

#include "stm32_config.h"

/** Alternate functions of a pin (data sheets, "Alternate function mapping"). */
#define VP_STM32_AF_USART 7u
#define VP_STM32_AF_ETHERNET 11u

/** Core clock, which is also the AHB's; the APB1 peripherals run at a quarter of it. */
#define VP_STM32_HCLK_HZ VP_BOARD_CLOCK_HZ
#define VP_STM32_PCLK1_HZ (VP_BOARD_CLOCK_HZ / 4u)

/** From reset to VP_BOARD_CLOCK_HZ. Where the 8 MHz input is missing, the internal oscillator (1 % off)
 *  feeds the PLL; where nothing answers, as in an emulator without this controller, it gives up. */
void vp_stm32_start_clock(void);

/** Gives a pin to a peripheral: push-pull, very high speed, no pull. Clocks its port. */
void vp_stm32_pin_alternate(uint8_t pin, unsigned function);

/** Gives a pin, after one of the functions above and below, its weak pull-up. */
void vp_stm32_pin_pull_up(uint8_t pin);

/** Makes a pin an output that starts at `level`. Clocks its port. */
void vp_stm32_pin_output(uint8_t pin, int level);

void vp_stm32_pin_write(uint8_t pin, int level);

/** Puts the Ethernet controller into reset, selects RMII, gives it its pins and clocks, and lets it go.
 *  For the MAC's driver; nothing else touches VP_STM32_RMII_PINS. */
void vp_stm32_start_rmii(void);

/** Keeps the caches of an F7 off the boot journal and the DMA memory; before they are switched on. */
void vp_stm32_start_mpu(void);

void vp_stm32_start_watchdog(void);

void vp_stm32_usart_start(void);
void vp_stm32_usart_interrupt(void);

/** The Ethernet driver's; without one, an interrupt that never comes and nothing to wait for. */
void vp_stm32_ethernet_interrupt(void);
int vp_stm32_ethernet_waiting(void);

/** Memory that the Ethernet DMA reaches and no cache holds. Start-up does not clear it. On an F4 it is
 *  part of RAM, on an F7 all of SRAM2 (16 KB). */
#define VP_STM32_DMA_MEMORY __attribute__((section(".dma"), aligned(32)))

#endif
