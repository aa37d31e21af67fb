#include <stddef.h>
#include <string.h>

#include "output.h"

/* 16 channels at a time are turned into strips: scratch holds, for each column of the input, a word
 * for each channel with the pixels of up to 4 rows under the window. A gathering load of 4 columns then
 * takes all that is under the window of one output and one channel, and VMLADAV sums it up. */
#define LANES 16
#define WORD 4
#define COLUMN (LANES * WORD)

/* Which of the weights of a channel, [kernel_width][kernel_height] and a zero, belongs to each byte of
 * the 4 columns of 4 rows. */
static uint8x16_t weight_places(const vp_nn_window *w)
{
    uint8_t places[16];
    for (int32_t i = 0; i < 16; i++) {
        const int32_t x = i / 4;
        const int32_t y = i % 4;
        const int inside = x < w->kernel_width && y < w->kernel_height;
        places[i] = (uint8_t)(inside ? x * w->kernel_height + y
                                     : w->kernel_width * w->kernel_height);
    }
    return vldrbq_u8(places);
}

/* The rows under the window, from the channel on that is being turned. */
typedef struct strip_rows {
    const int8_t *data[4];
    int32_t step[4]; /* Bytes to the next column: 0 for a row outside the image. */
} strip_rows;

static void find_rows(const vp_nn_mve_depthwise_conv_2d *p, int32_t row, const vp_nn_rows *input,
                      const int8_t *outside, strip_rows *rows)
{
    const vp_nn_window *w = &p->window;
    for (int32_t ky = 0; ky < 4; ky++) {
        const int32_t y = row * w->stride_height - w->pad_top + ky * w->dilation_height;
        const int inside = ky < w->kernel_height && y >= 0 && y < w->input_height;
        rows->data[ky] = inside ? vp_nn_row(input, y) : outside;
        rows->step[ky] = inside ? w->input_channels : 0;
    }
}

#define LOAD_3                   \
    "vpsttt\n\t"                 \
    "vldrbt.8 q0, [%[d0]]\n\t"   \
    "vldrbt.8 q1, [%[d1]]\n\t"   \
    "vldrbt.8 q2, [%[d2]]\n\t"   \
    "add %[d0], %[d0], %[s0]\n\t" \
    "add %[d1], %[d1], %[s1]\n\t" \
    "add %[d2], %[d2], %[s2]\n\t"
#define LOAD_1                   \
    "vpst\n\t"                   \
    "vldrbt.8 q3, [%[d3]]\n\t"   \
    "add %[d3], %[d3], %[s3]\n\t"
#define TURN(LOADS)                                                                              \
    __asm__ volatile(                                                                            \
        "vmsr p0, %[lanes]\n\t"                                                                  \
        "vmov.i32 q3, #0\n\t"                                                                    \
        "dls lr, %[columns]\n"                                                                   \
        "1:\n\t" LOADS "vst40.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                   \
        "vst41.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                                  \
        "vst42.8 {q0, q1, q2, q3}, [%[to]]\n\t"                                                  \
        "vst43.8 {q0, q1, q2, q3}, [%[to]]!\n\t"                                                 \
        "le lr, 1b"                                                                              \
        : [d0] "+&r"(d0), [d1] "+&r"(d1), [d2] "+&r"(d2), [d3] "+&r"(d3), [to] "+&r"(to)         \
        : [s0] "r"(rows->step[0]), [s1] "r"(rows->step[1]), [s2] "r"(rows->step[2]),             \
          [s3] "r"(rows->step[3]), [columns] "r"(columns), [lanes] "r"(lanes)                    \
        : "q0", "q1", "q2", "q3", "lr", "p0", "memory")

