#include <string.h>

#include "matmul.h"

/* Gathers the `depth` channels from `first` on of every pixel under the window whose top left corner
 * is (y, x). Pixels outside the image hold the zero point: it cancels against the folded bias. */
static void gather(const vp_nn_conv_2d *p, const vp_nn_rows *input, int32_t y, int32_t x,
                   int32_t first, int32_t depth, int8_t *patch)
{
    const vp_nn_window *w = &p->window;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t row = y + ky * w->dilation_height;
        const int inside = row >= 0 && row < w->input_height;
        const int8_t *pixels = inside ? vp_nn_row(input, row) + first : NULL;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t column = x + kx * w->dilation_width;
            if (inside && column >= 0 && column < w->input_width) {
                memcpy(patch, pixels + column * w->input_channels, (size_t)depth);
            } else {
                memset(patch, p->input_zero_point, (size_t)depth);
            }
            patch += depth;
        }
    }
}

void vp_nn_conv_2d_row(const vp_nn_conv_2d *p, int32_t row, const vp_nn_rows *input,
                       int8_t *scratch, int8_t *output)
{
    const vp_nn_window *w = &p->window;
    const int32_t depth = w->input_channels / p->groups;
    const int32_t filters = w->output_channels / p->groups;
    const int32_t size = w->kernel_height * w->kernel_width * depth;
    const int32_t y = row * w->stride_height - w->pad_top;

    for (int32_t column = 0; column < w->output_width; column++) {
        const int32_t x = column * w->stride_width - w->pad_left;
        for (int32_t group = 0; group < p->groups; group++) {
            gather(p, input, y, x, group * depth, depth, scratch);
            vp_nn_matmul_pixel(&p->output, scratch, p->weights + group * filters * size, size,
                               group * filters, filters, output);
        }
        output += w->output_channels;
    }
}
