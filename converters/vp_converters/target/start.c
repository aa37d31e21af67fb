/*
 * Start-up and instruction counter for programs that run under semihosting on a Cortex-M of QEMU.
 *
 * QEMU's -icount makes every instruction take the same time, VP_TARGET_INSTRUCTION_PS picoseconds,
 * and SysTick counts every VP_TARGET_TICK_PS: less than a third of it, so that each instruction
 * shows.
 */
#include <stdlib.h>

#include "machine.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define SYST_START 7u
#define SYST_MASK 0xFFFFFFu

enum { SYS_EXIT_EXTENDED = 0x20, ADP_STOPPED_APPLICATION_EXIT = 0x20026, EXIT_FAULT = 70 };
enum { SYSTICK = 15, INSTRUCTIONS_OF_WRAP = 5 };

extern uint32_t __stack, __bss_start__, __bss_end__;
extern int main(void);
extern void initialise_monitor_handles(void);

__attribute__((used)) static volatile uint32_t wraps;

/* In assembly so that its instructions are known and can be taken off. */
__attribute__((naked)) static void wrap(void)
{
    __asm__("ldr r0, =wraps\n\t"
            "ldr r1, [r0]\n\t"
            "adds r1, #1\n\t"
            "str r1, [r0]\n\t"
            "bx lr\n\t"
            ".ltorg");
}

void vp_target_start(void)
{
    SYST_RVR = SYST_MASK;
    SYST_CVR = 0;
    SYST_CSR = SYST_START;
}

vp_target_time vp_target_now(void)
{
    uint32_t before, falling;
    do {
        before = wraps;
        falling = SYST_CVR;
    } while (before != wraps || falling == 0);
    return (vp_target_time){before, SYST_MASK + 1u - falling};
}

uint64_t vp_target_since(vp_target_time begin)
{
    const vp_target_time end = vp_target_now();
    const uint32_t passed = end.wraps - begin.wraps;
    const uint64_t ticks = (uint64_t)passed * (SYST_MASK + 1u) + end.count - begin.count;
    const uint64_t picoseconds = ticks * VP_TARGET_TICK_PS;
    const uint64_t all =
        (picoseconds + VP_TARGET_INSTRUCTION_PS / 2u) / VP_TARGET_INSTRUCTION_PS;
    return all - (uint64_t)passed * INSTRUCTIONS_OF_WRAP;
}

static void fault(void)
{
    static const uint32_t block[2] = {ADP_STOPPED_APPLICATION_EXIT, EXIT_FAULT};
    register uint32_t r0 __asm__("r0") = SYS_EXIT_EXTENDED;
    register const uint32_t *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xAB" : : "r"(r0), "r"(r1) : "memory");
    for (;;) {
    }
}

/* Newlib calls these from exit and from its own start-up code. */
void _init(void);
void _fini(void);

void _init(void)
{
}

void _fini(void)
{
}

/*
 * In place of newlib's, which asks the host where heap and stack are: QEMU's answer for mps3-an547
 * is another memory.
 */
__attribute__((used, noreturn)) static void run(void)
{
    for (uint32_t *word = &__bss_start__; word < &__bss_end__; word++) {
        *word = 0;
    }
    initialise_monitor_handles();
    exit(main());
}

/* The compiler may use the vector unit anywhere, so it is switched on ahead of any compiled code. */
__attribute__((naked)) static void reset(void)
{
    __asm__("ldr r0, =0xE000ED88\n\t" /* CPACR: full access to the floating-point unit */
            "ldr r1, [r0]\n\t"
            "orr r1, #0xF00000\n\t"
            "str r1, [r0]\n\t"
            "dsb\n\t"
            "isb\n\t"
            "b run\n\t"
            ".ltorg");
}

typedef union vector {
    uint32_t *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack = &__stack}, {.handler = reset}, {.handler = fault},
    {.handler = fault},  {.handler = fault}, {.handler = fault},
    {.handler = fault},  {.handler = fault}, [SYSTICK] = {.handler = wrap},
};
