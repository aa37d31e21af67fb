#include "core.h"

#define SYST_CSR VP_REGISTER(0xE000E010u)
#define SYST_RVR VP_REGISTER(0xE000E014u)
#define SYST_CVR VP_REGISTER(0xE000E018u)
#define NVIC_ISER(word) VP_REGISTER(0xE000E100u + 4u * (word))
#define CORE_CLOCK_INTERRUPT_ENABLE 7u

#define TICKS_PER_SECOND 50u
#define TICK_US (1000000u / TICKS_PER_SECOND)
#define CYCLES_PER_TICK (VP_BOARD_CLOCK_HZ / TICKS_PER_SECOND)
#define CYCLES_PER_US (VP_BOARD_CLOCK_HZ / 1000000u)

_Static_assert(CYCLES_PER_TICK - 1u < 1u << 24, "the tick does not fit SysTick's 24 bits");
_Static_assert(VP_BOARD_CLOCK_HZ % 1000000u == 0u, "the clock is not a whole number of MHz");

static volatile uint32_t ticks;
static uint32_t last_ticks;
static uint64_t elapsed_us;
static uint64_t latest_us;

void vp_core_tick(void);

void vp_core_tick(void)
{
    ticks++;
}

__attribute__((weak)) void vp_core_start_clock(void)
{
    SYST_RVR = CYCLES_PER_TICK - 1u;
    SYST_CVR = 0;
    SYST_CSR = CORE_CLOCK_INTERRUPT_ENABLE;
}

/* The counter may have wrapped while its interrupt has not run yet; then the sum is one tick short
 * and the latest answer stands until it is reached again. */
__attribute__((weak)) uint64_t vp_board_now_us(void)
{
    uint32_t before;
    uint32_t cycles_left;
    do {
        before = ticks;
        cycles_left = SYST_CVR;
    } while (before != ticks);
    elapsed_us += (uint64_t)(before - last_ticks) * TICK_US;
    last_ticks = before;
    const uint64_t now = elapsed_us + (CYCLES_PER_TICK - 1u - cycles_left) / CYCLES_PER_US;
    if (now > latest_us) {
        latest_us = now;
    }
    return latest_us;
}

void vp_core_enable_interrupt(unsigned number)
{
    NVIC_ISER(number / 32u) = 1u << number % 32u;
}

void vp_core_sleep(int (*waiting)(void))
{
    __asm volatile("cpsid i" ::: "memory");
    if (!waiting()) {
        __asm volatile("dsb\n wfi" ::: "memory");
    }
    __asm volatile("cpsie i\n isb" ::: "memory");
}
