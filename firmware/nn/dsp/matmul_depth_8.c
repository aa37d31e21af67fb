#include "matmul_depth_8.h"

/*
 * The core for a depth of 8, whose weights fit into registers: r0, r2, r3 and r12. r1 tile, r4 .. r7
 * sums, r8 .. r11 activations, lr output. On the stack:
 *
 *    0 bias, four times    16 k    20 multiplier    24 offset    28 end of the channel
 *   32 skip                36 step                  40 last end  44 tiles
 *   48 offset without rounding                      52 records
 */
#define PRODUCTS(WEIGHTS)                                                                          \
    "ldm r1!, {r8-r11}\n"                                                                          \
    "smlad r4, r8, " WEIGHTS ", r4\n"                                                              \
    "smlad r5, r9, " WEIGHTS ", r5\n"                                                              \
    "smlad r6, r10, " WEIGHTS ", r6\n"                                                             \
    "smlad r7, r11, " WEIGHTS ", r7\n"

#define SCALED(SUM)                                                                                \
    "lsl " SUM ", " SUM ", r8\n"                                                                   \
    "smmla " SUM ", " SUM ", r9, r10\n"

__attribute__((naked)) void
vp_nn_dsp_matmul_4_depth_8(__attribute__((unused)) const vp_nn_dsp_matmul *p)
{
    __asm__("push {r4-r11, lr}\n"
            "sub sp, sp, #56\n"
            "ldrd r1, r2, [r0]\n"
            "ldr lr, [r0, #20]\n"
            "add r3, r0, #24\n"
            "ldm r3, {r4-r8}\n"
            "add r3, sp, #28\n"
            "stm r3!, {r4-r7}\n"
            "strd r1, r8, [r3]\n"
            "b 2f\n"

            "1:\n"
            "ldrd r8, r9, [sp, #28]\n"
            "ldrd r10, r11, [sp, #36]\n"
            "ldr r2, [sp, #52]\n"
            "cmp r8, r11\n"
            "beq 9f\n"
            "add lr, lr, r9\n"
            "add r8, r8, r10\n"
            "str r8, [sp, #28]\n"

            "2:\n"
            "ldm r2!, {r8-r11}\n"
            "str r2, [sp, #52]\n"
            "and r0, r8, #31\n"
            "mov r2, #1\n"
            "lsl r2, r2, r0\n"
            "ldrd r1, r3, [sp, #44]\n"
            "add r3, r3, r2, lsr #2\n"
            "strd r0, r9, [sp, #16]\n"
            "str r3, [sp, #24]\n"
            "asr r4, r8, #5\n"
            "mov r5, r4\n"
            "mov r6, r4\n"
            "mov r7, r4\n"
            "stm sp, {r4-r7}\n"
            "sxtb16 r0, r10\n"
            "sxtb16 r2, r10, ror #8\n"
            "sxtb16 r3, r11\n"
            "sxtb16 r12, r11, ror #8\n"
            "b 4f\n"

            "3:\n"
            "ldm sp, {r4-r7}\n"
            "4:\n" PRODUCTS("r0") PRODUCTS("r2") PRODUCTS("r3") PRODUCTS("r12")
            "ldrd r8, r9, [sp, #16]\n"
            "ldrd r10, r11, [sp, #24]\n" SCALED("r4") SCALED("r5") SCALED("r6") SCALED("r7")
            "pkhtb r5, r5, r4, asr #16\n"
            "pkhtb r7, r7, r6, asr #16\n"
            "ssat16 r5, #8, r5\n"
            "ssat16 r7, #8, r7\n"
            "str r5, [lr], #4\n"
            "str r7, [lr], #4\n"
            "cmp lr, r11\n"
            "bne 3b\n"
            "b 1b\n"

            "9:\n"
            "add sp, sp, #56\n"
            "pop {r4-r11, pc}\n");
}