/* Turns 16 channels, or the `channels` that are left, of `columns` columns, at least 1. */
static void turn(const strip_rows *rows, int32_t height, int32_t channels, int32_t columns,
                 int8_t *to)
{
    const int8_t *d0 = rows->data[0];
    const int8_t *d1 = rows->data[1];
    const int8_t *d2 = rows->data[2];
    const int8_t *d3 = rows->data[3];
    const mve_pred16_t lanes = vctp8q((uint32_t)channels);
    if (height <= 3) {
        TURN(LOAD_3);
    } else {
        TURN(LOAD_3 LOAD_1);
    }
}

/* What the loops over pairs of channels keep in memory, because registers are short; the assembly knows
 * the place of each member. */
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
    uint32_t stride;           /* 52: bytes between the columns at which neighbouring windows begin. */
    uint32_t x[4];             /* 56: addresses of the columns of the first output, less LEAD. */
    uint8_t weight_places[16]; /* 72 */
    uint16_t places[8];        /* 88 */
} loop;

typedef char loop_is_as_the_assembly_has_it[offsetof(loop, places) == 88 ? 1 : -1];

/* q0, q1: sums; q2: addresses of columns; q3, q4: weights of the two channels for windows that begin at
 * the first column of a load; q5, q6: for those that begin at the second; q7: places. r1: output; r3:
 * scale; r5: shift; r8, r9: shifts of this pair; r10: step; r11: edges; r12: the struct. */
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
#define LANES_PLAIN
#define LANES_EXACT "ldr r0, [r12, #48]\n\tvmsr p0, r0\n\t"

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

#define DEFINE_PAIRS(name, STEPS)                \
    static void name(loop *l, int32_t plain)     \
    {                                            \
        register loop *at __asm__("r12") = l;    \
        if (plain) {                             \
            PAIRS(STEPS, PLAIN);                 \
        } else {                                 \
            PAIRS(STEPS, EXACT);                 \
        }                                        \
    }

DEFINE_PAIRS(pairs_stride_1, STRIDE_1)
DEFINE_PAIRS(pairs_stride_2, STRIDE_2)
DEFINE_PAIRS(pairs_any, ANY)

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
    l->edges = p->output.plain ? VP_NN_MVE_EDGES_PLAIN(&p->output)
                               : VP_NN_MVE_EDGES_EXACT(&p->output);
    l->lanes = vctp16q((uint32_t)(2 * width));
    l->stride = (uint32_t)(w->stride_width * COLUMN);
    vstrbq_u8(l->weight_places, weight_places(w));
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
        pairs_stride_1(l, p->output.plain);
    } else if (w->stride_width == 2 && w->dilation_width == 1) {
        vstrwq_u32(l->x, vsubq_n_u32(x, LEAD_STRIDE_2));
        pairs_stride_2(l, p->output.plain);
    } else {
        vstrwq_u32(l->x, vsubq_n_u32(x, LEAD_ANY(l->stride)));
        pairs_any(l, p->output.plain);
    }
}

void vp_nn_mve_depthwise_conv_2d_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                     const vp_nn_rows *input, int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t room = p->columns - w->pad_left;
    const int32_t inside = room < w->input_width ? room : w->input_width;
    int8_t *columns = scratch + w->pad_left * COLUMN;
    int8_t outside[LANES];
    strip_rows rows;
    loop l;

    begin(&l, p, output);
    memset(outside, p->input_zero_point, sizeof outside);
    memset(scratch, p->input_zero_point, (size_t)(w->pad_left * COLUMN));
    memset(columns + inside * COLUMN, p->input_zero_point, (size_t)((room - inside) * COLUMN));
    find_rows(p, row, input, outside, &rows);
    for (int32_t first = 0; first < w->input_channels; first += LANES) {
        const int32_t left = w->input_channels - first;
        const int32_t channels = left < LANES ? left : LANES;
        turn(&rows, w->kernel_height, channels, inside, columns);
        run_strips(p, &l, channels, scratch);
        for (int32_t i = 0; i < 4; i++) {
            rows.data[i] += rows.step[i] != 0 ? LANES : 0;
        }
    }
}
