#include <stddef.h>

#include "fixed_point.h"

static int32_t sum_channel(const vp_nn_depthwise_conv_2d *p, const vp_nn_rows *input, int32_t y,
                           int32_t x, int32_t input_channel, int32_t output_channel)
{
    const vp_nn_window *w = &p->window;
    const int8_t *weights = p->weights + output_channel;
    int32_t sum = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_height;
        const int inside = row >= 0 && row < w->input_height;
        const int8_t *pixels = inside ? vp_nn_row(input, row) + input_channel : NULL;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_width;
            int32_t value = p->input_zero_point;
            if (inside && column >= 0 && column < w->input_width) {
                value = pixels[column * w->input_channels];
            }
            sum += value * *weights;
            weights += w->output_channels;
        }
    }
    return sum;
}

void vp_nn_depthwise_conv_2d_multiplied_row(const vp_nn_depthwise_conv_2d *p, int32_t row,
                                            const vp_nn_rows *input, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t copies = w->output_channels / w->input_channels;
    const int32_t y = row * w->stride_height - w->pad_top;
    for (int32_t column = 0; column < w->output_width; column++) {
        const int32_t x = column * w->stride_width - w->pad_left;
        for (int32_t c = 0; c < w->output_channels; c++) {
            output[c] =
                vp_nn_requantize(&p->output, c, sum_channel(p, input, y, x, c / copies, c));
        }
        output += w->output_channels;
    }
}
