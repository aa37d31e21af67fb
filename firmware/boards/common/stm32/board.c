/* Vectors and what main.c asks of the board as a whole. */
#include "serial_ring.h"
#include "stm32.h"

/* DBGMCU (RM0090 section 38.16): a probe reaches the sleeping core, and the watchdog stands still while
 * the probe has it halted. */
#define DBGMCU_CR VP_REGISTER(0xE0042004u)
#define DBGMCU_APB1_FZ VP_REGISTER(0xE0042008u)
#define DBGMCU_SLEEP 1u
#define DBGMCU_FREEZE_IWDG (1u << 12)

void vp_board_init(void)
{
    vp_stm32_start_clock();
    vp_stm32_start_mpu();
    if (VP_STM32_F7) {
        vp_core_enable_caches();
    }
    vp_core_start_clock();
    DBGMCU_CR |= DBGMCU_SLEEP;
    DBGMCU_APB1_FZ |= DBGMCU_FREEZE_IWDG;
    vp_stm32_usart_start();
    vp_stm32_start_watchdog();
}

const uint8_t *vp_board_provision_block(void)
{
    return (const uint8_t *)VP_BOARD_PROVISION_ADDRESS;
}

__attribute__((weak)) int vp_stm32_ethernet_waiting(void)
{
    return 0;
}

static int input_waiting(void)
{
    return vp_serial_waiting() || vp_stm32_ethernet_waiting();
}

void vp_board_sleep(void)
{
    vp_core_sleep(input_waiting);
}

/* A branch, not a call: the handler finds the processor's frame on the stack. */
__attribute__((weak, naked)) void vp_stm32_ethernet_interrupt(void)
{
    __asm volatile("b vp_core_unexpected");
}

/* RM0090 table 62, RM0385 table 46: as far as the last one that anything enables. */
#define USED_BY_USART(number) \
    (VP_STM32_USART == (number) ? vp_stm32_usart_interrupt : vp_core_unexpected)
#define UNUSED vp_core_unexpected
#define UNUSED_8 UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED
VP_BOARD_VECTORS static const vp_vector vectors[] = {
    UNUSED_8, UNUSED_8, UNUSED_8, UNUSED_8,
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, USED_BY_USART(2), USED_BY_USART(3),
    UNUSED_8, UNUSED_8,
    UNUSED, UNUSED, UNUSED, UNUSED, UNUSED, vp_stm32_ethernet_interrupt, UNUSED, UNUSED,
};
