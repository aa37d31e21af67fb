#include "matmul_shallow.h"

#include "assembly.h"

/*
 * The weights of a channel stay in registers for all tiles of a row: r0, r2, r3 and r12. r1 tile,
 * r4 .. r7 sums, r8 .. r11 activations, lr output or, for a depth of 16, two weights as int16. On
 * the stack:
 *
 *    0 bias, four times    16 k    20 multiplier    24 offset    28 end of the channel
 *   32 step                36 skip                  40 last end  44 tiles
 *   48 offset without rounding    52 records        56 output, for a depth of 16
 */
#define BEGIN                                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, sp, #64\n"                                                                            \
    "ldrd r1, r2, [r0]\n"                                                                          \
    "ldr lr, [r0, #20]\n"                                                                          \
    "add r3, r0, #24\n"                                                                            \
    "ldm r3, {r4-r8}\n"                                                                            \
    "add r3, sp, #28\n"                                                                            \
    "stm r3!, {r4-r7}\n"                                                                           \
    "strd r1, r8, [r3]\n"                                                                          \
    "b 2f\n"

#define CHANNEL                                                                                    \
    "1:\n"                                                                                         \
    "ldrd r8, r9, [sp, #28]\n"                                                                     \
    "ldrd r10, r11, [sp, #36]\n"                                                                   \
    "ldr r2, [sp, #52]\n"                                                                          \
    "cmp lr, r11\n"                                                                                \
    "beq 9f\n"                                                                                     \
    "add lr, lr, r10\n"                                                                            \
    "add r8, r8, r9\n"                                                                             \
    "str r8, [sp, #28]\n"                                                                          \
    "2:\n"                                                                                         \
    "ldrd r8, r9, [r2], #8\n"                                                                      \
    "and r0, r8, #31\n"                                                                            \
    "mov r3, #1\n"                                                                                 \
    "lsl r3, r3, r0\n"                                                                             \
    "ldrd r1, r12, [sp, #44]\n"                                                                    \
    "add r12, r12, r3, lsr #2\n"                                                                   \
    "strd r0, r9, [sp, #16]\n"                                                                     \
    "str r12, [sp, #24]\n"                                                                         \
    "asr r4, r8, #5\n"                                                                             \
    "mov r5, r4\n"                                                                                 \
    "mov r6, r4\n"                                                                                 \
    "mov r7, r4\n"                                                                                 \
    "stm sp, {r4-r7}\n"

#define WEIGHTS_8                                                                                  \
    "ldrd r10, r11, [r2], #8\n"                                                                    \
    "str r2, [sp, #52]\n"                                                                          \
    "sxtb16 r0, r10\n"                                                                             \
    "sxtb16 r2, r10, ror #8\n"                                                                     \
    "sxtb16 r3, r11\n"                                                                             \
    "sxtb16 r12, r11, ror #8\n"                                                                    \
    "b 4f\n"
#define WEIGHTS_16                                                                                 \
    "str lr, [sp, #56]\n"                                                                          \
    "mov lr, r2\n"                                                                                 \
    "ldm lr!, {r0, r2, r3, r12}\n"                                                                 \
    "str lr, [sp, #52]\n"                                                                          \
    "b 4f\n"

#define PRODUCTS(WEIGHTS)                                                                          \
    "ldm r1!, {r8-r11}\n"                                                                          \
    "smlad r4, r8, " WEIGHTS ", r4\n"                                                              \
    "smlad r5, r9, " WEIGHTS ", r5\n"                                                              \
    "smlad r6, r10, " WEIGHTS ", r6\n"                                                             \
    "smlad r7, r11, " WEIGHTS ", r7\n"
#define PRODUCTS_OF_FOUR(WEIGHTS)                                                                  \
    "sxtb16 lr, " WEIGHTS "\n" PRODUCTS("lr")                                                      \
    "sxtb16 lr, " WEIGHTS ", ror #8\n" PRODUCTS("lr")

#define DEPTH_8 PRODUCTS("r0") PRODUCTS("r2") PRODUCTS("r3") PRODUCTS("r12")
#define DEPTH_16                                                                                   \
    PRODUCTS_OF_FOUR("r0") PRODUCTS_OF_FOUR("r2") PRODUCTS_OF_FOUR("r3") PRODUCTS_OF_FOUR("r12")

#define SCALED(SUM)                                                                                \
    "lsl " SUM ", " SUM ", r8\n"                                                                   \
    "smmla " SUM ", " SUM ", r9, r10\n"

/* r11 at the end of the channel. */
#define TILES(DEPTH, OUTPUT, KEEP)                                                                 \
    "3:\n"                                                                                         \
    "ldm sp, {r4-r7}\n"                                                                            \
    "4:\n" DEPTH "ldrd r8, r9, [sp, #16]\n"                                                        \
    "ldrd r10, r11, [sp, #24]\n" OUTPUT SCALED("r4") SCALED("r5") SCALED("r6") SCALED("r7")        \
    "pkhtb r5, r5, r4, asr #16\n"                                                                  \
    "pkhtb r7, r7, r6, asr #16\n"                                                                  \
    "ssat16 r5, #8, r5\n"                                                                          \
    "ssat16 r7, #8, r7\n"                                                                          \
    "str r5, [lr], #4\n"                                                                           \
    "str r7, [lr], #4\n" KEEP                                                                      \
    "cmp lr, r11\n"                                                                                \
    "bne 3b\n"                                                                                     \
    "b 1b\n"

#define END                                                                                        \
    "9:\n"                                                                                         \
    "add sp, sp, #64\n"                                                                            \
    "pop {r4-r11, pc}\n"

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_4_depth_8(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL WEIGHTS_8 TILES(DEPTH_8, "", "") END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_4_depth_16(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL WEIGHTS_16 TILES(DEPTH_16, "ldr lr, [sp, #56]\n", "str lr, [sp, #56]\n")
                END);
}
