#include "matmul.h"

#include "assembly.h"

/*
 * In the loop over K all 14 registers are in use: r1 tile, r2 weights, r3 rounds left, sums from r4
 * on (as many as there are pixels), activations behind them, weights in the others. Everything else
 * waits on the stack:
 *
 *    0 bias, four times           16 k           20 multiplier   24 offset       28 output
 *   32 weights of the channel     36 rounds      40 first jump   44 second jump  48 third jump
 *   52 end of the channel         56 step        60 skip         64 last end     68 tiles
 *   72 offset without rounding    76 pixel step  80 depth        84 end of weights
 *
 * The jumps are looked up once: to the middle of the loop where K / 8 is odd, to a group of 4 ahead
 * of the loop where K % 8 is 4, and to the code that stores the sums.
 */
#define BEGIN                                                                                      \
    "push {r4-r11, lr}\n"                                                                          \
    "sub sp, sp, #88\n"                                                                            \
    "ldm r0!, {r1-r6}\n"                                                                           \
    "mov r11, r6\n"                                                                                \
    "adr r12, 90f\n"                                                                               \
    "add r7, r12, r4, lsl #3\n"                                                                    \
    "ldrd r7, r8, [r7]\n"                                                                          \
    "add r9, r12, r5, lsl #2\n"                                                                    \
    "ldr r9, [r9, #40]\n"                                                                          \
    "add r7, r7, r12\n"                                                                            \
    "add r8, r8, r12\n"                                                                            \
    "add r9, r9, r12\n"                                                                            \
    "str r3, [sp, #36]\n"                                                                          \
    "str r1, [sp, #68]\n"                                                                          \
    "add r10, sp, #40\n"                                                                           \
    "stm r10, {r7-r9}\n"                                                                           \
    "ldm r0, {r3-r9}\n"                                                                            \
    "add r10, sp, #52\n"                                                                           \
    "stm r10, {r3-r6}\n"                                                                           \
    "strd r7, r8, [sp, #72]\n"                                                                     \
    "str r9, [sp, #80]\n"                                                                          \
    "b 2f\n"

/* r2 at the channel's record, r11 at the end of the channel before it. */
#define CHANNEL(NEXT_END)                                                                          \
    "1:\n"                                                                                         \
    "ldrd r9, r12, [sp, #60]\n"                                                                    \
    "cmp r11, r12\n"                                                                               \
    "beq 9f\n"                                                                                     \
    "add r11, r11, r9\n" NEXT_END                                                                  \
    "2:\n"                                                                                         \
    "ldrd r8, r9, [r2], #8\n"                                                                      \
    "and r10, r8, #31\n"                                                                           \
    "strd r10, r9, [sp, #16]\n"                                                                    \
    "asr r4, r8, #5\n"                                                                             \
    "mov r5, r4\n"                                                                                 \
    "mov r6, r4\n"                                                                                 \
    "mov r8, #1\n"                                                                                 \
    "lsl r8, r8, r10\n"                                                                            \
    "ldr r12, [sp, #72]\n"                                                                         \
    "add r12, r12, r8, lsr #2\n"                                                                   \
    "strd r12, r11, [sp, #24]\n"                                                                   \
    "ldr r1, [sp, #68]\n"

/* Only where a channel has several tiles. */
#define NEXT_END                                                                                   \
    "ldrd r8, r9, [sp, #52]\n"                                                                     \
    "add r8, r8, r9\n"                                                                             \
    "str r8, [sp, #52]\n"

#define TILES                                                                                      \
    "mov r7, r4\n"                                                                                 \
    "stm sp, {r4-r7}\n"                                                                            \
    "str r2, [sp, #32]\n"                                                                          \
    "3:\n"                                                                                         \
    "ldm sp, {r4-r7}\n"                                                                            \
    "ldrd r2, r3, [sp, #32]\n"                                                                     \
    "ldr pc, [sp, #40]\n"

#define TILE                                                                                       \
    "ldr r3, [sp, #36]\n"                                                                          \
    "ldr pc, [sp, #40]\n"

#define TILE_6                                                                                     \
    "mov r7, r4\n"                                                                                 \
    "mov r8, r4\n"                                                                                 \
    "mov r9, r4\n" TILE
