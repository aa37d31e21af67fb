/* USART 2 or 3 at VP_BOARD_SERIAL_BAUD, 8 data bits, no parity (RM0090 section 30.6, RM0385 section
 * 31.8). The F7's has its own addresses for what it receives and sends, and for clearing flags. */
#include "rcc.h"
#include "serial_ring.h"
#include "stm32.h"

#define USART (0x40004000u + 0x400u * (VP_STM32_USART - 1u))
#define USART_IRQ (36u + VP_STM32_USART)

#if VP_STM32_F7
#define USART_CR1 VP_REGISTER(USART + 0x00u)
#define USART_BRR VP_REGISTER(USART + 0x0Cu)
#define USART_STATUS VP_REGISTER(USART + 0x1Cu)
#define USART_ICR VP_REGISTER(USART + 0x20u)
#define USART_RECEIVED VP_REGISTER(USART + 0x24u)
#define USART_SENT VP_REGISTER(USART + 0x28u)
#define CR1_ENABLE (1u << 0)
#else
#define USART_STATUS VP_REGISTER(USART + 0x00u)
#define USART_RECEIVED VP_REGISTER(USART + 0x04u)
#define USART_SENT VP_REGISTER(USART + 0x04u)
#define USART_BRR VP_REGISTER(USART + 0x08u)
#define USART_CR1 VP_REGISTER(USART + 0x0Cu)
#define CR1_ENABLE (1u << 13)
#endif
#define CR1_RX (1u << 2)
#define CR1_TX (1u << 3)
#define CR1_RX_INTERRUPT (1u << 5)
#define STATUS_OVERRUN (1u << 3)
#define STATUS_RX (1u << 5)
#define STATUS_TX_EMPTY (1u << 7)

#define DIVIDER ((VP_STM32_PCLK1_HZ + VP_BOARD_SERIAL_BAUD / 2u) / VP_BOARD_SERIAL_BAUD)

_Static_assert(DIVIDER >= 16u && DIVIDER <= 0xFFFFu, "the USART does not make this baud rate");
_Static_assert(VP_STM32_USART == 2 || VP_STM32_USART == 3, "the serial line is USART 2 or 3");

void vp_stm32_usart_start(void)
{
    RCC_APB1ENR |= RCC_APB1_USART(VP_STM32_USART);
    (void)RCC_APB1ENR;
    /* A bootloader may have used it. */
    RCC_APB1RSTR |= RCC_APB1_USART(VP_STM32_USART);
    RCC_APB1RSTR &= ~RCC_APB1_USART(VP_STM32_USART);
    vp_stm32_pin_alternate(VP_STM32_USART_TX, VP_STM32_AF_USART);
    vp_stm32_pin_alternate(VP_STM32_USART_RX, VP_STM32_AF_USART);
    /* Where nothing is connected, the line idles. */
    vp_stm32_pin_pull_up(VP_STM32_USART_RX);
    USART_BRR = DIVIDER;
    USART_CR1 = CR1_ENABLE | CR1_RX | CR1_TX | CR1_RX_INTERRUPT;
    vp_core_enable_interrupt(USART_IRQ);
}

/* An overrun would raise the interrupt for ever. On the F4, reading the status and then the data clears
 * it; the data are the older byte, which is whole. */
void vp_stm32_usart_interrupt(void)
{
    uint32_t status;
    while (((status = USART_STATUS) & (STATUS_RX | STATUS_OVERRUN)) != 0u) {
#if VP_STM32_F7
        USART_ICR = status & STATUS_OVERRUN;
#endif
        const uint8_t byte = (uint8_t)(USART_RECEIVED & 255u);
        if ((status & STATUS_RX) != 0u) {
            vp_serial_received(byte);
        }
    }
}

int vp_uart_can_send(void)
{
    return (USART_STATUS & STATUS_TX_EMPTY) != 0u;
}

void vp_uart_send(uint8_t byte)
{
    USART_SENT = byte;
}
