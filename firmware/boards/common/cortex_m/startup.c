#include <string.h>

#include "core.h"
#include "reset_record.h"

#define VTOR VP_REGISTER(0xE000ED08u)
#define CCR VP_REGISTER(0xE000ED14u)
#define CCR_LOW_OVERHEAD_LOOPS (1u << 19)
#define CPACR VP_REGISTER(0xE000ED88u)
#define FPU_ACCESS (0xFu << 20)

extern uint32_t vp_stack_top[];
extern uint8_t vp_data_start[];
extern uint8_t vp_data_end[];
extern const uint8_t vp_data_load[];
extern uint8_t vp_bss_start[];
extern uint8_t vp_bss_end[];
extern void (*const vp_constructors_start[])(void);
extern void (*const vp_constructors_end[])(void);

int main(void);
void vp_core_tick(void);
void vp_core_reset(void);

typedef struct core_vectors {
    uint32_t *stack;
    vp_vector entries[15];
} core_vectors;

__attribute__((section(".vectors.core"), used)) static const core_vectors vectors = {
    vp_stack_top,
    {
        vp_core_reset,
        vp_core_unexpected, /* NMI */
        vp_core_unexpected, /* HardFault */
        vp_core_unexpected, /* MemManage */
        vp_core_unexpected, /* BusFault */
        vp_core_unexpected, /* UsageFault */
        vp_core_unexpected, /* SecureFault */
        0,
        0,
        0,
        vp_core_unexpected, /* SVCall */
        vp_core_unexpected, /* DebugMonitor */
        0,
        vp_core_unexpected, /* PendSV */
        vp_core_tick,       /* SysTick */
    },
};

/* Apart from vp_core_start, so that the compiler uses no FPU register before it is on. */
__attribute__((noreturn, noinline)) static void run(void)
{
    memcpy(vp_data_start, vp_data_load, (size_t)(vp_data_end - vp_data_start));
    memset(vp_bss_start, 0, (size_t)(vp_bss_end - vp_bss_start));
    vp_core_read_reset_record();
    for (void (*const *constructor)(void) = vp_constructors_start;
         constructor != vp_constructors_end; constructor++) {
        (*constructor)();
    }
    __asm volatile("cpsie i" ::: "memory");
    (void)main();
    for (;;) {
        __asm volatile("svc 0");
    }
}

__attribute__((noreturn, used)) static void vp_core_start(void)
{
    VTOR = (uint32_t)&vectors;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= FPU_ACCESS;
#endif
#if defined(__ARM_FEATURE_MVE)
    CCR |= CCR_LOW_OVERHEAD_LOOPS;
#endif
    __asm volatile("dsb\n isb" ::: "memory");
    run();
}

/* A bootloader or a debugger may come here with a stack and interrupts of its own. */
__attribute__((naked)) void vp_core_reset(void)
{
    __asm volatile("cpsid i\n"
                   "movs r0, #0\n"
                   "msr control, r0\n"
                   "isb\n"
                   "ldr r0, =vp_stack_top\n"
                   "mov sp, r0\n"
                   "ldr r0, =vp_core_start\n"
                   "bx r0\n");
}
