/* Pins (RM0090 section 8.4) and what Ethernet needs of them. */
#include "rcc.h"
#include "stm32.h"

#define GPIO(pin) (0x40020000u + 0x400u * ((uint32_t)(pin) >> 4))
#define NUMBER(pin) ((pin) & 15u)
#define GPIO_MODER(pin) VP_REGISTER(GPIO(pin) + 0x00u)
#define GPIO_OTYPER(pin) VP_REGISTER(GPIO(pin) + 0x04u)
#define GPIO_OSPEEDR(pin) VP_REGISTER(GPIO(pin) + 0x08u)
#define GPIO_PUPDR(pin) VP_REGISTER(GPIO(pin) + 0x0Cu)
#define GPIO_BSRR(pin) VP_REGISTER(GPIO(pin) + 0x18u)
#define GPIO_AFR(pin) VP_REGISTER(GPIO(pin) + 0x20u + 4u * (NUMBER(pin) / 8u))
#define MODE_OUTPUT 1u
#define MODE_ALTERNATE 2u
#define SPEED_VERY_HIGH 3u
#define PULL_UP 1u

#define SYSCFG_PMC VP_REGISTER(0x40013804u)
#define SYSCFG_PMC_RMII (1u << 23)

static void set_field(volatile uint32_t *reg, unsigned index, unsigned bits, uint32_t value)
{
    const uint32_t mask = ((1u << bits) - 1u) << (index * bits);
    *reg = (*reg & ~mask) | value << (index * bits);
}

/* A clock needs two cycles before the first access (ES0182, "Delay after an RCC peripheral clock
 * enabling"); reading its register back takes them. */
static void prepare(uint8_t pin)
{
    RCC_AHB1ENR |= 1u << (pin >> 4);
    (void)RCC_AHB1ENR;
    GPIO_OTYPER(pin) &= ~(1u << NUMBER(pin));
    set_field(&GPIO_OSPEEDR(pin), NUMBER(pin), 2, SPEED_VERY_HIGH);
    set_field(&GPIO_PUPDR(pin), NUMBER(pin), 2, 0);
}

void vp_stm32_pin_alternate(uint8_t pin, unsigned function)
{
    prepare(pin);
    set_field(&GPIO_AFR(pin), NUMBER(pin) % 8u, 4, function);
    set_field(&GPIO_MODER(pin), NUMBER(pin), 2, MODE_ALTERNATE);
}

void vp_stm32_pin_pull_up(uint8_t pin)
{
    set_field(&GPIO_PUPDR(pin), NUMBER(pin), 2, PULL_UP);
}

void vp_stm32_pin_write(uint8_t pin, int level)
{
    GPIO_BSRR(pin) = 1u << (NUMBER(pin) + (level ? 0u : 16u));
}

void vp_stm32_pin_output(uint8_t pin, int level)
{
    prepare(pin);
    vp_stm32_pin_write(pin, level);
    set_field(&GPIO_MODER(pin), NUMBER(pin), 2, MODE_OUTPUT);
}

#ifdef VP_STM32_RMII_PINS
/* RMII is selected while the MAC is in reset, before its clocks run (33.4.4, 9.2.2). */
void vp_stm32_start_rmii(void)
{
    static const uint8_t pins[] = {VP_STM32_RMII_PINS};
    RCC_AHB1RSTR |= RCC_AHB1_ETHERNET;
    RCC_APB2ENR |= RCC_APB2_SYSCFG;
    (void)RCC_APB2ENR;
    SYSCFG_PMC |= SYSCFG_PMC_RMII;
    (void)SYSCFG_PMC; /* APB2 is slower than what follows: the choice must have arrived. */
    for (unsigned i = 0; i < sizeof(pins); i++) {
        vp_stm32_pin_alternate(pins[i], VP_STM32_AF_ETHERNET);
    }
    RCC_AHB1ENR |= RCC_AHB1_ETHERNET | RCC_AHB1_ETHERNET_TX_RX;
    (void)RCC_AHB1ENR;
    RCC_AHB1RSTR &= ~RCC_AHB1_ETHERNET;
}
#endif
