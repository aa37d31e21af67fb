#include "matmul.h"

void vp_nn_conv_1x1_row(const vp_nn_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                        int8_t *output)
{
    const int8_t *pixel = vp_nn_row(input, row * p->row_step);
    for (int32_t column = 0; column < p->output_width; column++) {
        vp_nn_matmul_pixel(&p->output, pixel, p->weights, p->input_channels, 0,
                           p->output_channels, output);
        pixel += p->column_step;
        output += p->output_channels;
    }
}
