#include "output.h"

#include <stddef.h>

#include "strips.h"

#define LANES VP_NN_MVE_STRIP_LANES
#define COLUMN VP_NN_MVE_STRIP_COLUMN
#define PIXELS 4

/* The channels of a tile of 4 outputs, where a row has few tiles. The assembly knows the place of
 * each member. */
typedef struct loop {
    int8_t *output;            /* 0 */
    const int32_t *scale;      /* 4 */
    const int8_t *shift;       /* 8 */
    const int8_t *weights;     /* 12: less one channel's. */
    int32_t size;              /* 16: bytes of the weights of a channel. */
    uintptr_t edges;           /* 20 */
    uint32_t lanes;            /* 24: those of the tile that exist. */
    int32_t pairs;             /* 28 */
    uint32_t x[4];             /* 32: addresses of the columns of the first output, less a pair. */
    uint8_t weight_places[16]; /* 48 */
    uint16_t places[8];        /* 64 */
} loop;

typedef char loop_is_as_the_assembly_has_it[offsetof(loop, places) == 64 ? 1 : -1];

/* q0, q1: sums; q2: addresses of columns; q3: weights; q5: weight places; q7: places. r1: output;
 * r3: scale; r5: shift; r8: weights; r9: size; r11: edges; r12: the struct. */
#define SUM(sum, place) "vldrw.u32 q1, [q2, " place "\n\tvmladav.s8 " sum ", q1, q3\n\t"
#define SUMS_A_1 SUM("r0", "#8]!") SUM("r2", "#64]") SUM("r4", "#128]") SUM("r6", "#192]")
#define SUMS_B_1 SUM("r0", "#4]") SUM("r2", "#68]") SUM("r4", "#132]") SUM("r6", "#196]")
#define SUMS_A_2 SUM("r0", "#8]!") SUM("r2", "#128]") SUM("r4", "#256]") SUM("r6", "#384]")
#define SUMS_B_2 SUM("r0", "#4]") SUM("r2", "#132]") SUM("r4", "#260]") SUM("r6", "#388]")

#define NEXT_WEIGHTS "add r8, r8, r9\n\tvldrb.u8 q3, [r8, q5]\n\t"
#define COLLECT_AND_SCALE(q, KIND)  \
    VP_NN_MVE_COLLECT(q)            \
    "ldrd r0, r2, [r3], #8\n\t"     \
    "ldrsb r4, [r5], #1\n\t" VP_NN_MVE_SCALE(q, "r0", "r2", "r4", KIND)

/* VPT uses the predicate too. */
#define LANES_RELU
#define LANES_LINEAR "ldr r0, [r12, #24]\n\tvmsr p0, r0\n\t"
#define LANES_CLAMPED LANES_LINEAR

#define PAIRS(STRIDE, KIND)                                                                      \
    __asm__ volatile(                                                                            \
        "ldm r12, {r1, r3, r5, r8, r9, r11}\n\t"                                                 \
        "ldrd r0, lr, [r12, #24]\n\t"                                                            \
        "vmsr p0, r0\n\t"                                                                        \
        "vldrw.u32 q2, [r12, #32]\n\t"                                                           \
        "vldrb.8 q5, [r12, #48]\n\t"                                                             \
        "vldrb.8 q7, [r12, #64]\n\t"                                                             \
        "dls lr, lr\n"                                                                           \
        "1:\n\t" NEXT_WEIGHTS SUMS_A_##STRIDE COLLECT_AND_SCALE("q0", KIND)                      \
            NEXT_WEIGHTS SUMS_B_##STRIDE COLLECT_AND_SCALE("q1", KIND)                           \
                VP_NN_MVE_NARROW_##KIND("q0", "q1", "r11") LANES_##KIND                          \
        "vpst\n\t"                                                                               \
        "vstrbt.16 q0, [r1, q7]\n\t"                                                             \
        "add r1, r1, #2\n\t"                                                                     \
        "le lr, 1b"                                                                              \
        : "+r"(at)                                                                               \
        :                                                                                        \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r11", "lr", "q0", "q1", "q2",   \
          "q3", "q5", "q7", "p0", "memory")

#define PAIRS_1(KIND) PAIRS(1, KIND)
#define PAIRS_2(KIND) PAIRS(2, KIND)

VP_NN_MVE_ALONE
static void run_pairs(loop *l, int32_t stride, int32_t kind)
{
    register loop *at __asm__("r12") = l;
    if (stride == 1) {
        VP_NN_MVE_FOR_KIND(kind, PAIRS_1);
    } else {
        VP_NN_MVE_FOR_KIND(kind, PAIRS_2);
    }
}

/* Channels first .. first + channels - 1 of a row. */
static void run_tiles(const vp_nn_mve_depthwise_conv_2d *p, loop *l, int32_t first,
                      int32_t channels, const int8_t *strips, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const uint32x4_t columns = vmulq_n_u32(vidupq_n_u32(0, 1), COLUMN);
    uint32x4_t x = vaddq_n_u32(columns, (uint32_t)(uintptr_t)strips - 8u);
    l->scale = p->output.scale + 2 * first;
    l->shift = p->output.shift + first;
    l->weights = p->weights + (first - 1) * l->size;
    l->pairs = channels / 2;
    for (int32_t column = 0; column < w->output_width; column += PIXELS) {
        l->output = output + column * w->output_channels + first;
        l->lanes = vctp16q((uint32_t)(2 * (w->output_width - column)));
        vstrwq_u32(l->x, x);
        run_pairs(l, w->stride_width, p->output.kind);
        x = vaddq_n_u32(x, (uint32_t)(PIXELS * w->stride_width * COLUMN));
    }
}

void vp_nn_mve_depthwise_conv_2d_narrow_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                            const vp_nn_rows *input, int8_t *scratch,
                                            int8_t *output)
{
    const vp_nn_window *w = &p->window;
    vp_nn_mve_strips strips;
    loop l = {
        .size = w->kernel_width * w->kernel_height + 1,
        .edges = vp_nn_mve_edges(&p->output),
    };
    vstrbq_u8(l.weight_places, vp_nn_mve_strips_weights(w, 0, 0));
    vstrhq_u16(l.places, vp_nn_mve_places(PIXELS, w->output_channels));
    vp_nn_mve_strips_begin(&strips, p, row, 0, w->kernel_height, input, scratch);
    for (int32_t first = 0; first < w->input_channels; first += LANES) {
        const int32_t left = w->input_channels - first;
        vp_nn_mve_strips_next(&strips, left);
        run_tiles(p, &l, first, left < LANES ? left : LANES, scratch, output);
    }
}
