#include "output.h"

#include <stddef.h>

#include "strips.h"

#define LANES VP_NN_MVE_STRIP_LANES
#define WORD VP_NN_MVE_STRIP_ROWS
#define COLUMN VP_NN_MVE_STRIP_COLUMN

/* What the loops over pairs of channels keep in memory, because registers are short; the assembly
 * knows the place of each member. */
typedef struct loop {
    const int8_t *weights;     /* 0 */
    int32_t size;              /* 4: bytes of the weights of a channel. */
    int8_t *output;            /* 8 */
    int32_t pairs;             /* 12 */
    const int32_t *scale;      /* 16 */
    const int8_t *shift;       /* 20 */
    int32_t tiles;             /* 24: of 4 outputs. */
    int32_t again;             /* 28: 1 if one more tile is needed, which overlaps the last one. */
    int32_t back_x;            /* 32: bytes from the tile after the last one to that one. */
    int32_t back_output;       /* 36 */
    int32_t step;              /* 40: bytes of 4 outputs. */
    uintptr_t edges;           /* 44 */
    uint32_t lanes;            /* 48: those of a tile that exist. */
    uint32_t stride;           /* 52: bytes between the columns of neighbouring windows. */
    uint32_t x[4];             /* 56: addresses of the columns of the first output, less LEAD. */
    uint8_t weight_places[16]; /* 72 */
    uint16_t places[8];        /* 88 */
} loop;

typedef char loop_is_as_the_assembly_has_it[offsetof(loop, places) == 88 ? 1 : -1];

/* q0, q1: sums; q2: addresses of columns; q3, q4: weights of the two channels for windows that
 * begin at the first column of a load; q5, q6: for those that begin at the second; q7: places. r1:
 * output; r3: scale; r5: shift; r8, r9: shifts of this pair; r10: step; r11: edges; r12: the
 * struct. */
#define SUM(sum, place, weights) \
    "vldrw.u32 q1, [q2" place "]\n\tvmladav.s8 " sum ", q1, " weights "\n\t"
#define SUM_TWO(sum0, sum1, place, weights0, weights1) \
    SUM(sum0, place, weights0) "vmladav.s8 " sum1 ", q1, " weights1 "\n\t"

/* Windows of up to 3 columns, one column apart: a load serves two outputs. */
#define LEAD_STRIDE_1 (4 * COLUMN)
#define SECOND_WEIGHTS_STRIDE_1                              \
    "mov r4, #0\n\tvmov q5, q3\n\tvshlc q5, r4, #32\n\t"     \
    "mov r4, #0\n\tvmov q6, q4\n\tvshlc q6, r4, #32\n\t"
#define SUMS_A_STRIDE_1                                      \
    "vldrw.u32 q1, [q2, #256]!\n\t"                          \
    "vmladav.s8 r0, q1, q3\n\tvmladav.s8 r2, q1, q5\n\t"     \
    SUM_TWO("r4", "r6", ", #128", "q3", "q5")
#define SUMS_B_STRIDE_1                                      \
    SUM_TWO("r0", "r2", ", #4", "q4", "q6") SUM_TWO("r4", "r6", ", #132", "q4", "q6")

#define LEAD_STRIDE_2 (4 * COLUMN)
#define SECOND_WEIGHTS_STRIDE_2
#define SUMS_A_STRIDE_2                                      \
    "vldrw.u32 q1, [q2, #256]!\n\tvmladav.s8 r0, q1, q3\n\t" \
    SUM("r2", ", #128", "q3")                                \
    "vldrw.u32 q1, [q2, #256]!\n\tvmladav.s8 r4, q1, q3\n\t" \
    SUM("r6", ", #128", "q3")
#define SUMS_B_STRIDE_2                                      \
    SUM("r0", ", #-252", "q4") SUM("r2", ", #-124", "q4")    \
    SUM("r4", ", #4", "q4") SUM("r6", ", #132", "q4")

