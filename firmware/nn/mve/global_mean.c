#include "../mean.h"
#include "sum_row.h"

void vp_nn_mve_global_mean_row(const vp_nn_global_mean *p, int32_t row, const vp_nn_rows *input,
                               int32_t *state, int8_t *output)
{
    const int32_t channels = p->mean.shape.inner;
    vp_nn_mve_sum_row(vp_nn_row(input, row), row, p->width, channels, state);
    if (row == p->height - 1) {
        for (int32_t c = 0; c < channels; c++) {
            output[c] = vp_nn_mean_of(&p->mean, state[c]);
        }
    }
}
