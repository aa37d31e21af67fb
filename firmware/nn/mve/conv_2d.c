#include <string.h>

#include "matmul.h"

#define VECTOR 16 /* int8 lanes */

/* The window is turned by 90 degrees: scratch holds, for each column of the input, the pixels of all
 * rows under the window. What lies under the window of one output is then a single run of bytes. */

/* Copies `count` pixels of at most 16 channels, as many at a time as fit a vector. */
static void copy_narrow(const int8_t *from, int32_t count, int32_t channels, int32_t step, int8_t *to)
{
    const int32_t together = VECTOR / channels;
    uint8_t places[VECTOR] = {0};
    for (int32_t i = 0; i < together * channels; i++) {
        places[i] = (uint8_t)(i / channels * step + i % channels);
    }
    const uint8x16_t offsets = vldrbq_u8(places);
    int8x16_t x;
    __asm__ volatile("vmsr p0, %[lanes]\n\t"
                     "wls lr, %[vectors], 2f\n"
                     "1:\n\t"
                     "vpstt\n\t"
                     "vldrbt.8 %q[x], [%[from]]\n\t"
                     "vstrbt.8 %q[x], [%[to], %q[offsets]]\n\t"
                     "add %[from], %[from], %[size]\n\t"
                     "add %[to], %[to], %[stride]\n\t"
                     "le lr, 1b\n"
                     "2:"
                     : [x] "=&w"(x), [from] "+&r"(from), [to] "+&r"(to)
                     : [offsets] "w"(offsets), [size] "r"(together * channels),
                       [stride] "r"(together * step), [vectors] "r"(count / together),
                       [lanes] "r"(vctp8q((uint32_t)(together * channels)))
                     : "lr", "p0", "memory");
    const mve_pred16_t rest = vctp8q((uint32_t)(count % together * channels));
    vstrbq_scatter_offset_p_s8(to, offsets, vldrbq_z_s8(from, rest), rest);
}

static void copy_wide(const int8_t *from, int32_t count, int32_t channels, int32_t step, int8_t *to)
{
    for (int32_t i = 0; i < count; i++) {
        const int8_t *source = from;
        int8_t *target = to;
        __asm__ volatile("wlstp.8 lr, %[channels], 2f\n"
                         "1:\n\t"
                         "vldrb.8 q0, [%[source]], #16\n\t"
                         "vstrb.8 q0, [%[target]], #16\n\t"
                         "letp lr, 1b\n"
                         "2:"
                         : [source] "+&r"(source), [target] "+&r"(target)
                         : [channels] "r"(channels)
                         : "q0", "lr", "memory");
        from += channels;
        to += step;
    }
}

static void fill(int32_t value, int32_t count, int32_t channels, int32_t step, int8_t *to)
{
    for (int32_t i = 0; i < count; i++) {
        memset(to, value, (size_t)channels);
        to += step;
    }
}

/* `to` is where the first column's pixel of this row goes. */
static void turn_row(const vp_nn_mve_conv_2d *p, const vp_nn_rows *input, int32_t row, int8_t *to)
{
    const vp_nn_window *w = &p->window;
    const int32_t channels = w->input_channels;
    const int32_t step = w->kernel_height * channels;
    if (row < 0 || row >= w->input_height) {
        fill(p->input_zero_point, p->columns, channels, step, to);
        return;
    }
    const int32_t left = w->pad_left < p->columns ? w->pad_left : p->columns;
    const int32_t room = p->columns - left;
    const int32_t inside = room < w->input_width ? room : w->input_width;
    const int8_t *from = vp_nn_row(input, row);
    fill(p->input_zero_point, left, channels, step, to);
    to += left * step;
    if (channels <= VECTOR && (VECTOR / channels - 1) * step + channels <= 256) {
        copy_narrow(from, inside, channels, step, to);
    } else {
        copy_wide(from, inside, channels, step, to);
    }
    fill(p->input_zero_point, room - inside, channels, step, to + inside * step);
}

void vp_nn_mve_conv_2d_row(const vp_nn_mve_conv_2d *p, int32_t row, const vp_nn_rows *input,
                           int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t column = w->kernel_height * w->input_channels;
    const vp_nn_mve_matmul m = {
        .output = &p->output,
        .weights = p->weights,
        .depth = w->kernel_width * column,
        .channels = w->output_channels,
        .pixels = w->output_width,
        .step = w->stride_width * column,
    };
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t y = row * w->stride_height - w->pad_top + ky * w->dilation_height;
        turn_row(p, input, y, scratch + ky * w->input_channels);
    }
    vp_nn_mve_matmul_row(&m, scratch, output);
}
