/* Faults and unexpected interrupts: what the processor held is recorded, and the board starts again. */
#include <string.h>

#include "core.h"
#include "reset_record.h"

#define AIRCR VP_REGISTER(0xE000ED0Cu)
#define AIRCR_RESET 0x05FA0004u
#define CFSR VP_REGISTER(0xE000ED28u)
#define HFSR VP_REGISTER(0xE000ED2Cu)
#define MMFAR VP_REGISTER(0xE000ED34u)
#define BFAR VP_REGISTER(0xE000ED38u)
#define CFSR_MMFAR_VALID (1u << 7)
#define CFSR_BFAR_VALID (1u << 15)

#define PSR_EXCEPTION 0x1FFu
#define FRAME_WORDS 8u
#define FRAME_LR 5u
#define FRAME_PC 6u
#define FRAME_PSR 7u

/* The stack that faulted may be what is broken, and holds the frame: the record is made on this one. */
__attribute__((section(".noinit"), aligned(8), used)) static uint32_t vp_fault_stack[64];
_Static_assert(sizeof(vp_fault_stack) == 256u, "vp_core_unexpected begins at its end");

__attribute__((weak)) uint32_t vp_board_watchdog_exception(void)
{
    return 0;
}

static int in_ram(uint32_t address, uint32_t size)
{
    return address >= VP_BOARD_RAM_ORIGIN &&
           address - VP_BOARD_RAM_ORIGIN <= VP_BOARD_RAM_SIZE - size && (address & 3u) == 0u;
}

__attribute__((noreturn, used)) static void vp_core_record_fault(uint32_t frame, uint32_t exception)
{
    vp_fault fault = {.psr = exception};
    if (in_ram(frame, FRAME_WORDS * sizeof(uint32_t))) {
        uint32_t words[FRAME_WORDS];
        memcpy(words, (const void *)frame, sizeof(words));
        fault.lr = words[FRAME_LR];
        fault.pc = words[FRAME_PC];
        fault.psr |= words[FRAME_PSR] & ~PSR_EXCEPTION;
    }
#if __ARM_ARCH >= 7
    fault.status = CFSR;
    fault.hard_status = HFSR;
    if ((fault.status & CFSR_BFAR_VALID) != 0u) {
        fault.address = BFAR;
    } else if ((fault.status & CFSR_MMFAR_VALID) != 0u) {
        fault.address = MMFAR;
    }
#endif
    const int barked = exception == vp_board_watchdog_exception();
    vp_core_record_end(barked ? VP_RESET_WATCHDOG : VP_RESET_FAULT, &fault);
    __asm volatile("dsb" ::: "memory");
    AIRCR = AIRCR_RESET;
    for (;;) {
    }
}

/* Bit 2 of EXC_RETURN says which stack took the frame: 0 main, 1 process (DDI 0403, B1.5.8). */
__attribute__((naked)) void vp_core_unexpected(void)
{
    __asm volatile("movs r0, #4\n"
                   "mov r1, lr\n"
                   "tst r0, r1\n"
                   "beq 1f\n"
                   "mrs r0, psp\n"
                   "b 2f\n"
                   "1: mrs r0, msp\n"
                   "2: mrs r1, ipsr\n"
                   "ldr r2, =vp_fault_stack + 256\n"
                   "mov sp, r2\n"
                   "ldr r2, =vp_core_record_fault\n"
                   "bx r2\n");
}
