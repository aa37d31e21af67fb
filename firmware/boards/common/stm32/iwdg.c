/* Independent watchdog (RM0090 section 21.4), from the low-speed oscillator: 32 kHz, but 17 .. 47 kHz
 * over parts and temperature (data sheets, "LSI oscillator characteristics"). Set for the fastest, so
 * that watchdog_ms is the least, and 2.8 times that the most. */
#include "stm32.h"

#define IWDG_KR VP_REGISTER(0x40003000u)
#define IWDG_PR VP_REGISTER(0x40003004u)
#define IWDG_RLR VP_REGISTER(0x40003008u)
#define KEY_START 0xCCCCu
#define KEY_UNLOCK 0x5555u
#define KEY_FEED 0xAAAAu
#define PRESCALER 64u
#define PRESCALER_64 4u
#define LSI_MAX_KHZ 47u
#define RELOAD ((VP_BOARD_WATCHDOG_MS * LSI_MAX_KHZ + PRESCALER - 1u) / PRESCALER)

/* Erasing a sector of the journal takes half a second at most (data sheets, "Flash memory programming",
 * 32 bits at a time). */
#define MIN_WATCHDOG_MS 1000u

_Static_assert(RELOAD <= 0xFFFu, "the watchdog's period does not fit its 12 bits: at most 5575 ms");
_Static_assert(VP_BOARD_WATCHDOG_MS >= MIN_WATCHDOG_MS, "the journal's erase would reset the board");

/* Prescaler and period take some of the oscillator's cycles to arrive, at most 25 ms. Nobody waits for
 * them: the period until then is that of reset, 350 ms at the least. */
void vp_stm32_start_watchdog(void)
{
    IWDG_KR = KEY_START;
    IWDG_KR = KEY_UNLOCK;
    IWDG_PR = PRESCALER_64;
    IWDG_RLR = RELOAD;
    IWDG_KR = KEY_FEED;
}

void vp_board_feed_watchdog(void)
{
    IWDG_KR = KEY_FEED;
}
