#include <string.h>

#include "maximum.h"

void vp_nn_dsp_global_max_pool_row(const vp_nn_global_pool *p, int32_t row, const vp_nn_rows *input,
                                   int8_t *output)
{
    const int8_t *pixel = vp_nn_row(input, row);
    if (row == 0) {
        memset(output, INT8_MIN, (size_t)p->channels);
    }
    for (int32_t column = 0; column < p->width; column++) {
        vp_nn_dsp_raise(output, pixel, p->channels);
        pixel += p->channels;
    }
    if (row == p->height - 1) {
        vp_nn_dsp_clamp(output, p->channels, p->min, p->max);
    }
}
