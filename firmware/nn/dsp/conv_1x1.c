#include "tiles.h"

void vp_nn_dsp_conv_1x1_row(const vp_nn_dsp_conv_1x1 *p, int32_t row, const vp_nn_rows *input,
                            int8_t *scratch, int8_t *output)
{
    vp_nn_dsp_convolve_pixels(p, vp_nn_row(input, row * p->row_stride), scratch, output);
}
