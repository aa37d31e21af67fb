/* Watchdog, vectors and what main.c asks of the board as a whole. */
#include "serial_ring.h"
#include "stm32.h"

/* Independent watchdog (RM0090 section 21.4), from the low-speed oscillator: 32 kHz, but 17 .. 47 kHz
 * over parts and temperature (data sheets, "LSI oscillator characteristics"). Set for the fastest, so
 * that watchdog_ms is the least, and 2.8 times that the most. Erasing a sector of the journal takes half
 * a second at most (data sheets, "Flash memory programming", 32 bits at a time). */
#define IWDG_KR VP_REGISTER(0x40003000u)
#define IWDG_PR VP_REGISTER(0x40003004u)
#define IWDG_RLR VP_REGISTER(0x40003008u)
#define IWDG_SR VP_REGISTER(0x4000300Cu)
#define KEY_START 0xCCCCu
#define KEY_UNLOCK 0x5555u
#define KEY_FEED 0xAAAAu
#define PRESCALER_64 4u
#define LSI_MAX_KHZ 47u
#define RELOAD (VP_BOARD_WATCHDOG_MS * LSI_MAX_KHZ / 64u)
#define MIN_WATCHDOG_MS 1000u
/* The new values arrive within six cycles of the slowest oscillator, 0.4 ms. */
#define UPDATE_US 1000u

_Static_assert(RELOAD <= 0xFFFu, "the watchdog's period does not fit its 12 bits: at most 5575 ms");
_Static_assert(VP_BOARD_WATCHDOG_MS >= MIN_WATCHDOG_MS, "the journal's erase would reset the board");

/* DBGMCU (RM0090 section 38.16): a probe reaches the sleeping core, and the watchdog stands still while
 * the probe has it halted. */
#define DBGMCU_CR VP_REGISTER(0xE0042004u)
#define DBGMCU_APB1_FZ VP_REGISTER(0xE0042008u)
#define DBGMCU_SLEEP 1u
#define DBGMCU_FREEZE_IWDG (1u << 12)

static void start_watchdog(void)
{
    IWDG_KR = KEY_START;
    IWDG_KR = KEY_UNLOCK;
    IWDG_PR = PRESCALER_64;
    IWDG_RLR = RELOAD;
    const uint64_t deadline_us = vp_board_now_us() + UPDATE_US;
    while (IWDG_SR != 0u && vp_board_now_us() < deadline_us) {
    }
    IWDG_KR = KEY_FEED;
}

void vp_board_feed_watchdog(void)
{
    IWDG_KR = KEY_FEED;
}

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
    start_watchdog();
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
