#include "output.h"
#include "strips.h"

#define LANES VP_NN_MVE_STRIP_LANES
#define ROWS VP_NN_MVE_STRIP_ROWS
#define COLUMN VP_NN_MVE_STRIP_COLUMN
#define SIDE 4 /* Columns of a gathering load. */
#define GROUPS ((VP_NN_MVE_LARGE_KERNEL + SIDE - 1) / SIDE)
#define PIXELS 4

/* The window as parts of 4x4: where each finds its weights, and its pixels from the first part
 * on. */
typedef struct parts {
    int32_t count;
    int32_t offset[GROUPS * GROUPS];
    uint8_t places[GROUPS * GROUPS][16];
} parts;

static void make_parts(parts *all, const vp_nn_mve_depthwise_conv_2d *p)
{
    const vp_nn_window *w = &p->window;
    all->count = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky += ROWS) {
        for (int32_t kx = 0; kx < w->kernel_width; kx += SIDE) {
            all->offset[all->count] =
                (ky / ROWS * p->columns + kx * w->dilation_width) * COLUMN;
            vstrbq_u8(all->places[all->count], vp_nn_mve_strips_weights(w, kx, ky));
            all->count++;
        }
    }
}

/* Sums of 4 neighbouring outputs, `stride` bytes between their columns. */
static int32x4_t sum_tile(const parts *all, const int8_t *weights, const int8_t *strips,
                          int32_t stride, uint32x4_t columns)
{
    int32_t sums[PIXELS] = {0};
    for (int32_t i = 0; i < all->count; i++) {
        const int8_t *x = strips + all->offset[i];
        const uint8x16_t places = vldrbq_u8(all->places[i]);
        __asm__ volatile("ldm %[sums], {r0, r2, r4, r6}\n\t"
                         "vldrb.u8 q1, [%[weights], %q[places]]\n\t"
                         "vldrw.u32 q0, [%[x], %q[columns]]\n\t"
                         "add %[x], %[x], %[stride]\n\t"
                         "vmladava.s8 r0, q0, q1\n\t"
                         "vldrw.u32 q0, [%[x], %q[columns]]\n\t"
                         "add %[x], %[x], %[stride]\n\t"
                         "vmladava.s8 r2, q0, q1\n\t"
                         "vldrw.u32 q0, [%[x], %q[columns]]\n\t"
                         "add %[x], %[x], %[stride]\n\t"
                         "vmladava.s8 r4, q0, q1\n\t"
                         "vldrw.u32 q0, [%[x], %q[columns]]\n\t"
                         "vmladava.s8 r6, q0, q1\n\t"
                         "stm %[sums], {r0, r2, r4, r6}"
                         : [x] "+&r"(x)
                         : [sums] "r"(sums), [weights] "r"(weights), [stride] "r"(stride),
                           [places] "w"(places), [columns] "w"(columns)
                         : "r0", "r2", "r4", "r6", "q0", "q1", "memory");
    }
    return vldrwq_s32(sums);
}

/* Scales the sums of channels c and c + 1: lane 2i + j is channel c + j of pixel i. */
static int16x8_t scale_pair(const vp_nn_mve_output *p, int32_t c, int32x4_t a, int32x4_t b)
{
    const int32_t *scale = p->scale + 2 * c;
    const int8_t *shift = p->shift + c;
    __asm__ volatile(VP_NN_MVE_NEXT_CHANNEL VP_NN_MVE_SCALE("%q[a]", "r0", "r2", "r4", CLAMPED)
                         VP_NN_MVE_NEXT_CHANNEL VP_NN_MVE_SCALE("%q[b]", "r0", "r2", "r4", CLAMPED)
                             VP_NN_MVE_NARROW_CLAMPED("%q[a]", "%q[b]", "%[edges]")
                     : [a] "+w"(a), [b] "+w"(b), [scale] "+&r"(scale), [shift] "+&r"(shift)
                     : [edges] "r"(VP_NN_MVE_EDGES_CLAMPED(p))
                     : VP_NN_MVE_TEMPORARIES);
    return vreinterpretq_s16_s32(a);
}

/* One row of channels c and c + 1, whose strips begin at `strips`. */
static void run_pair(const vp_nn_mve_depthwise_conv_2d *p, const parts *all, int32_t c,
                     const int8_t *strips, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t stride = w->stride_width * COLUMN;
    const int32_t last = w->output_width < PIXELS ? 0 : w->output_width - PIXELS;
    const int8_t *weights = p->weights + c * (w->kernel_width * w->kernel_height + 1);
    const int8_t *next = weights + w->kernel_width * w->kernel_height + 1;
    const mve_pred16_t lanes = vctp16q((uint32_t)(2 * w->output_width));
    const uint16x8_t places = vp_nn_mve_places(PIXELS, w->output_channels);
    const uint32x4_t columns =
        vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)(w->dilation_width * COLUMN));
    for (int32_t column = 0; column < w->output_width; column += PIXELS) {
        const int32_t first = column < last ? column : last;
        const int8_t *x = strips + first * stride;
        const int32x4_t a = sum_tile(all, weights, x, stride, columns);
        const int32x4_t b = sum_tile(all, next, x + ROWS, stride, columns);
        vstrbq_scatter_offset_p_s16(output + first * w->output_channels, places,
                                    scale_pair(&p->output, c, a, b), lanes);
    }
}

void vp_nn_mve_depthwise_conv_2d_large_row(const vp_nn_mve_depthwise_conv_2d *p, int32_t row,
                                           const vp_nn_rows *input, int8_t *scratch,
                                           int8_t *output)
{
    const vp_nn_window *w = &p->window;
    vp_nn_mve_strips strips[GROUPS];
    parts all;
    int32_t groups = 0;
    make_parts(&all, p);
    for (int32_t ky = 0; ky < w->kernel_height; ky += ROWS) {
        const int32_t left = w->kernel_height - ky;
        vp_nn_mve_strips_begin(&strips[groups], p, row, ky, left < ROWS ? left : ROWS, input,
                               scratch + groups * p->columns * COLUMN);
        groups++;
    }
    for (int32_t first = 0; first < w->input_channels; first += LANES) {
        const int32_t left = w->input_channels - first;
        for (int32_t i = 0; i < groups; i++) {
            vp_nn_mve_strips_next(&strips[i], left);
        }
        for (int32_t c = 0; c < LANES && c < left; c += 2) {
            run_pair(p, &all, first + c, scratch + c * ROWS, output + first + c);
        }
    }
}
