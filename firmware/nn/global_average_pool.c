#include "fixed_point.h"
#include "pool.h"
#include "sum_row.h"

void vp_nn_global_average_pool_row(const vp_nn_global_pool *p, int32_t row,
                                   const vp_nn_rows *input, int32_t *state, int8_t *output)
{
    vp_nn_sum_row(vp_nn_row(input, row), row, p->width, p->channels, state);
    if (row == p->height - 1) {
        for (int32_t c = 0; c < p->channels; c++) {
            const int32_t average = vp_nn_average(state[c], p->height * p->width);
            output[c] = (int8_t)vp_nn_clamp(average, p->min, p->max);
        }
    }
}
