#include "matmul.h"
#include "turn.h"

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
    vp_nn_mve_turn(p, row, input, scratch);
    vp_nn_mve_matmul_row(&m, scratch, output);
}
