#include "matmul.h"

void vp_nn_conv_1x1_run(const vp_nn_conv_1x1 *p, const int8_t *input, int8_t *output)
{
    for (int32_t row = 0; row < p->output_height; row++) {
        const int8_t *pixel = input + row * p->row_step;
        for (int32_t column = 0; column < p->output_width; column++) {
            vp_nn_matmul_pixel(&p->output, pixel, p->weights, p->input_channels, 0,
                               p->output_channels, output);
            pixel += p->column_step;
            output += p->output_channels;
        }
    }
}
