#include <string.h>

#include "assembly.h"
#include "filters.h"

/* r0 a, r1 b, r2 output, r3 words left, r4 and r5 factors, r6 offset, r8 0xFF00FF00. A byte in the
 * upper part of an int16 is that byte times 256; smlaw adds its product with a factor, shifted
 * right by 16. PART selects the lower or the upper one. */
#define SUM(TARGET, A, B, PART)                                                                    \
    "smlaw" PART " " TARGET ", r4, " A ", r6\n"                                                    \
    "smlaw" PART " " TARGET ", r5, " B ", " TARGET "\n"                                            \
    "ssat " TARGET ", #8, " TARGET ", asr #21\n"                                                   \
    "strb " TARGET ", [r2], #1\n"

/* At least one word. */
VP_NN_DSP_ASSEMBLY static void add_words(VP_NN_DSP_UNUSED const int8_t *a,
                                         VP_NN_DSP_UNUSED const int8_t *b,
                                         VP_NN_DSP_UNUSED int8_t *output,
                                         VP_NN_DSP_UNUSED int32_t words,
                                         VP_NN_DSP_UNUSED const vp_nn_dsp_add *p)
{
    __asm__("push {r4-r11, lr}\n"
            "ldr r12, [sp, #36]\n"
            "ldm r12, {r4-r6}\n"
            "mov r8, #0xFF00FF00\n"
            "1:\n"
            "ldr r9, [r0], #4\n"
            "ldr r10, [r1], #4\n"
            "and r11, r8, r9, lsl #8\n"
            "and r12, r8, r10, lsl #8\n"
            "and r9, r8, r9\n"
            "and r10, r8, r10\n" SUM("lr", "r11", "r12", "b") SUM("lr", "r9", "r10", "b")
                SUM("lr", "r11", "r12", "t") SUM("lr", "r9", "r10", "t")
            "subs r3, r3, #1\n"
            "bne 1b\n"
            "pop {r4-r11, pc}\n");
}

void vp_nn_dsp_add_row(const vp_nn_dsp_add *p, int32_t row, const vp_nn_rows *a,
                       const vp_nn_rows *b, int8_t *output)
{
    const int8_t *row_a = vp_nn_row(a, row);
    const int8_t *row_b = vp_nn_row(b, row);
    const int32_t left = p->row_size & 3;
    const int32_t most = p->row_size - left;
    if (most > 0) {
        add_words(row_a, row_b, output, most >> 2, p);
    }
    if (left > 0) {
        int8_t last[3][4] = {{0}};
        memcpy(last[0], row_a + most, (size_t)left);
        memcpy(last[1], row_b + most, (size_t)left);
        add_words(last[0], last[1], last[2], 1, p);
        memcpy(output + most, last[2], (size_t)left);
    }
    vp_nn_dsp_clamp(output, p->row_size, p->min, p->max);
}
