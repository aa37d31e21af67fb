#include "output.h"

#include <stddef.h>

#include "turn.h"

#define VECTOR 16 /* int8 lanes */
#define PIXELS 3

/* The windows of 3 neighbouring pixels share 5 columns: each vector of a column is loaded once for
 * up to 3 pixels and 2 channels. The sums leave no registers for the rest: the assembly knows the
 * place of each member. */
typedef struct loop {
    const int8_t *x[PIXELS + 2]; /* 0: the columns. */
    const int8_t *weights;       /* 20 */
    int32_t rest;                /* 24: vectors of a column, less 1. */
    int8_t *end;                 /* 28: of the outputs. */
    const int32_t *scale;        /* 32 */
    const int8_t *shift;         /* 36 */
    int8_t *output;              /* 40 */
    uintptr_t edges;             /* 44 */
    uint16_t places[8];          /* 48 */
} loop;

typedef char loop_is_as_the_assembly_has_it[offsetof(loop, places) == 48 ? 1 : -1];

#define MAC(ACC, sum, w) "vmladav" ACC ".s8 " sum ", " w ", q6\n\t"

/* q0 to q2: weights of the first channel for the 3 columns of a window; q3 to q5: of the second.
 * Sums of the first channel: r0, r2, r4; of the second: r6, r8, r10. FIRST: nothing, or "a" to add
 * to what is there. */
#define DOT(FIRST)                                                            \
    "vldrb.8 q0, [r12], #96\n\t"                                              \
    "vldrb.8 q1, [r12, #-80]\n\t"                                             \
    "vldrb.8 q2, [r12, #-64]\n\t"                                             \
    "vldrb.8 q3, [r12, #-48]\n\t"                                             \
    "vldrb.8 q4, [r12, #-32]\n\t"                                             \
    "vldrb.8 q5, [r12, #-16]\n\t"                                             \
    "vldrb.8 q6, [r1], #16\n\t" MAC(FIRST, "r0", "q0") MAC(FIRST, "r6", "q3") \
    "vldrb.8 q6, [r3], #16\n\t" MAC("a", "r0", "q1") MAC("a", "r6", "q4")     \
    MAC(FIRST, "r2", "q0") MAC(FIRST, "r8", "q3")                             \
    "vldrb.8 q6, [r5], #16\n\t" MAC("a", "r0", "q2") MAC("a", "r6", "q5")     \
    MAC("a", "r2", "q1") MAC("a", "r8", "q4")                                 \
    MAC(FIRST, "r4", "q0") MAC(FIRST, "r10", "q3")                            \
    "vldrb.8 q6, [r9], #16\n\t" MAC("a", "r2", "q2") MAC("a", "r8", "q5")     \
    MAC("a", "r4", "q1") MAC("a", "r10", "q4")                                \
    "vldrb.8 q6, [r11], #16\n\t" MAC("a", "r4", "q2") MAC("a", "r10", "q5")

#define SCALE(q, KIND)          \
    "ldrd r0, r2, [r1], #8\n\t" \
    "ldrsb r4, [r3], #1\n\t" VP_NN_MVE_SCALE(q, "r0", "r2", "r4", KIND)

/* r12 is the struct's address, kept in q7 while r12 points to weights. */
#define PAIRS(KIND)                                                                              \
    __asm__ volatile(                                                                            \
        "vmov.32 q7[0], r12\n"                                                                   \
        "1:\n\t"                                                                                 \
        "ldm r12, {r1, r3, r5, r9, r11}\n\t"                                                     \
        "ldr lr, [r12, #24]\n\t"                                                                 \
        "ldr r12, [r12, #20]\n\t" DOT("")                                                        \
        "wls lr, lr, 3f\n"                                                                       \
        "2:\n\t" DOT("a")                                                                        \
        "le lr, 2b\n"                                                                            \
        "3:\n\t"                                                                                 \
        "mov r1, r12\n\t"                                                                        \
        "vmov.32 r12, q7[0]\n\t"                                                                 \
        "str r1, [r12, #20]\n\t" VP_NN_MVE_COLLECT_3("q0", "r0", "r2", "r4")                     \
            VP_NN_MVE_COLLECT_3("q1", "r6", "r8", "r10")                                         \
        "ldrd r1, r3, [r12, #32]\n\t" SCALE("q0", KIND) SCALE("q1", KIND)                        \
        "strd r1, r3, [r12, #32]\n\t"                                                            \
        "ldrd r1, r3, [r12, #40]\n\t" VP_NN_MVE_NARROW_##KIND("q0", "q1", "r3")                  \
        "vldrb.8 q1, [r12, #48]\n\t"                                                             \
        "vstrb.16 q0, [r1, q1]\n\t"                                                              \
        "add r1, r1, #2\n\t"                                                                     \
        "str r1, [r12, #40]\n\t"                                                                 \
        "ldr r0, [r12, #28]\n\t"                                                                 \
        "cmp r0, r1\n\t"                                                                         \
        "bne 1b"                                                                                 \
        : "+r"(at)                                                                               \
        :                                                                                        \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1",  \
          "q2", "q3", "q4", "q5", "q6", "q7", "p0", "cc", "memory")

VP_NN_MVE_ALONE
static void run_tile(const vp_nn_mve_conv_2d *p, const int8_t *x, uint16x8_t places, int8_t *output)
{
    const int32_t column = p->window.kernel_height * p->window.input_channels;
    loop l = {
        .weights = p->weights,
        .rest = column / VECTOR - 1,
        .end = output + p->window.output_channels,
        .scale = p->output.scale,
        .shift = p->output.shift,
        .output = output,
        .edges = vp_nn_mve_edges(&p->output),
    };
    register loop *at __asm__("r12") = &l;
    for (int32_t i = 0; i < PIXELS + 2; i++) {
        l.x[i] = x + i * column;
    }
    vstrhq_u16(l.places, places);
    VP_NN_MVE_FOR_KIND(p->output.kind, PAIRS);
}

void vp_nn_mve_conv_2d_3_columns_row(const vp_nn_mve_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t last = w->output_width - PIXELS;
    const uint16x8_t places = vp_nn_mve_places(PIXELS, w->output_channels);
    vp_nn_mve_turn(p, row, input, scratch);
    for (int32_t column = 0; column < w->output_width; column += PIXELS) {
        const int32_t first = column < last ? column : last;
        run_tile(p, scratch + first * w->kernel_height * w->input_channels, places,
                 output + first * w->output_channels);
    }
}
