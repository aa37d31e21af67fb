#include "matmul.h"

void vp_nn_mve_conv_1x1_row(const vp_nn_mve_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                            int8_t *output)
{
    const vp_nn_mve_matmul m = {
        .output = &p->output,
        .weights = p->weights,
        .depth = p->input_channels,
        .channels = p->output_channels,
        .pixels = p->output_width,
        .step = p->column_step,
    };
    vp_nn_mve_matmul_row(&m, vp_nn_row(input, row * p->row_step), output);
}
