#include "../fixed_point.h"
#include "../pool.h"
#include "sum_row.h"

void vp_nn_mve_global_average_pool_row(const vp_nn_global_pool *p, int32_t row,
                                       const vp_nn_rows *input, int32_t *state, int8_t *output)
{
    const int32_t count = p->height * p->width;
    vp_nn_mve_sum_row(vp_nn_row(input, row), row, p->width, p->channels, state);
    if (row == p->height - 1) {
        for (int32_t c = 0; c < p->channels; c++) {
            output[c] = (int8_t)vp_nn_clamp(vp_nn_average(state[c], count), p->min, p->max);
        }
    }
}
