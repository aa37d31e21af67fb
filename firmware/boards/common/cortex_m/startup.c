#include <string.h>

#include "core.h"
#include "vp/wire.h"

#define CPACR VP_REGISTER(0xE000ED88u)
#define AIRCR VP_REGISTER(0xE000ED0Cu)
#define AIRCR_RESET 0x05FA0004u
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
void vp_core_read_reset_record(void);
void vp_core_reset(void);
void vp_core_fault(void);

/* The FPU is switched on before the compiler may use it anywhere. */
__attribute__((noreturn, used)) static void run(void)
{
    memcpy(vp_data_start, vp_data_load, (size_t)(vp_data_end - vp_data_start));
    memset(vp_bss_start, 0, (size_t)(vp_bss_end - vp_bss_start));
    vp_core_read_reset_record();
    for (void (*const *constructor)(void) = vp_constructors_start;
         constructor != vp_constructors_end; constructor++) {
        (*constructor)();
    }
    (void)main();
    vp_core_unexpected();
    for (;;) {
    }
}

__attribute__((noreturn)) void vp_core_reset(void)
{
    CPACR |= FPU_ACCESS;
    __asm volatile("dsb\n isb" ::: "memory");
    run();
}

/* Records and resets on a stack of its own making: the one that faulted may be what is broken. */
__attribute__((noreturn, used)) static void record_fault(void)
{
    vp_core_record_cause(VP_RESET_FAULT);
    __asm volatile("dsb" ::: "memory");
    AIRCR = AIRCR_RESET;
    for (;;) {
    }
}

__attribute__((naked)) void vp_core_fault(void)
{
    __asm volatile("ldr r0, =vp_stack_top\n"
                   "mov sp, r0\n"
                   "b record_fault\n");
}

void vp_core_unexpected(void)
{
    record_fault();
}

__attribute__((weak, alias("vp_core_unexpected"))) void vp_board_watchdog_barked(void);

typedef struct core_vectors {
    uint32_t *stack;
    vp_vector entries[15];
} core_vectors;

__attribute__((section(".vectors.core"), used)) static const core_vectors vectors = {
    vp_stack_top,
    {
        vp_core_reset,
        vp_board_watchdog_barked, /* NMI */
        vp_core_fault,            /* HardFault */
        vp_core_fault,            /* MemManage */
        vp_core_fault,            /* BusFault */
        vp_core_fault,            /* UsageFault */
        0,
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