#define LEAD_ANY(stride) ((stride) - WORD)
#define SECOND_WEIGHTS_ANY
#define GO "vadd.i32 q2, q2, r6\n\t"
#define SUMS_ANY(w) SUM("r0", "", w) GO SUM("r2", "", w) GO SUM("r4", "", w) GO SUM("r6", "", w)
#define SUMS_A_ANY                                           \
    "ldr r6, [r12, #52]\n\tsub r0, r6, #4\n\t"               \
    "vadd.i32 q2, q2, r0\n\t" SUMS_ANY("q3")
#define SUMS_B_ANY                                           \
    "ldr r6, [r12, #52]\n\tadd r0, r6, r6, lsl #1\n\t"       \
    "rsb r0, r0, #4\n\tvadd.i32 q2, q2, r0\n\t" SUMS_ANY("q4")

#define COLLECT_AND_SCALE(q, place, shift, KIND)             \
    VP_NN_MVE_COLLECT(q)                                     \
    "ldrd r0, r2, [r3, #" place "]\n\t" VP_NN_MVE_SCALE(q, "r0", "r2", shift, KIND)

/* VPT uses the predicate too. */
#define LANES_RELU
#define LANES_LINEAR "ldr r0, [r12, #48]\n\tvmsr p0, r0\n\t"
#define LANES_CLAMPED LANES_LINEAR

