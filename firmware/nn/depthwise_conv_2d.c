#include <stddef.h>

#include "fixed_point.h"

/* Adds one pixel's products. A pixel outside the image counts as the zero point, which cancels
 * against the folded bias. */
static void add_pixel(const int8_t *pixel, const int8_t *weights, int32_t lanes, int32_t *sums)
{
    for (int32_t i = 0; i < lanes; i++) {
        sums[i] += pixel[i] * weights[i];
    }
}

static void add_padding(int32_t zero_point, const int8_t *weights, int32_t lanes, int32_t *sums)
{
    for (int32_t i = 0; i < lanes; i++) {
        sums[i] += zero_point * weights[i];
    }
}

static void run_lanes(const vp_nn_depthwise_conv_2d *p, const vp_nn_rows *input, int32_t y,
                      int32_t x, int32_t first, int32_t lanes, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int8_t *weights = p->weights + first;
    int32_t sums[VP_NN_LANES] = {0};

    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_height;
        const int inside = row >= 0 && row < w->input_height;
        const int8_t *pixels = inside ? vp_nn_row(input, row) + first : NULL;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_width;
            if (inside && column >= 0 && column < w->input_width) {
                add_pixel(pixels + column * w->input_channels, weights, lanes, sums);
            } else {
                add_padding(p->input_zero_point, weights, lanes, sums);
            }
            weights += w->output_channels;
        }
    }
    for (int32_t i = 0; i < lanes; i++) {
        output[first + i] = vp_nn_requantize(&p->output, first + i, sums[i]);
    }
}

void vp_nn_depthwise_conv_2d_row(const vp_nn_depthwise_conv_2d *p, int32_t row,
                                 const vp_nn_rows *input, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t y = row * w->stride_height - w->pad_top;
    for (int32_t column = 0; column < w->output_width; column++) {
        const int32_t x = column * w->stride_width - w->pad_left;
        int32_t first = 0;
        for (; first + VP_NN_LANES <= w->output_channels; first += VP_NN_LANES) {
            run_lanes(p, input, y, x, first, VP_NN_LANES, output);
        }
        if (first < w->output_channels) {
            run_lanes(p, input, y, x, first, w->output_channels - first, output);
        }
        output += w->output_channels;
    }
}
