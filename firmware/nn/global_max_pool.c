#include <string.h>

#include "fixed_point.h"

void vp_nn_global_max_pool_row(const vp_nn_global_pool *p, int32_t row, const vp_nn_rows *input,
                               int8_t *output)
{
    const int8_t *pixel = vp_nn_row(input, row);
    if (row == 0) {
        memset(output, INT8_MIN, (size_t)p->channels);
    }
    for (int32_t column = 0; column < p->width; column++) {
        for (int32_t c = 0; c < p->channels; c++) {
            output[c] = pixel[c] > output[c] ? pixel[c] : output[c];
        }
        pixel += p->channels;
    }
    if (row == p->height - 1) {
        for (int32_t c = 0; c < p->channels; c++) {
            output[c] = (int8_t)vp_nn_clamp(output[c], p->min, p->max);
        }
    }
}