#define PAIRS(STEPS, KIND)                                                                       \
    __asm__ volatile(                                                                            \
        "ldrd r3, r5, [r12, #16]\n\t"                                                            \
        "ldrd r10, r11, [r12, #40]\n\t"                                                          \
        "ldr r0, [r12, #48]\n\t"                                                                 \
        "vmsr p0, r0\n\t"                                                                        \
        "vldrb.8 q7, [r12, #88]\n"                                                               \
        "1:\n\t"                                                                                 \
        "ldrd r0, r2, [r12]\n\t"                                                                 \
        "vldrb.8 q1, [r12, #72]\n\t"                                                             \
        "vldrb.u8 q3, [r0, q1]\n\t"                                                              \
        "add r0, r0, r2\n\t"                                                                     \
        "vldrb.u8 q4, [r0, q1]\n\t"                                                              \
        "add r0, r0, r2\n\t"                                                                     \
        "str r0, [r12]\n\t" SECOND_WEIGHTS_##STEPS                                               \
        "vldrw.u32 q2, [r12, #56]\n\t"                                                           \
        "mov r0, #8\n\t"                                                                         \
        "vadd.i32 q0, q2, r0\n\t"                                                                \
        "vstrw.32 q0, [r12, #56]\n\t"                                                            \
        "ldr r1, [r12, #8]\n\t"                                                                  \
        "add r0, r1, #2\n\t"                                                                     \
        "str r0, [r12, #8]\n\t"                                                                  \
        "ldrsb r8, [r5], #1\n\t"                                                                 \
        "ldrsb r9, [r5], #1\n\t"                                                                 \
        "ldr r0, [r12, #24]\n"                                                                   \
        "2:\n\t"                                                                                 \
        "dls lr, r0\n"                                                                           \
        "3:\n\t" SUMS_A_##STEPS COLLECT_AND_SCALE("q0", "0", "r8", KIND)                         \
            SUMS_B_##STEPS COLLECT_AND_SCALE("q1", "8", "r9", KIND)                              \
                VP_NN_MVE_NARROW_##KIND("q0", "q1", "r11") LANES_##KIND                          \
        "vpst\n\t"                                                                               \
        "vstrbt.16 q0, [r1, q7]\n\t"                                                             \
        "add r1, r1, r10\n\t"                                                                    \
        "le lr, 3b\n\t"                                                                          \
        "ldr r0, [r12, #28]\n\t"                                                                 \
        "cbz r0, 4f\n\t"                                                                         \
        "rsbs r0, r0, #0\n\t"                                                                    \
        "str r0, [r12, #28]\n\t"                                                                 \
        "bpl 4f\n\t"                                                                             \
        "ldrd r0, r2, [r12, #32]\n\t"                                                            \
        "vsub.i32 q2, q2, r0\n\t"                                                                \
        "sub r1, r1, r2\n\t"                                                                     \
        "mov r0, #1\n\t"                                                                         \
        "b 2b\n"                                                                                 \
        "4:\n\t"                                                                                 \
        "add r3, r3, #16\n\t"                                                                    \
        "ldr r0, [r12, #12]\n\t"                                                                 \
        "subs r0, r0, #1\n\t"                                                                    \
        "str r0, [r12, #12]\n\t"                                                                 \
        "bne 1b\n\t"                                                                             \
        "strd r3, r5, [r12, #16]"                                                                \
        : "+r"(at)                                                                               \
        :                                                                                        \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1",  \
          "q2", "q3", "q4", "q5", "q6", "q7", "p0", "cc", "memory")

#define PAIRS_STRIDE_1(KIND) PAIRS(STRIDE_1, KIND)
#define PAIRS_STRIDE_2(KIND) PAIRS(STRIDE_2, KIND)
#define PAIRS_ANY(KIND) PAIRS(ANY, KIND)

VP_NN_MVE_ALONE
static void pairs_stride_1(loop *l, int32_t kind)
{
    register loop *at __asm__("r12") = l;
    VP_NN_MVE_FOR_KIND(kind, PAIRS_STRIDE_1);
}

VP_NN_MVE_ALONE
static void pairs_stride_2(loop *l, int32_t kind)
{
    register loop *at __asm__("r12") = l;
    VP_NN_MVE_FOR_KIND(kind, PAIRS_STRIDE_2);
}

VP_NN_MVE_ALONE
static void pairs_any(loop *l, int32_t kind)
{
    register loop *at __asm__("r12") = l;
    VP_NN_MVE_FOR_KIND(kind, PAIRS_ANY);
}

static void begin(loop *l, const vp_nn_mve_depthwise_conv_2d *p, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t width = w->output_width;
    const int32_t back = width < 4 || width % 4 == 0 ? 0 : 4 - width % 4;
    l->weights = p->weights;
    l->size = w->kernel_width * w->kernel_height + 1;
    l->output = output;
    l->scale = p->output.scale;
    l->shift = p->output.shift;
    l->tiles = width < 4 ? 1 : width / 4;
    l->again = back != 0;
    l->back_x = back * w->stride_width * COLUMN;
    l->back_output = back * w->output_channels;
    l->step = 4 * w->output_channels;
    l->edges = vp_nn_mve_edges(&p->output);
    l->lanes = vctp16q((uint32_t)(2 * width));
    l->stride = (uint32_t)(w->stride_width * COLUMN);
    vstrbq_u8(l->weight_places, vp_nn_mve_strips_weights(w, 0, 0));
    vstrhq_u16(l->places, vp_nn_mve_places(4, w->output_channels));
}

static void run_strips(const vp_nn_mve_depthwise_conv_2d *p, loop *l, int32_t channels,
                       const int8_t *strips)
{
    const vp_nn_window *w = &p->window;
    const uint32x4_t columns =
        vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)(w->dilation_width * COLUMN));
    const uint32x4_t x = vaddq_n_u32(columns, (uint32_t)(uintptr_t)strips);
    l->pairs = channels / 2;
    if (w->stride_width == 1 && w->dilation_width == 1 && w->kernel_width <= 3) {
        vstrwq_u32(l->x, vsubq_n_u32(x, LEAD_STRIDE_1));
        pairs_stride_1(l, p->output.kind);
    } else if (w->stride_width == 2 && w->dilation_width == 1) {
        vstrwq_u32(l->x, vsubq_n_u32(x, LEAD_STRIDE_2));
        pairs_stride_2(l, p->output.kind);
    } else {
        vstrwq_u32(l->x, vsubq_n_u32(x, LEAD_ANY(l->stride)));
        pairs_any(l, p->output.kind);
    }
}

void vp_nn_mve_depthwise_conv_2d_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output)
{
    const int32_t channels = p->window.input_channels;
    vp_nn_mve_strips strips;
    loop l;
    begin(&l, p, output);
    vp_nn_mve_strips_begin(&strips, p, row, 0, p->window.kernel_height, input, scratch);
    for (int32_t left = channels; left > 0; left -= LANES) {
        vp_nn_mve_strips_next(&strips, left);
        run_strips(p, &l, left < LANES ? left : LANES, scratch);
    }
}
