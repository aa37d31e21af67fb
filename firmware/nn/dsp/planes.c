#include "filters.h"

void vp_nn_dsp_planes_row(const vp_nn_dsp_planes *p, int32_t row, const vp_nn_rows *input,
                          int8_t *output)
{
    const int8_t *source = vp_nn_row(input, row);
    int8_t *pixel = vp_nn_dsp_begin_planes(p, output);
    for (int32_t x = 0; x < p->width; x++) {
        int8_t *target = pixel + 2 * x;
        for (int32_t channel = 0; channel < p->channels; channel++) {
            *(int16_t *)(void *)target = *source++;
            target += p->plane;
        }
    }
}
