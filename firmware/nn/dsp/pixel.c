#include <string.h>

#include "quartets.h"

void vp_nn_dsp_pixel_run(const vp_nn_dsp_pixel *p, const int8_t *input, int8_t *scratch,
                         int8_t *output)
{
    int32_t *const tile = (int32_t *)(void *)scratch;
    const int32_t words = p->input_channels >> 2;
    const int32_t left = p->input_channels & 3;
    vp_nn_dsp_spread(input, words, 1, tile);
    if (left > 0) {
        int8_t last[4] = {0};
        memcpy(last, input + 4 * words, (size_t)left);
        vp_nn_dsp_spread(last, 1, 1, tile + 2 * words);
    }
    vp_nn_dsp_run_pixel(p, (const int16_t *)(const void *)tile, output);
}

void vp_nn_dsp_pixel_row(const vp_nn_dsp_pixel *p, int32_t row, const vp_nn_rows *input,
                         int8_t *scratch, int8_t *output)
{
    vp_nn_dsp_pixel_run(p, vp_nn_row(input, row), scratch, output);
}