#define TILE_5                                                                                     \
    "ldr r7, [sp, #80]\n"                                                                          \
    "add r7, r2, r7\n"                                                                             \
    "str r7, [sp, #84]\n"                                                                          \
    "mov r7, r4\n"                                                                                 \
    "mov r8, r4\n" TILE

#define LOOP(FOUR, EIGHT, AGAIN)                                                                   \
    "10:\n" FOUR                                                                                   \
    "ldr pc, [sp, #44]\n"                                                                          \
    "20:\n" EIGHT                                                                                  \
    "30:\n" EIGHT AGAIN                                                                            \
    "bne 20b\n"                                                                                    \
    "40:\n"                                                                                        \
    "ldrd r0, r3, [sp, #16]\n"                                                                     \
    "ldrd r10, r11, [sp, #24]\n"                                                                   \
    "ldr pc, [sp, #48]\n"

#define COUNTED "subs r3, r3, #1\n"
#define MEASURED                                                                                   \
    "ldr r0, [sp, #84]\n"                                                                          \
    "cmp r2, r0\n"

/* Multiplications of r0 (or another word of weights) with one word of each pixel. */
#define PRODUCT(SUM, PIXEL, WEIGHTS)                                                               \
    "smlad " SUM ", " PIXEL ", " WEIGHTS ", " SUM "\n"
#define PRODUCTS_4(WEIGHTS)                                                                        \
    "ldm r1!, {r8-r11}\n" PRODUCT("r4", "r8", WEIGHTS) PRODUCT("r5", "r9", WEIGHTS)                \
        PRODUCT("r6", "r10", WEIGHTS) PRODUCT("r7", "r11", WEIGHTS)
#define FOUR_4                                                                                     \
    "ldr r12, [r2], #4\n"                                                                          \
    "sxtb16 r0, r12\n" PRODUCTS_4("r0")                                                            \
    "sxtb16 r12, r12, ror #8\n" PRODUCTS_4("r12")
#define EIGHT_4                                                                                    \
    "ldrd r12, lr, [r2], #8\n"                                                                     \
    "sxtb16 r0, r12\n" PRODUCTS_4("r0")                                                            \
    "sxtb16 r12, r12, ror #8\n" PRODUCTS_4("r12")                                                  \
    "sxtb16 r0, lr\n" PRODUCTS_4("r0")                                                             \
    "sxtb16 lr, lr, ror #8\n" PRODUCTS_4("lr")

#define FOUR_6                                                                                     \
    "ldr lr, [r2], #4\n"                                                                           \
    "sxtb16 r0, lr\n" PRODUCTS_3("r4", "r5", "r6", "r0") PRODUCTS_3("r7", "r8", "r9", "r0")        \
    "sxtb16 lr, lr, ror #8\n" PRODUCTS_3("r4", "r5", "r6", "lr") PRODUCTS_3("r7", "r8", "r9", "lr")
#define PRODUCTS_3(S0, S1, S2, WEIGHTS)                                                            \
    "ldm r1!, {r10-r12}\n" PRODUCT(S0, "r10", WEIGHTS) PRODUCT(S1, "r11", WEIGHTS)                 \
        PRODUCT(S2, "r12", WEIGHTS)

/* No register is left for counting. */
#define PRODUCTS_5(WEIGHTS)                                                                        \
    "ldm r1!, {r9-r12, lr}\n" PRODUCT("r4", "r9", WEIGHTS) PRODUCT("r5", "r10", WEIGHTS)           \
        PRODUCT("r6", "r11", WEIGHTS) PRODUCT("r7", "r12", WEIGHTS) PRODUCT("r8", "lr", WEIGHTS)
#define FOUR_5                                                                                     \
    "ldr r0, [r2], #4\n"                                                                           \
    "sxtb16 r3, r0\n" PRODUCTS_5("r3")                                                             \
    "sxtb16 r0, r0, ror #8\n" PRODUCTS_5("r0")

#define FOUR_3                                                                                     \
    "ldr lr, [r2], #4\n"                                                                           \
    "ldm r1!, {r7-r12}\n"                                                                          \
    "sxtb16 r0, lr\n" PRODUCT("r4", "r7", "r0") PRODUCT("r5", "r8", "r0")                          \
        PRODUCT("r6", "r9", "r0")                                                                  \
    "sxtb16 lr, lr, ror #8\n" PRODUCT("r4", "r10", "lr") PRODUCT("r5", "r11", "lr")                \
        PRODUCT("r6", "r12", "lr")

