#include "quartets.h"

#include "assembly.h"

/* One run of the assembly, which loads the fields in this order. */
typedef struct quartets {
    const int16_t *tile;
    const int8_t *records;
    int32_t rounds; /* depth / 8, rounded up */
    int32_t count;
    int8_t *output;
    int32_t step;   /* bytes from channel to channel */
    int32_t offset; /* (zero point << 16) + 2^15 */
    int32_t planar; /* 1: int16, 0: int8 */
} quartets;

/*
 * A word of weights holds 256 * b + a as two int16, a and b being weights of two channels. Its
 * products are 256 times the sum of b plus that of a, and the products of its lower bytes alone the
 * sum of a.
 *
 * r0 lower bytes, r1 tile, r2 weights, r3 rounds left, r4 and r6 sums of both, r5 and r7 sums of a,
 * r8 and r9 activations, r10 .. r12 and lr weights. On the stack:
 *
 *    0 record     4 tile     8 rounds    12 quartets left
 *   16 output    20 step    24 offset    28 planar
 */
#define PRODUCTS(PIXEL, WEIGHTS, BOTH, LOWER)                                                      \
    "sxtb16 r0, " WEIGHTS "\n"                                                                     \
    "smlad " BOTH ", " PIXEL ", " WEIGHTS ", " BOTH "\n"                                           \
    "smlad " LOWER ", " PIXEL ", r0, " LOWER "\n"
#define FOUR                                                                                       \
    "ldm r1!, {r8, r9}\n"                                                                          \
    "ldm r2!, {r10-r12, lr}\n" PRODUCTS("r8", "r10", "r4", "r5") PRODUCTS("r8", "r11", "r6", "r7") \
        PRODUCTS("r9", "r12", "r4", "r5") PRODUCTS("r9", "lr", "r6", "r7")

/* r0 offset, r1 output, r3 the channel's constants, r12 step; the flags say whether int8 is wanted.
 * As SCALED_LINEAR in matmul.c. */
#define FINISHED(SUM, BIAS)                                                                        \
    "ldrd r8, r9, [r3], #8\n" BIAS                                                                 \
    "and r10, r8, #31\n"                                                                           \
    "mov r11, #1\n"                                                                                \
    "lsl r11, r11, r10\n"                                                                          \
    "and lr, r11, " SUM ", asr #31\n"                                                              \
    "add r8, r0, r11, lsr #2\n"                                                                    \
    "sub lr, r8, lr, lsr #1\n"                                                                     \
    "lsl " SUM ", " SUM ", r10\n"                                                                  \
    "smmla " SUM ", " SUM ", r9, lr\n"                                                             \
    "ssat " SUM ", #8, " SUM ", asr #16\n"                                                         \
    "ite eq\n"                                                                                     \
    "strbeq " SUM ", [r1]\n"                                                                       \
    "strhne " SUM ", [r1]\n"                                                                       \
    "add r1, r1, r12\n"

VP_NN_DSP_ASSEMBLY static void run_quartets(VP_NN_DSP_UNUSED const quartets *p)
{
    __asm__("push {r4-r11, lr}\n"
            "sub sp, sp, #32\n"
            "ldm r0, {r1-r8}\n"
            "strd r1, r3, [sp, #4]\n"
            "add r9, sp, #12\n"
            "stm r9, {r4-r8}\n"
            "1:\n"
            "str r2, [sp]\n"
            "ldr r5, [r2]\n"
            "ldr r7, [r2, #16]\n"
            "asr r5, r5, #5\n"
            "asr r7, r7, #5\n"
            "mov r4, r5\n"
            "mov r6, r7\n"
            "add r2, r2, #32\n"
            "ldrd r1, r3, [sp, #4]\n"
            "2:\n" FOUR FOUR
            "subs r3, r3, #1\n"
            "bne 2b\n"
            "ldr r3, [sp]\n"
            "ldrd r1, r12, [sp, #16]\n"
            "ldrd r0, lr, [sp, #24]\n"
            "cmp lr, #0\n"
            "sub r4, r4, r5\n"
            "asr r4, r4, #8\n"
            "sub r6, r6, r7\n"
            "asr r6, r6, #8\n" FINISHED("r5", "") FINISHED("r4", "add r4, r4, r8, asr #5\n")
                FINISHED("r7", "") FINISHED("r6", "add r6, r6, r8, asr #5\n")
            "ldr r3, [sp, #12]\n"
            "str r1, [sp, #16]\n"
            "subs r3, r3, #1\n"
            "str r3, [sp, #12]\n"
            "bne 1b\n"
            "add sp, sp, #32\n"
            "pop {r4-r11, pc}\n");
}

void vp_nn_dsp_run_pixel(const vp_nn_dsp_pixel *p, const int16_t *tile, int8_t *output)
{
    const vp_nn_dsp_filters *rest = &p->rest;
    const int32_t channels = 4 * p->quartet_count + rest->channels;
    const quartets run = {
        .tile = tile,
        .records = p->quartets,
        .rounds = (rest->depth + 7) >> 3,
        .count = p->quartet_count,
        .output = output + 2 * rest->lead,
        .step = rest->channel_step,
        .offset = rest->zero_point * 65536 + 32768,
        .planar = rest->mode == VP_NN_DSP_PLANAR16,
    };
    if (run.planar) {
        const vp_nn_dsp_planes planes = {1, channels, rest->channel_step, rest->lead,
                                         rest->zero_point};
        vp_nn_dsp_begin_planes(&planes, output);
    }
    run_quartets(&run);
    if (rest->channels > 0) {
        vp_nn_dsp_filter(rest, tile, 1, run.output + 4 * p->quartet_count * rest->channel_step);
    }
    if (!run.planar) {
        vp_nn_dsp_clamp(output, channels, rest->min, rest->max);
    }
}
