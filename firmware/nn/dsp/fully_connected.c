#include "tiles.h"

void vp_nn_dsp_fully_connected_run(const vp_nn_dsp_conv_1x1 *p, const int8_t *input,
                                   int8_t *scratch, int8_t *output)
{
    vp_nn_dsp_convolve_pixels(p, input, scratch, output);
}