#define PRODUCTS_2(FIRST, SECOND)                                                                  \
    "ldm r1!, {r8-r11}\n" PRODUCT("r4", "r8", FIRST) PRODUCT("r5", "r9", FIRST)                    \
        PRODUCT("r4", "r10", SECOND) PRODUCT("r5", "r11", SECOND)
#define FOUR_2                                                                                     \
    "ldr r12, [r2], #4\n"                                                                          \
    "sxtb16 r0, r12\n"                                                                             \
    "sxtb16 r12, r12, ror #8\n" PRODUCTS_2("r0", "r12")
#define EIGHT_2                                                                                    \
    "ldrd r12, lr, [r2], #8\n"                                                                     \
    "sxtb16 r0, r12\n"                                                                             \
    "sxtb16 r12, r12, ror #8\n" PRODUCTS_2("r0", "r12")                                            \
    "sxtb16 r0, lr\n"                                                                              \
    "sxtb16 lr, lr, ror #8\n" PRODUCTS_2("r0", "lr")

#define FOUR_1                                                                                     \
    "ldr r12, [r2], #4\n"                                                                          \
    "ldm r1!, {r8, r9}\n"                                                                          \
    "sxtb16 r0, r12\n" PRODUCT("r4", "r8", "r0")                                                   \
    "sxtb16 r12, r12, ror #8\n" PRODUCT("r4", "r9", "r12")
#define EIGHT_1                                                                                    \
    "ldrd r12, lr, [r2], #8\n"                                                                     \
    "ldm r1!, {r8-r11}\n"                                                                          \
    "sxtb16 r0, r12\n" PRODUCT("r4", "r8", "r0")                                                   \
    "sxtb16 r12, r12, ror #8\n" PRODUCT("r4", "r9", "r12")                                         \
    "sxtb16 r0, lr\n" PRODUCT("r4", "r10", "r0")                                                   \
    "sxtb16 lr, lr, ror #8\n" PRODUCT("r4", "r11", "lr")

/* r0 k, r3 multiplier, r10 offset: the result's upper half is the output before its saturation. */
#define SCALED(SUM)                                                                                \
    "lsl " SUM ", " SUM ", r0\n"                                                                   \
    "smmla " SUM ", " SUM ", r3, r10\n"

/* The same with the offset 2^(k - 1) less for negative sums: there ties go down, away from zero.
 * r12 is 2^k. */
#define SCALED_LINEAR(SUM)                                                                         \
    "and lr, r12, " SUM ", asr #31\n"                                                              \
    "sub lr, r10, lr, lsr #1\n"                                                                    \
    "lsl " SUM ", " SUM ", r0\n"                                                                   \
    "smmla " SUM ", " SUM ", r3, lr\n"

#define ALL_6(WHAT) ALL_4(WHAT) WHAT("r8") WHAT("r9")
#define ALL_5(WHAT) ALL_4(WHAT) WHAT("r8")
#define ALL_4(WHAT) WHAT("r4") WHAT("r5") WHAT("r6") WHAT("r7")
#define ALL_3(WHAT) WHAT("r4") WHAT("r5") WHAT("r6")
#define ALL_2(WHAT) WHAT("r4") WHAT("r5")
#define ALL_1(WHAT) WHAT("r4")
#define CLAMPED(SUM) "ssat " SUM ", #8, " SUM ", asr #16\n"

#define STORE_16_2(FIRST, SECOND)                                                                  \
    "pkhtb " SECOND ", " SECOND ", " FIRST ", asr #16\n"                                           \
    "ssat16 " SECOND ", #8, " SECOND "\n"                                                          \
    "str " SECOND ", [r11], #4\n"
#define STORE_16_1(SUM) CLAMPED(SUM) "strh " SUM ", [r11], #2\n"
#define STORE_8_2(FIRST, SECOND)                                                                   \
    "strb " FIRST ", [r11]\n"                                                                      \
    "strb " SECOND ", [r11, r0]\n"                                                                 \
    "add r11, r11, r0, lsl #1\n"
#define STORE_8_1(SUM)                                                                             \
    "strb " SUM ", [r11]\n"                                                                        \
    "add r11, r11, r0\n"
#define PIXEL_STEP "ldr r0, [sp, #76]\n"

