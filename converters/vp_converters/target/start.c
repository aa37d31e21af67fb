/* Start-up for programs that run under semihosting on QEMU's mps2-an386 (Cortex-M4F). */
#include "machine.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define FPU_FULL_ACCESS (0xFu << 20)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define SYST_ENABLE 5u

enum { SYS_EXIT_EXTENDED = 0x20, ADP_STOPPED_APPLICATION_EXIT = 0x20026, EXIT_FAULT = 70 };

extern uint32_t __stack;
extern void _start(void);

uint32_t vp_target_now(void)
{
    return SYST_CVR;
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

static void reset(void)
{
    CPACR |= FPU_FULL_ACCESS;
    __asm__ volatile("dsb\n\tisb");
    SYST_RVR = VP_TARGET_TICK_MASK;
    SYST_CVR = 0;
    SYST_CSR = SYST_ENABLE;
    _start();
}

typedef union vector {
    uint32_t *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    {.stack = &__stack}, {.handler = reset}, {.handler = fault}, {.handler = fault},
    {.handler = fault},  {.handler = fault}, {.handler = fault},
};
