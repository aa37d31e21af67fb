#include "quartets.h"

void vp_nn_dsp_pixel_tiled_row(const vp_nn_dsp_pixel *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output)
{
    vp_nn_dsp_run_pixel(p, (const int16_t *)(const void *)vp_nn_row(input, row), output);
}