#define INT16_6 INT16_4 STORE_16_2("r8", "r9")
#define INT16_5 INT16_4 STORE_16_1("r8")
#define INT16_4 STORE_16_2("r4", "r5") STORE_16_2("r6", "r7")
#define INT16_3 STORE_16_2("r4", "r5") STORE_16_1("r6")
#define INT16_2 STORE_16_2("r4", "r5")
#define INT16_1 STORE_16_1("r4")
#define INT8_6                                                                                     \
    ALL_6(CLAMPED) PIXEL_STEP STORE_8_2("r4", "r5") STORE_8_2("r6", "r7") STORE_8_2("r8", "r9")
#define INT8_5                                                                                     \
    ALL_5(CLAMPED) PIXEL_STEP STORE_8_2("r4", "r5") STORE_8_2("r6", "r7") STORE_8_1("r8")
#define INT8_4 ALL_4(CLAMPED) PIXEL_STEP STORE_8_2("r4", "r5") STORE_8_2("r6", "r7")
#define INT8_3 ALL_3(CLAMPED) PIXEL_STEP STORE_8_2("r4", "r5") STORE_8_1("r6")
#define INT8_2 ALL_2(CLAMPED) PIXEL_STEP STORE_8_2("r4", "r5")
#define INT8_1 ALL_1(CLAMPED) PIXEL_STEP STORE_8_1("r4")

#define NEXT_TILE                                                                                  \
    "str r11, [sp, #28]\n"                                                                         \
    "ldr r8, [sp, #52]\n"                                                                          \
    "cmp r11, r8\n"                                                                                \
    "bne 3b\n"                                                                                     \
    "b 1b\n"
#define NEXT_CHANNEL "b 1b\n"

#define STORES(ALL, INT16, INT8, NEXT)                                                             \
    "50:\n" ALL(SCALED) INT16 NEXT                                                                 \
    "51:\n" ALL(SCALED) INT8 NEXT                                                                  \
    "52:\n"                                                                                        \
    "mov r12, #1\n"                                                                                \
    "lsl r12, r12, r0\n" ALL(SCALED_LINEAR) INT8 NEXT

#define END                                                                                        \
    "9:\n"                                                                                         \
    "add sp, sp, #88\n"                                                                            \
    "pop {r4-r11, pc}\n"                                                                           \
    ".balign 4\n"                                                                                  \
    "90:\n"                                                                                        \
    ".word 20b - 90b + 1, 0\n"                                                                     \
    ".word 30b - 90b + 1, 0\n"                                                                     \
    ".word 10b - 90b + 1, 20b - 90b + 1\n"                                                         \
    ".word 10b - 90b + 1, 30b - 90b + 1\n"                                                         \
    ".word 10b - 90b + 1, 40b - 90b + 1\n"                                                         \
    ".word 50b - 90b + 1, 51b - 90b + 1, 52b - 90b + 1\n"

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_4(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL(NEXT_END) TILES LOOP(FOUR_4, EIGHT_4, COUNTED)
                STORES(ALL_4, INT16_4, INT8_4, NEXT_TILE) END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_6(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL("") TILE_6 LOOP(FOUR_6, FOUR_6 FOUR_6, COUNTED)
                STORES(ALL_6, INT16_6, INT8_6, NEXT_CHANNEL) END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_5(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL("") TILE_5 LOOP(FOUR_5, FOUR_5 FOUR_5, MEASURED)
                STORES(ALL_5, INT16_5, INT8_5, NEXT_CHANNEL) END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_3(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL("") TILE LOOP(FOUR_3, FOUR_3 FOUR_3, COUNTED)
                STORES(ALL_3, INT16_3, INT8_3, NEXT_CHANNEL) END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_2(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL("") TILE LOOP(FOUR_2, EIGHT_2, COUNTED)
                STORES(ALL_2, INT16_2, INT8_2, NEXT_CHANNEL) END);
}

VP_NN_DSP_ASSEMBLY void vp_nn_dsp_matmul_1(VP_NN_DSP_UNUSED const vp_nn_dsp_matmul *p)
{
    __asm__(BEGIN CHANNEL("") TILE LOOP(FOUR_1, EIGHT_1, COUNTED)
                STORES(ALL_1, INT16_1, INT8_1, NEXT_CHANNEL) END);
}
