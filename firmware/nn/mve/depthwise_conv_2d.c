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

/* Two channels of one row of the output. */
typedef struct pair {
    int8x16_t first[2];  /* Weights for an output whose window begins at the first of 4 columns. */
    int8x16_t second[2]; /* At the second. */
    const int32_t *scale;
    int32_t shift[2];
    const vp_nn_mve_output *output;
    int32_t channels; /* Bytes between neighbouring outputs. */
    int32_t stride;   /* Bytes between the columns at which their windows begin. */
    void (*tiles)(const struct pair *p, uint32x4_t x, int32_t count, uint16x8_t places,
                  int8_t *output);
} pair;

#define COLLECT_AND_SCALE(q, offset, shift, KIND) \
    VP_NN_MVE_COLLECT(q)                          \
    "ldrd r0, r2, [%[scale], #" offset "]\n\t" VP_NN_MVE_SCALE(q, "r0", "r2", shift, KIND)

#define TILES(SUMS_A, SUMS_B, KIND)                                                               \
    __asm__ volatile(                                                                             \
        "dls lr, %[count]\n"                                                                \
        "1:\n\t" SUMS_A COLLECT_AND_SCALE("%q[a]", "0", "%[shift0]", KIND) SUMS_B                 \
            COLLECT_AND_SCALE("%q[b]", "8", "%[shift1]", KIND)                                    \
                VP_NN_MVE_NARROW_##KIND("%q[a]", "%q[b]")                                         \
        "vstrb.16 %q[a], [%[output], %q[places]]\n\t"                                             \
        "add %[output], %[output], %[step]\n\t"                                                   \
        "le lr, 1b"                                                                               \
        : [a] "=&w"(a), [b] "=&w"(b), [x] "+&w"(x), [output] "+&r"(output)                        \
        : [u0] "w"(p->first[0]), [u1] "w"(p->first[1]), [v0] "w"(p->second[0]),                   \
          [v1] "w"(p->second[1]), [places] "w"(places), [scale] "r"(p->scale),                    \
          [shift0] "r"(p->shift[0]), [shift1] "r"(p->shift[1]), [stride] "r"(p->stride),          \
          [edges] "r"(VP_NN_MVE_EDGES_##KIND(p->output)), [step] "r"(4 * p->channels),            \
          [count] "r"(count)                                                                      \
        : VP_NN_MVE_TEMPORARIES)

#define SUM(sum, place, weights)                     \
    "vldrw.u32 %q[b], [%q[x]" place "\n\t"           \
    "vmladav.s8 " sum ", %q[b], " weights "\n\t"
#define SUM_TWO(sum0, sum1, place, weights0, weights1) \
    SUM(sum0, place, weights0) "vmladav.s8 " sum1 ", %q[b], " weights1 "\n\t"

/* Windows of up to 3 columns, one column apart: a load serves two outputs. */
static void tiles_stride_1(const pair *p, uint32x4_t x, int32_t count, uint16x8_t places,
                           int8_t *output)
{
    int32x4_t a;
    int32x4_t b;
#define SUMS_A                                            \
    SUM_TWO("r0", "r2", ", #256]!", "%q[u0]", "%q[v0]")   \
    SUM_TWO("r4", "r6", ", #128]", "%q[u0]", "%q[v0]")
#define SUMS_B                                            \
    SUM_TWO("r0", "r2", ", #4]", "%q[u1]", "%q[v1]")      \
    SUM_TWO("r4", "r6", ", #132]", "%q[u1]", "%q[v1]")
    x = vsubq_n_u32(x, 4 * COLUMN);
    if (p->output->plain) {
        TILES(SUMS_A, SUMS_B, PLAIN);
    } else {
        TILES(SUMS_A, SUMS_B, EXACT);
    }
#undef SUMS_A
#undef SUMS_B
}

static void tiles_stride_2(const pair *p, uint32x4_t x, int32_t count, uint16x8_t places,
                           int8_t *output)
{
    int32x4_t a;
    int32x4_t b;
#define SUMS_A                                                               \
    SUM("r0", ", #256]!", "%q[u0]") SUM("r2", ", #128]", "%q[u0]")           \
    SUM("r4", ", #256]!", "%q[u0]") SUM("r6", ", #128]", "%q[u0]")
#define SUMS_B                                                               \
    SUM("r0", ", #-252]", "%q[u1]") SUM("r2", ", #-124]", "%q[u1]")          \
    SUM("r4", ", #4]", "%q[u1]") SUM("r6", ", #132]", "%q[u1]")
    x = vsubq_n_u32(x, 4 * COLUMN);
    if (p->output->plain) {
        TILES(SUMS_A, SUMS_B, PLAIN);
    } else {
        TILES(SUMS_A, SUMS_B, EXACT);
    }
#undef SUMS_A
#undef SUMS_B
}

static void tiles_any(const pair *p, uint32x4_t x, int32_t count, uint16x8_t places,
                      int8_t *output)
{
    int32x4_t a;
    int32x4_t b;
#define SUM_AND_GO(sum, weights) SUM(sum, "]", weights) "vadd.i32 %q[x], %q[x], %[stride]\n\t"
#define SUMS(weights)                                              \
    SUM_AND_GO("r0", weights) SUM_AND_GO("r2", weights)            \
    SUM_AND_GO("r4", weights) SUM_AND_GO("r6", weights)
#define SUMS_B                                                     \
    "lsl r0, %[stride], #2\n\t"                                    \
    "sub r0, r0, #4\n\t"                                           \
    "vsub.i32 %q[x], %q[x], r0\n\t" SUMS("%q[u1]")                 \
    "mov r0, #4\n\t"                                               \
    "vsub.i32 %q[x], %q[x], r0\n\t"
    if (p->output->plain) {
        TILES(SUMS("%q[u0]"), SUMS_B, PLAIN);
    } else {
        TILES(SUMS("%q[u0]"), SUMS_B, EXACT);
    }
}

/* One row of two channels; `x` are the places of 4 columns from the first on. */
static void run_pair(const pair *p, int32_t width, uint32x4_t x, int8_t *output)
{
    const uint16x8_t places = vp_nn_mve_places(4, p->channels);
    if (width < 4) {
        int8_t tile[8];
        p->tiles(p, x, 1, vp_nn_mve_places(4, 2), tile);
        for (int32_t i = 0; i < width; i++) {
            memcpy(output + i * p->channels, tile + 2 * i, 2);
        }
        return;
    }
    p->tiles(p, x, width / 4, places, output);
    if (width % 4) {
        const int32_t last = width - 4;
        p->tiles(p, vaddq_n_u32(x, (uint32_t)(last * p->stride)), 1, places,
                 output + last * p->channels);
    }
}

static void run_strips(const vp_nn_mve_depthwise_conv_2d *p, int32_t first, int32_t channels,
                       const int8_t *strips, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t size = w->kernel_width * w->kernel_height + 1;
    const int narrow = w->dilation_width == 1 && w->kernel_width <= 3;
    const uint8x16_t weights = weight_places(w);
    const uint32x4_t columns =
        vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)(w->dilation_width * COLUMN));
    pair two = {
        .output = &p->output,
        .channels = w->output_channels,
        .stride = w->stride_width * COLUMN,
        .tiles = tiles_any,
    };
    if (w->stride_width == 1 && narrow) {
        two.tiles = tiles_stride_1;
    } else if (w->stride_width == 2 && w->dilation_width == 1) {
        two.tiles = tiles_stride_2;
    }
    for (int32_t channel = first; channel < first + channels; channel += 2) {
        for (int32_t i = 0; i < 2; i++) {
            uint32_t carry = 0;
            const int8_t *at = p->weights + (channel + i) * size;
            two.first[i] = vldrbq_gather_offset_s8(at, weights);
            two.second[i] = vshlcq_s8(two.first[i], &carry, 32);
            two.shift[i] = p->output.shift[channel + i];
        }
        two.scale = p->output.scale + 2 * channel;
        const uint32_t begin = (uint32_t)(uintptr_t)(strips + (channel - first) * WORD);
        run_pair(&two, w->output_width, vaddq_n_u32(columns, begin), output + channel);
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

    memset(outside, p->input_zero_point, sizeof outside);
    memset(scratch, p->input_zero_point, (size_t)(w->pad_left * COLUMN));
    memset(columns + inside * COLUMN, p->input_zero_point, (size_t)((room - inside) * COLUMN));
    find_rows(p, row, input, outside, &rows);
    for (int32_t first = 0; first < w->input_channels; first += LANES) {
        const int32_t left = w->input_channels - first;
        const int32_t channels = left < LANES ? left : LANES;
        turn(&rows, w->kernel_height, channels, inside, columns);
        run_strips(p, first, channels, scratch, output);
        for (int32_t i = 0; i < 4; i++) {
            rows.data[i] += rows.step[i] != 0 ? LANES : 0;
        }
    }
}
