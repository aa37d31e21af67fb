/** How deep the stack of an inference is: painted, run, looked at. Nothing may interrupt it. */
#ifndef VP_TARGET_STACK_H
#define VP_TARGET_STACK_H

#include "vp/model.h"

enum { VP_TARGET_PAINT = 0xA5, VP_TARGET_PAINTED = 64 * 1024 };

static inline uint8_t *vp_target_stack_pointer(void)
{
    uint8_t *pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}

/** Bytes of stack, at most VP_TARGET_PAINTED - 1, that one inference uses. */
__attribute__((noinline)) static uint64_t vp_target_stack(const vp_model *model, vp_arena_t *arena,
                                                          const int8_t *input)
{
    volatile uint8_t *const top = vp_target_stack_pointer();
    for (int32_t i = 1; i < VP_TARGET_PAINTED; i++) {
        top[-i] = VP_TARGET_PAINT;
    }
    vp_model_invoke(model, arena, input);
    int32_t depth = VP_TARGET_PAINTED - 1;
    while (depth > 0 && top[-depth] == VP_TARGET_PAINT) {
        depth--;
    }
    return (uint64_t)depth;
}

#endif
