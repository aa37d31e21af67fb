/* TIMER0 (nRF52840 PS, chapter TIMER) in place of SysTick, which stands still while the core sleeps
 * (chapter CPU). It counts microseconds in 32 bits; the main loop looks at it at least every 20 ms,
 * because it wakes the core so often. */
#include "nrf52840.h"

#define TIMER 0x40008000u
#define TIMER_START VP_REGISTER(TIMER + 0x000u)
#define TIMER_CAPTURE(channel) VP_REGISTER(TIMER + 0x040u + 4u * (channel))
#define TIMER_COMPARED(channel) VP_REGISTER(TIMER + 0x140u + 4u * (channel))
#define TIMER_INTENSET VP_REGISTER(TIMER + 0x304u)
#define TIMER_BITMODE VP_REGISTER(TIMER + 0x508u)
#define TIMER_PRESCALER VP_REGISTER(TIMER + 0x510u)
#define TIMER_CC(channel) VP_REGISTER(TIMER + 0x540u + 4u * (channel))
#define BITMODE_32 3u
#define PRESCALER_1_MHZ 4u /* 16 MHz / 2^4 */
#define INTERRUPT_COMPARE(channel) (1u << (16u + (channel)))
#define WAKE 0u
#define NOW 1u
#define NOW_IN_INTERRUPT 2u
#define WAKE_US 20000u

static uint32_t last_count;
static uint64_t elapsed_us;

/* Counted from now: the last time may be long past if the flash was being erased. */
void vp_nrf52840_timer_interrupt(void)
{
    TIMER_COMPARED(WAKE) = 0;
    TIMER_CAPTURE(NOW_IN_INTERRUPT) = 1;
    TIMER_CC(WAKE) = TIMER_CC(NOW_IN_INTERRUPT) + WAKE_US;
    (void)TIMER_COMPARED(WAKE); /* The write has arrived before the interrupt could come again. */
}

void vp_core_start_clock(void)
{
    TIMER_BITMODE = BITMODE_32;
    TIMER_PRESCALER = PRESCALER_1_MHZ;
    TIMER_CC(WAKE) = WAKE_US;
    TIMER_INTENSET = INTERRUPT_COMPARE(WAKE);
    vp_core_enable_interrupt(VP_NRF52840_TIMER0_INTERRUPT);
    TIMER_START = 1;
}

uint64_t vp_board_now_us(void)
{
    TIMER_CAPTURE(NOW) = 1;
    const uint32_t count = TIMER_CC(NOW);
    elapsed_us += count - last_count;
    last_count = count;
    return elapsed_us;
}
